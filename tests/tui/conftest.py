from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from devenv.tools.http import Answer
from tests.tui import scenes
from tests.tui.scenes import Scene

Draw = Callable[[Scene], Awaitable[str]]


@pytest.fixture(autouse=True)
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is colour, also where who runs the tests wants none: `devenv up` hides NO_COLOR from Textual."""
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def draw(tmp_path: Path) -> Iterator[Draw]:
    """Draws a scene as it looks on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in scenes.STILL.items():
            patch.setenv(name, value)
        time.tzset()
        yield lambda scene: scenes.picture(scene, tmp_path)
    time.tzset()


@pytest.fixture(autouse=True)
def site_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no site at a fake stack's port."""

    async def ask(port: int, path: str) -> Answer:
        return Answer(200, "")

    monkeypatch.setattr("devenv.engine.site.ask", ask)
