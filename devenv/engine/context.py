"""What every use case works with. Wired by the command line, and by tests with a fake backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from devenv.backends.protocol import Backend
from devenv.engine.store import Store
from devenv.model.events import Emit, Note
from devenv.model.freshness import Made
from devenv.model.registry import Pushed
from devenv.model.stack import Stack

T = TypeVar("T")


class Images(Protocol):
    """Where images come from."""

    def own_platform(self) -> Awaitable[str]:
        """Of the engine. It is what an empty `platform` stands for below."""

    def ensure_base(self, emit: Emit, platform: str = "") -> Awaitable[bool]:
        """True if it had to be fetched or made."""

    def ensure_node(self, emit: Emit) -> Awaitable[bool]:
        """The same of a kind cluster's node."""

    def ensure_programs(self, emit: Emit) -> Awaitable[bool]:
        """kind and kubectl: true if one had to be made."""

    def made(self, service: str, release: str, platform: str = "") -> Awaitable[Made]:
        """What the image that is here was made of, and what it would be made of now."""

    def sources(self) -> str:
        """A hash over all that images are made of but the base image: nobody is asked for it."""

    def suspects(self) -> Sequence[str]:
        """What of the application looks like a secret, and is in its image. Reads its files."""

    def build(self, service: str, release: str, emit: Emit, platform: str = "") -> Awaitable[bool]:
        """True if it was built, False if it was up to date."""

    def push(
        self, service: str, release: str, platforms: Sequence[str], reference: str, note: Note, *, force: bool
    ) -> Awaitable[Pushed]:
        """Bring the images that were built for these platforms to a registry, as one."""


class Registry(Protocol):
    """One of the stack's own, on this machine."""

    @property
    def repository(self) -> str:
        """Where it has the images of the stack."""

    def destination(self, named: str = "") -> Awaitable[str]:
        """Where images are pushed to: HOST/REPOSITORY that is named, else that of devenv.toml, else that of
        this registry. Raises a UsageError where there is none.
        """

    def ensure_image(self, emit: Emit) -> Awaitable[bool]:
        """True if it had to be fetched or made."""

    def start(self) -> Awaitable[bool]:
        """True if it did not run."""

    def stop(self) -> Awaitable[bool]:
        """True if it was there. What it stores stays."""


@dataclass(frozen=True, slots=True)
class Context:
    stack: Stack
    backend: Backend
    images: Images
    registry: Registry
    store: Store
    emit: Emit


async def despite_cancel(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` though we are being cancelled; the cancellation is for the caller to raise."""
    task = asyncio.ensure_future(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            if task.done():
                return task.result()
