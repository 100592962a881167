"""Colours: readable, told apart by the colour-blind, and none at all where none are wanted."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import Theme

from devenv.engine.context import Context
from devenv.engine.desk import Desk
from devenv.engine.store import Store
from devenv.model import events as e
from devenv.model.stack import Stack
from devenv.tui.app import DevenvApp
from devenv.tui.theme import DARK, LIGHT
from tests.backends.fake import FakeBackend
from tests.unit.conftest import FakeImages, FakeRegistry

ENOUGH = 4.5
"""Contrast of text, by WCAG 2.1, 1.4.3."""

# Of a colour in linear light, as one without working M or L cones sees it (Viénot, Brettel, Mollon 1999).
BLINDNESS = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


def linear(color: Color) -> tuple[float, ...]:
    parts = (part / 255 for part in color.rgb)
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def luminance(color: Color) -> float:
    red, green, blue = linear(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", ["foreground", "primary", "success", "warning", "error", "secondary"])
def test_every_colour_of_text_can_be_read_on_every_ground(theme: Theme, name: str) -> None:
    text = Color.parse(getattr(theme, name))
    for ground in (theme.background, theme.surface, theme.panel):
        assert contrast(text, Color.parse(ground or "")) >= ENOUGH, (theme.name, name, ground)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("kind", BLINDNESS)
def test_success_and_failure_are_told_apart_by_the_colour_blind(theme: Theme, kind: str) -> None:
    def seen(name: str) -> tuple[float, ...]:
        color = linear(Color.parse(getattr(theme, name)))
        return tuple(sum(a * b for a, b in zip(row, color, strict=True)) for row in BLINDNESS[kind])

    for one, other in itertools.combinations(("success", "error"), 2):
        assert sum((a - b) ** 2 for a, b in zip(seen(one), seen(other), strict=True)) ** 0.5 > 0.08


async def test_the_plain_theme_has_no_colour_and_tells_as_much(tmp_path: Path) -> None:
    backend = FakeBackend()
    ctx = Context(Stack(), backend, FakeImages(backend), FakeRegistry(), Store(tmp_path), lambda event: None)
    desk = Desk(ctx, crash=tmp_path / "crash")
    app = DevenvApp(desk, theme="devenv-plain")
    async with app.run_test() as pilot:
        while app.state.exit_code is None:
            await pilot.pause(0.02)
        app.take(e.ActionFailed("it failed", "for a reason", "do that", "tail"))
        await pilot.pause(0.2)
        strips = app.screen._compositor.render_strips()
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        text = "\n".join(strip.text for strip in strips)
    await desk.close()
    for style in styles:
        for color in (style.color, style.bgcolor):
            assert color is None or color.is_default, style
    assert "● healthy" in text
    assert "✗ it failed" in text
