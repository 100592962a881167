"""The screens of the terminal interface as pictures: for people, and for a test that nothing moved by itself.

A scene is a function below: it tells the app events and log lines of the story, and presses keys. Its sizes
stand above it; each gives a picture, docs/screens/NAME-COLUMNSxLINES.svg. `make screenshots` draws them anew.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input

from devenv.engine.context import Context
from devenv.engine.desk import Desk, Lines
from devenv.engine.store import Store
from devenv.model.events import Event, LogLine
from devenv.model.preferences import Preferences
from devenv.model.receipt import Receipt
from devenv.model.stack import Stack
from devenv.tui.app import DevenvApp
from devenv.tui.log_prompt import PromptInput
from tests.backends.fake import FakeBackend
from tests.tui import story
from tests.unit.conftest import FakeImages, FakeRegistry

FOLDER = Path(__file__).parents[2] / "docs" / "screens"

STILL = {"TZ": "UTC", "COLORTERM": "truecolor", "TERM": "xterm-256color"}
"""The environment in which a picture is the same everywhere; `time.tzset` has to follow. NO_COLOR must go."""

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)

_LOOKS = 50
"""So many times a screen is looked at until it rests; two or three are enough."""


class StillDesk(Desk):
    """Nothing happens at it by itself, and it keeps the receipts of the story."""

    at_work = False

    @property
    def busy(self) -> bool:
        return self.at_work

    def watch(self, lines: Lines) -> None:
        """Only scenes tell what there is."""

    def receipts(self) -> list[tuple[Path, Receipt]]:
        return story.receipts()


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene acts upon."""

    app: DevenvApp
    pilot: Pilot[None]
    desk: StillDesk

    async def tell(self, events: Iterable[Event], lines: Iterable[LogLine] = ()) -> None:
        for event in events:
            self.app.take(event)
        self.app.main.logs.feed(lines)
        await self.drawn()
        # Toasts pass by; what they hide stays.
        self.app.clear_notifications()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.drawn()

    async def type(self, text: str) -> None:
        """All at once: a key of its own for each letter takes its time."""
        self.app.screen.query_one(PromptInput).value = text
        await self.drawn()

    async def drawn(self) -> None:
        """What is to come within some beats is on the screen now."""
        self.app._draw()
        self.app.main.logs.flush()
        for field in self.app.screen.query(Input):
            field.cursor_blink = False
        await self.pilot.pause()

    async def rest(self) -> str:
        """Until two looks at the screen show the same, which is then the picture."""
        before = ""
        for _ in range(_LOOKS):
            await self.drawn()
            now = self.app.export_screenshot()
            if now == before:
                return now
            before = now
        raise AssertionError("the screen does not come to rest")


Bring = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    name: str
    size: tuple[int, int]
    theme: str
    bring: Bring

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.svg"


SCENES: list[Scene] = []


def scene(*sizes: tuple[int, int], light: tuple[int, int] | None = None) -> Callable[[Bring], Bring]:
    """Its name is that of its function. `light`: the size of one more picture, in the light theme."""

    def keep(bring: Bring) -> Bring:
        for size, theme in [
            *((size, "dark") for size in sizes or (SMALL,)),
            *([(light, "light")] if light else []),
        ]:
            ending = "-light" if theme == "light" else ""
            name = f"{bring.__name__.replace('_', '-')}-{size[0]}x{size[1]}{ending}"
            SCENES.append(Scene(name, size, f"devenv-{theme}", bring))
        return bring

    return keep


@scene()
async def up_builds(stage: Stage) -> None:
    """Two images side by side; what waits tells for what."""
    await stage.tell(story.up_builds())


@scene(SMALL, MIDDLE)
async def up_done(stage: Stage) -> None:
    await stage.tell(story.up_done(), story.started())


@scene()
async def up_failed(stage: Stage) -> None:
    await stage.tell(story.up_failed())


@scene()
async def last_error(stage: Stage) -> None:
    await up_failed(stage)
    await stage.press("E")


@scene()
async def upgrade_asks(stage: Stage) -> None:
    await stage.tell(story.came_up(), story.day())
    await stage.press("u")


@scene(SMALL, MIDDLE)
async def hand_over(stage: Stage) -> None:
    await stage.tell([*story.came_up(), *story.hands_over()], story.handed_over("verified"))


@scene(SMALL, MIDDLE, LARGE, light=MIDDLE)
async def verified(stage: Stage) -> None:
    await stage.tell([*story.came_up(), *story.verified()], story.handed_over())


@scene()
async def not_verified(stage: Stage) -> None:
    await stage.tell([*story.came_up(), *story.not_verified()], story.handed_over())


@scene()
async def commands(stage: Stage) -> None:
    await stage.tell(
        [*story.came_up(), *story.commands(), *story.hands_over()], story.handed_over("verified")
    )
    await stage.press("3")


@scene()
async def receipts(stage: Stage) -> None:
    await stage.tell(story.came_up(), story.day())
    await stage.press("4")


@scene()
async def receipt(stage: Stage) -> None:
    await receipts(stage)
    await stage.press("enter")


@scene()
async def keys_help(stage: Stage) -> None:
    await stage.tell(story.came_up(), story.day())
    await stage.press("question_mark")


@scene()
async def reset_asks(stage: Stage) -> None:
    await stage.tell(story.came_up(), story.day())
    await stage.press("R")


@scene()
async def quit_asks(stage: Stage) -> None:
    await hand_over(stage)
    stage.desk.at_work = True
    await stage.press("q")


@scene()
async def palette(stage: Stage) -> None:
    await stage.tell(story.came_up(), story.day())
    await stage.press("ctrl+p")


@scene()
async def engine_lost(stage: Stage) -> None:
    await stage.tell(story.engine_lost(), story.day())


@scene((50, 12))
async def too_small(stage: Stage) -> None:
    await stage.tell(story.came_up())


@scene()
async def logs_searched(stage: Stage) -> None:
    """A search from below, two matches on, while new lines come."""
    await stage.tell(story.came_up(), story.busy_day())
    await stage.press("5", "slash")
    await stage.type('" 404')
    await stage.press("enter", "N", "N")
    await stage.tell([], story.writes(12))


@scene()
async def logs_filtered(stage: Stage) -> None:
    """All but the probe's writes, while it is still typed."""
    await stage.tell(story.came_up(), story.busy_day())
    await stage.press("5", "ampersand")
    await stage.type("POST /posts")
    await stage.press("ctrl+n")


async def picture(scene: Scene, folder: Path) -> str:
    """The scene as SVG. `folder` is for a state that nobody reads."""
    backend = FakeBackend()
    ctx = Context(Stack(), backend, FakeImages(backend), FakeRegistry(), Store(folder), lambda event: None)
    desk = StillDesk(ctx, crash=folder / "crash.log")
    app = DevenvApp(
        desk,
        Preferences(theme=scene.theme, motion=False),
        architecture="amd64",
        first="",
        clock=lambda: story.NOW,
    )
    async with app.run_test(size=scene.size) as pilot:
        stage = Stage(app, pilot, desk)
        await stage.drawn()
        await scene.bring(stage)
        return _portable(await stage.rest(), scene.name)


def _portable(svg: str, name: str) -> str:
    """It fetches nothing; its ids are the scene's own; each text has a line of its own, to be compared."""
    svg = re.sub(r"terminal-\d+", name, svg)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(
        "font-family: Fira Code, monospace", "font-family: Fira Code, DejaVu Sans Mono, monospace"
    )
    svg = re.sub(r"(?<=>)(?=<(?:text|rect) )", "\n", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


def text_of(svg: str) -> list[str]:
    """What is to be read in a picture, line by line."""
    rows: dict[int, dict[float, str]] = defaultdict(dict)
    for x, row, text in re.findall(r'<text [^>]*?x="([\d.]+)"[^>]*?-line-(\d+)\)">(.*?)</text>', svg):
        rows[int(row)][float(x)] = html.unescape(text).replace("\xa0", " ")
    width = 12.2  # of a character, as Rich draws it
    lines = []
    for number in range(max(rows, default=-1) + 1):
        line = ""
        for x, text in sorted(rows[number].items()):
            line = f"{line:{round(x / width)}}{text}"
        lines.append(line.rstrip())
    return lines


def main(names: Iterable[str]) -> None:
    """Draw the scenes of these names, or all of them; a picture that no scene has goes."""
    os.environ.update(STILL)
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = set(names)
    for one in SCENES:
        if not wanted or one.name in wanted:
            with tempfile.TemporaryDirectory() as folder:
                one.path.write_text(asyncio.run(picture(one, Path(folder))), encoding="utf-8")
            print(one.path.name)
    for left in set(FOLDER.glob("*.svg")) - {one.path for one in SCENES}:
        left.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
