"""The one exception of the hand-over that is meant for people."""

from __future__ import annotations


class Problem(Exception):
    """What failed, why, and the next step; each a phrase without a full stop.

    ``final`` says that trying again cannot help (a corrupt database, a wrong secret).
    """

    def __init__(self, error: str, why: str, next_step: str, *, final: bool = True) -> None:
        super().__init__(f"{error}: {why}")
        self.error = error
        self.why = why
        self.next_step = next_step
        self.final = final

    def as_json(self) -> dict[str, str]:
        return {"error": self.error, "why": self.why, "next": self.next_step}
