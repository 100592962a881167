"""Whether what runs is what the working tree would build now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["current", "stale", "older", "unknown"]
_WORDS: dict[Verdict, str] = {
    "current": "what the working tree would build",
    "stale": "the working tree has changed since",
    "older": "another image of this release was built since",
    "unknown": "the image is not on this machine any more",
}


@dataclass(frozen=True, slots=True)
class Made:
    """An image of this machine, by its name. Hashes are over all that an image is made of: the recipe, the
    application, the arguments, the base image's digest.
    """

    digest: str
    """Empty where there is none of that name."""
    of: str
    """The hash of what it was made of."""
    wanted: str
    """The hash of what it would be made of now."""

    @property
    def current(self) -> bool:
        return bool(self.digest) and self.of == self.wanted


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of what one service runs."""

    service: str
    release: str
    running: str
    """The digest of its image."""
    made: Made

    @property
    def verdict(self) -> Verdict:
        if not self.made.digest:
            return "unknown"
        if self.running != self.made.digest:
            return "older"
        return "current" if self.made.current else "stale"

    @property
    def words(self) -> str:
        return _WORDS[self.verdict]

    @property
    def next_step(self) -> str:
        """Empty where there is nothing to do."""
        verdict = self.verdict
        if verdict == "current":
            return ""
        build = f"devenv build --release {self.release}"
        bring = f"devenv upgrade --to {self.release}" if self.service == "php-fpm" else "devenv up"
        return bring if verdict == "older" else f"{build}, then {bring}"

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "release": self.release,
            "running": self.running,
            "verdict": self.verdict,
            "words": self.words,
            "made_of": self.made.of,
            "tree": self.made.wanted,
            "next": self.next_step,
        }
