"""What the engine asks of the place where the stack runs. Every implementation passes tests/backends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from devenv.model.events import LogLine, Note, unnoted
from devenv.model.instance import Gate, Instance

PHP_FPM = "php-fpm"
HTTPD = "httpd"
SERVICES = (HTTPD, PHP_FPM)
RESTORE = "restore"
"""File in a place's folder: it names the snapshot on this machine that the next start there begins with."""
By = Literal["log", "look", "restart", "stop", "fingerprint", "snapshot"]
"""What a person may want to do to an instance by hand."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Something of the stack that could not be removed."""

    what: str
    by: str
    """Who uses it."""
    content: bool
    """What was saved is in it."""


class Backend(Protocol):
    """All calls raise DevenvErrors; NotFit where the engine is not there."""

    async def check(self) -> None:
        """Raise NotFit unless the engine can run the stack."""

    async def provide(self) -> bool:
        """Make the place where the stack runs, where that is ours to make. True if it had to be made."""

    async def remove_place(self) -> bool:
        """Remove that place with all that is in it. True if there was one."""

    async def instances(self, *, ask_gates: bool = True) -> list[Instance]:
        """Every container of the stack, oldest first, with what their gates say if those are asked."""

    async def gate(self, instance: Instance) -> Gate | None:
        """What the gate of one instance says now; None when it does not answer."""

    def releases(self) -> dict[str, str]:
        """The release of each service that the settings name; a service is missing before the first start."""

    async def prepare(self, releases: Mapping[str, str]) -> bool:
        """Write the settings; secrets are those of what runs, or new ones. True if something changed."""

    async def images(self, release: str) -> dict[str, str]:
        """The digest of each service's image of a release, of those that are here."""

    async def join_registry(self) -> bool:
        """Have our nodes pull from the stack's own registry, which runs. False where there are none."""

    async def bring(self, releases: Mapping[str, str], note: Note = unnoted) -> list[str]:
        """Take the image of each service's release from this machine to where it runs; those that were not
        there.

        `note` is told how far it is. It can be called while `provide` is at work, and waits for a place that
        takes them. Raises WrongPlatform where one would not run there; OtherContent where another one is
        there under its name,
        which is what runs then.
        """

    async def start(self, *, replace: str | None = None, note: Note = unnoted) -> None:
        """Start what is not running and wait until all of it is healthy. An instance is never replaced.

        With `replace` (httpd), that service alone is brought up to its settings. `note` is told of what
        keeps it waiting, where that can be known.
        """

    async def start_beside(
        self, release: str, seen: Callable[[Instance], None], note: Note = unnoted
    ) -> None:
        """Start one more instance and wait for its hook; `seen` is told as soon as it is there, and
        again when more is known of it.
        """

    async def revive(self, instance: Instance) -> None:
        """Start a stopped instance again."""

    async def hook(self, instance: Instance) -> None:
        """Let an instance fetch its content, or go on doing so; returns when it owns a database."""

    def gate_events(self, instance: Instance, *, follow: bool) -> AsyncGenerator[Mapping[str, Any], None]:
        """The journal of an instance, from its beginning. Works on a stopped one without `follow`."""

    async def fingerprint(self, instance: Instance) -> Mapping[str, Any]:
        """Of its content; of the frozen file where it has moved."""

    async def snapshot(self, instance: Instance, into: Path) -> Mapping[str, Any]:
        """Save the content of a running owner to a file here. Returns its snapshot.json."""

    async def restore(self, instance: Instance, file: Path) -> None:
        """Put a snapshot in place of an owner's content."""

    async def retire(self, instance: Instance) -> None:
        """Tell an owner that no successor comes: an end within 60 s saves its content without waiting."""

    async def recover(self, instance: Instance, *, force: bool = False) -> Mapping[str, Any]:
        """Make an instance an owner of what it has, since whoever had the content after it is gone for good.

        Its gate refuses where another one owns the content, unless it is forced to.
        """

    async def stop(self) -> None:
        """Stop all containers, orderly, and keep them: first what lets requests in.

        An owner is told just before its own end that no successor comes; an interrupt leaves none that
        goes on without waiting for one.
        """

    async def last_snapshot(self, instance: Instance, into: Path) -> bool:
        """Copy what a stopped owner saved at its end to a file here.

        False if it saved nothing then, whatever it has saved at an earlier end.
        """

    async def stop_one(self, instance: Instance) -> None:
        """Stop one instance orderly: it hands over, or finishes what it relays.

        In Kubernetes it is gone then; its journal can still be had.
        """

    async def remove_one(self, instance: Instance) -> None:
        """Remove one stopped instance."""

    def by_hand(self, verb: By, instance: Instance) -> str:
        """The command for a person to type who wants to see or do this to an instance."""

    async def remove_all(self, *, content: bool) -> Sequence[Kept]:
        """Remove all that the stack created; with `content` also what was saved of it.

        Returns what is there all the same, as somebody else uses it.
        """

    def logs(
        self, service: str | None, *, follow: bool, tail: int | None, since: str | None
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        """Lines of all containers of a service, or of all services, as many at once as there are."""

    def changes(self) -> AsyncGenerator[None, None]:
        """Comes at once, then whenever a container of the stack has started, ended or changed its health."""

    async def log_tail(self, instance: Instance, lines: int = 20) -> str:
        """The last lines of one container, for an error."""
