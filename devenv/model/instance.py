"""An instance as its engine and its gate tell, and what to do when there is more than one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

from devenv.model import registry


@dataclass(frozen=True, slots=True)
class Gate:
    """What `gate status` says."""

    uid: str
    release: str
    role: str
    epoch: int
    lineage: str | None
    state: str
    ready: bool
    served: bool | None = None
    """Owner: somebody may have read from it or written to it. Older releases do not say."""
    staged: bool = False
    """Incoming: it has all of the content, and waits for the word of the one that gave it."""
    terminating: bool = False
    held: int = 0
    relayed: int = 0
    since: float | None = None
    restored: Mapping[str, Any] | None = None
    successor: Mapping[str, Any] | None = None
    failed: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Gate:
        """Unknown keys are those of a newer release, and are passed over. A ValueError: it is none.

        The gate runs as the application's user, so each value is one that a gate would give, whoever gave it.
        """
        if not isinstance(raw, Mapping):
            raise ValueError(f"{raw!r} instead of what a gate answers")
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        if missing := _ALWAYS - known.keys():
            raise ValueError(f"{sorted(missing)[0]} is missing")
        for name, value in known.items():
            if not _KINDS[name](value):
                raise ValueError(f"{name} is {repr(value)[:_WORD]}")
        return cls(**known)


_ALWAYS = {"uid", "release", "role", "epoch", "lineage", "state", "ready"}
_WORD, _TEXT = 200, 64 << 10
"""Characters of a name, and of what a gate has to say."""


def is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _WORD and value.isprintable()


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def is_failure(value: object) -> bool:
    """Whether it tells what failed, why, and what next."""
    return isinstance(value, Mapping) and all(
        isinstance(text := value.get(name), str) and len(text) <= _TEXT for name in ("error", "why", "next")
    )


def _is_moment(value: object) -> bool:
    return type(value) in (int, float) and isfinite(cast(float, value))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_restored(value: object) -> bool:
    return isinstance(value, Mapping) and all(is_word(value.get(name)) for name in ("file", "time"))


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _or_none(right: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or right(value)


_KINDS: dict[str, Callable[[object], bool]] = {
    "uid": is_word,
    "release": is_word,
    "role": is_word,
    "epoch": is_count,
    "lineage": _or_none(is_word),
    "state": is_word,
    "ready": _is_flag,
    "served": _or_none(_is_flag),
    "staged": _is_flag,
    "terminating": _is_flag,
    "held": is_count,
    "relayed": is_count,
    "since": _or_none(_is_moment),
    "restored": _or_none(_is_restored),
    "successor": _or_none(_is_mapping),
    "failed": _or_none(is_failure),
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One container of the stack; `gate` is None for httpd and for one that does not answer."""

    id: str
    name: str
    service: str
    image: str
    digest: str
    created: float
    state: str
    """created, running, paused, restarting, exited or dead: the engine's word."""
    health: str = ""
    port: int | None = None
    """On this machine, where it publishes one."""
    gate: Gate | None = None
    leaving: bool = False
    """Its engine ends and removes it already."""
    restarts: int = 0
    """In Kubernetes: how often its container was started again, each time with a log of its own."""
    failed: Mapping[str, Any] | None = None
    """What its container has ended of, where that does not run: what failed, why, and what next."""

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def release(self) -> str:
        """The gate knows it best: a tag can have moved on since the instance started."""
        return self.gate.release if self.gate else self.tag

    @property
    def tag(self) -> str:
        """What the settings must name, so that the engine finds this very image."""
        return registry.release(self.image, self.service)

    @property
    def owner(self) -> bool:
        return self.gate is not None and self.gate.role == "owner"
