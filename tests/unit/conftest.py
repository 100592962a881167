from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from devenv.engine.context import Context
from devenv.engine.store import Store
from devenv.errors import DevenvError, UsageError
from devenv.model.events import Emit, Event, Note
from devenv.model.freshness import Made
from devenv.model.registry import Pushed
from devenv.model.stack import Stack
from devenv.tools.http import Answer
from tests.backends.fake import FakeBackend


class FakeImages:
    """Builds nothing, remembers what was asked for."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.asked: list[str] = []
        self.broken: DevenvError | None = None
        self.tree = "tree"
        self.of = ""
        """What images are made of, where that is not what the tree holds."""
        self.looked = 0
        self.secrets: list[str] = []

    async def own_platform(self) -> str:
        return "linux/amd64"

    async def ensure_base(self, emit: Emit, platform: str = "") -> bool:
        return False

    async def ensure_node(self, emit: Emit) -> bool:
        return False

    async def ensure_programs(self, emit: Emit) -> bool:
        return False

    async def made(self, service: str, release: str, platform: str = "") -> Made:
        self.looked += 1
        digest = f"sha256:{release}" if release in self._backend.built else ""
        return Made(digest, self.of or self.tree, self.tree)

    def sources(self) -> str:
        return self.tree

    def suspects(self) -> list[str]:
        return self.secrets

    async def build(self, service: str, release: str, emit: Emit, platform: str = "") -> bool:
        self.asked.append(f"{service}:{release}{f' for {platform}' if platform else ''}")
        if self.broken:
            raise self.broken
        self._backend.built.add(release)
        return False

    async def push(
        self, service: str, release: str, platforms: Sequence[str], reference: str, note: Note, *, force: bool
    ) -> Pushed:
        self.asked.append(f"push {reference}")
        return Pushed(reference, "sha256:1", {one or "linux/amd64": "sha256:2" for one in platforms})


class FakeRegistry:
    """Runs at a word."""

    repository = "localhost:5001/devenv"

    def __init__(self) -> None:
        self.running = False

    async def destination(self, named: str = "") -> str:
        if not (into := named or (self.repository if self.running else "")):
            raise UsageError("there is no registry to push to", "none runs", "devenv registry up")
        return into

    async def ensure_image(self, emit: Emit) -> bool:
        return False

    async def start(self) -> bool:
        self.running, before = True, self.running
        return not before

    async def stop(self) -> bool:
        self.running, before = False, self.running
        return before


class Told(list[Event]):
    """The events that were emitted."""

    def of(self, kind: type) -> list[Event]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def ctx(backend: FakeBackend, told: Told, tmp_path: Path) -> Context:
    emit: Callable[[Event], None] = told.append
    return Context(Stack(), backend, FakeImages(backend), FakeRegistry(), Store(tmp_path / "state"), emit)


@pytest.fixture(autouse=True)
def site_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no site at a fake stack's port."""

    async def ask(port: int, path: str) -> Answer:
        return Answer(200, "")

    monkeypatch.setattr("devenv.engine.site.ask", ask)
