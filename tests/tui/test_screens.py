"""The screens are those of docs/screens: what changes in a picture was meant to change."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from tests.tui.conftest import Draw
from tests.tui.scenes import FOLDER, SCENES, Scene, text_of

_NEW = Path(__file__).parents[2] / "results" / "screens"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_screen_looks_as_its_picture(scene: Scene, draw: Draw) -> None:
    new = await draw(scene)
    old = scene.path.read_text(encoding="utf-8") if scene.path.exists() else ""
    if new != old:
        pytest.fail(_difference(scene, old, new), pytrace=False)


def test_every_picture_has_its_scene() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {scene.path.name for scene in SCENES}


def test_no_picture_tells_of_this_machine_or_needs_the_network() -> None:
    for path in FOLDER.glob("*.svg"):
        svg = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not [word for word in ("/root", "/home/", "/tmp", "url(http", "href") if word in svg], path


def _difference(scene: Scene, old: str, new: str) -> str:
    """In words, as far as it is not colour alone."""
    _NEW.mkdir(parents=True, exist_ok=True)
    kept = _NEW / scene.path.name
    kept.write_text(new, encoding="utf-8")
    changed = "\n".join(
        difflib.unified_diff(text_of(old), text_of(new), "the picture", "the screen", lineterm="", n=1)
    )
    what = f"the screen {scene.name} is not what docs/screens/{scene.path.name} shows"
    if not old:
        what = f"there is no picture docs/screens/{scene.path.name}"
    text = changed or f"the text is the same; colours that are new: {_colours(new) - _colours(old) or 'none'}"
    return f"{what}; it is now {kept}\nif it is meant to be so: make screenshots\n\n{text}"


def _colours(svg: str) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}", svg))
