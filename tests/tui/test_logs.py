"""The log as a person sees it: it follows, it stays where one reads, and it finds what one types."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from devenv.logs.store import LogStore
from devenv.model.events import LogLine
from devenv.tui.log_paint import short_names
from devenv.tui.log_pane import LogPane
from devenv.tui.log_prompt import LogPrompt, PromptInput

SIZE = (80, 14)
MOVES = [
    *("bottom", "top", "line_down", "line_up", "half_page_down", "half_page_up", "page_down", "page_up"),
    *("right", "left"),
]


class Host(App[None]):
    def __init__(self, pane: LogPane) -> None:
        super().__init__()
        self.pane = pane
        self.got: list[Any] = []

    def compose(self) -> ComposeResult:
        yield self.pane

    def on_log_pane_copy(self, message: LogPane.Copy) -> None:
        self.got.append((message.text, message.what))

    def on_log_pane_save(self, message: LogPane.Save) -> None:
        self.got.append((list(message.lines), message.count))


def numbered(first: int, count: int, source: str = "devenv-php-fpm-1") -> list[LogLine]:
    return [LogLine(source, f"line {number}") for number in range(first, first + count)]


def screen(pane: LogPane) -> list[str]:
    return [pane.view.render_line(y).text.rstrip() for y in range(pane.view.room.height)]


def texts(pane: LogPane) -> list[str]:
    return [line.partition("│ ")[2] for line in screen(pane)]


def status(pane: LogPane) -> str:
    return pane.status


async def fed(pilot: Pilot[None], pane: LogPane, lines: list[LogLine]) -> None:
    pane.feed(lines)
    pane.flush()
    await pilot.pause()


async def typed(pilot: Pilot[None], pane: LogPane, *keys: str) -> None:
    await pilot.press(*keys)
    pane.flush()
    await pilot.pause()


async def test_the_end_is_followed() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 100))
        assert texts(pane)[-1] == "line 99"
        assert "following" in status(pane)
        await fed(pilot, pane, numbered(100, 5))
        assert texts(pane)[-1] == "line 104"


async def test_lines_come_to_the_screen_by_themselves_and_nothing_is_done_without_any() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        pane.feed(numbered(0, 3))
        while pane.lens.lines < 3:
            await pilot.pause(0.01)
        await pilot.pause(0.12)
        assert texts(pane)[2] == "line 2"
        assert pane.view._beat is None


async def test_scrolling_up_pauses_and_tells_what_is_new() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 100))
        pane.action_line_up()
        await pilot.pause()
        before = texts(pane)
        await fed(pilot, pane, numbered(100, 214))
        assert texts(pane) == before
        assert "paused · 214 new" in status(pane)
        pane.action_follow()
        await pilot.pause()
        assert texts(pane)[-1] == "line 313"
        assert "following" in status(pane)


async def test_the_wheel_pauses_and_the_end_resumes() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 100))
        await pilot._post_mouse_events([_wheel("up")], pane.view, (3, 3))
        await pilot.pause()
        assert not pane.view.following
        pane.action_bottom()
        assert pane.view.following


def _wheel(way: str) -> Any:
    from textual import events

    return events.MouseScrollUp if way == "up" else events.MouseScrollDown


async def test_all_moves_keep_within_the_log() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        for lines in ([], numbered(0, 100), [LogLine("a", "x" * 300)]):
            await fed(pilot, pane, lines)
            for move in MOVES:
                for _ in range(3):
                    getattr(pane, f"action_{move}")()
                await pilot.pause()
                assert 0 <= pane.view.scroll_offset.y <= pane.view.max_scroll_y
                assert len(screen(pane)) == pane.view.room.height
        pane.action_top()
        await pilot.pause()
        assert texts(pane)[0] == "line 0"
        pane.action_page_down()
        await pilot.pause()
        assert texts(pane)[0] == f"line {pane.view.room.height - 1}"


async def test_what_is_read_stays_while_old_lines_go_and_that_is_told() -> None:
    pane = LogPane("/var/log/whole.log", store=LogStore(60_000))
    async with Host(pane).run_test(size=(140, 14)) as pilot:
        await fed(pilot, pane, [LogLine("quiet", "rare"), *numbered(0, 300)])
        pane.action_half_page_up()
        await pilot.pause()
        before = texts(pane)
        for batch in range(8):
            await fed(pilot, pane, numbered(300 + 10 * batch, 10))
            assert texts(pane) == before
        assert pane.store.dropped
        assert f"oldest {pane.store.dropped} dropped · whole log: /var/log/whole.log" in status(pane)
        assert pane.store.count("quiet") == 1


async def test_what_is_read_stays_when_it_is_wrapped_and_filtered() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        lines = [LogLine("a", f"line {number} " + "x" * (number % 7 * 40)) for number in range(300)]
        await fed(pilot, pane, lines)
        pane.action_top()
        pane.action_page_down()
        await pilot.pause()
        top = texts(pane)[0].split()[:2]
        pane.action_wrap()
        await pilot.pause()
        assert texts(pane)[0].split()[:2] == top
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert texts(pane)[0].split()[:2] == top


async def test_a_search_counts_and_goes_through_its_matches() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 100))
        pane.action_search()
        await typed(pilot, pane, *"line .5")
        assert "0/9" in status(pane)
        await typed(pilot, pane, "enter")
        assert "9/9" in status(pane)
        assert not pane.prompt.is_open
        pane.action_previous_match()
        await pilot.pause()
        assert "8/9" in status(pane)
        assert any("▶ line 85" in line for line in screen(pane))
        pane.action_next_match()
        pane.action_next_match()
        await pilot.pause()
        assert "1/9" in status(pane)
        assert any("▶ line 15" in line for line in screen(pane))
        assert not pane.view.following


async def test_a_search_goes_on_while_paused_and_escape_takes_it_back() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 100))
        pane.action_line_up()
        pane.action_search()
        await typed(pilot, pane, *"line")
        await fed(pilot, pane, numbered(100, 10))
        assert "0/110" in status(pane)
        await typed(pilot, pane, "escape")
        assert "/110" not in status(pane)
        assert not pane.lens.search


async def test_a_match_far_to_the_right_is_brought_into_sight() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, [LogLine("a", "x" * 500 + "needle"), *numbered(0, 50)])
        for wrapped in (False, True):
            if wrapped:
                pane.action_wrap()
            pane.action_search()
            await typed(pilot, pane, *"needle", "enter")
            assert any("needle" in line for line in screen(pane))
            pane.action_bottom()


async def test_a_filter_is_live_stays_visible_and_goes_with_its_text() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=(120, 14)) as pilot:
        await fed(pilot, pane, numbered(0, 100))
        pane.action_filter()
        await typed(pilot, pane, "7")
        assert texts(pane)[-3:] == ["line 79", "line 87", "line 97"]
        assert "filter: 19 of 100 lines" in pane.prompt.state
        await typed(pilot, pane, "ctrl+n")
        assert "81 of 100 lines" in status(pane)
        assert "inverse" in pane.prompt.state
        await typed(pilot, pane, "enter")
        assert "& without 7 · 81 of 100 lines" in status(pane)
        await fed(pilot, pane, numbered(177, 1))
        assert "81 of 101 lines" in status(pane)
        pane.action_filter()
        await typed(pilot, pane, "backspace", "enter")
        assert pane.lens.lines == 101
        assert "&" not in status(pane)


async def test_the_prompt_switches_its_ways_and_recalls_the_last_query() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=(120, 14)) as pilot:
        await fed(pilot, pane, [LogLine("a", "A (b"), LogLine("a", "a b")])
        pane.action_filter()
        await typed(pilot, pane, "(")
        assert "taken literally" in pane.prompt.state
        assert pane.lens.lines == 1
        await typed(pilot, pane, "ctrl+r")
        assert "literal · smart case" in pane.prompt.state
        await typed(pilot, pane, "enter")
        pane.action_filter()
        await typed(pilot, pane, "backspace", *"a", "ctrl+t", "ctrl+t", "ctrl+r")
        assert "regex · exact case" in pane.prompt.state
        assert pane.lens.lines == 1
        await typed(pilot, pane, "ctrl+u", "up")
        assert pane.query_one(PromptInput).value == "("
        await typed(pilot, pane, "escape")
        assert pane.lens.choice.filter.text == "("


async def test_the_prompt_leaves_the_lines_their_room() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        height = pane.view.size.height
        pane.action_search()
        await pilot.pause()
        assert pane.query_one(LogPrompt).size.height == 1
        assert pane.view.size.height == height - 1
        await pilot.press("escape")
        await pilot.pause()
        assert pane.view.size.height == height
        assert pane.view.has_focus


async def test_sources_are_gone_through_and_told_apart_by_text() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=(120, 14)) as pilot:
        await fed(pilot, pane, numbered(0, 3, "devenv-httpd-1") + numbered(3, 3, "devenv-php-fpm-3"))
        assert screen(pane)[0].startswith("httpd-1   │ ")
        assert screen(pane)[3].startswith("php-fpm-3 │ ")
        seen = []
        for _ in range(3):
            pane.action_source()
            pane.flush()
            await pilot.pause()
            seen.append((pane.lens.lines, status(pane).split("logs: ")[1].strip()))
        assert seen == [(3, "devenv-httpd-1"), (3, "devenv-php-fpm-3"), (6, "all sources")]


def test_short_names_fit_and_differ() -> None:
    names = (
        "devenv-php-fpm-1",
        "devenv-php-fpm-2",
        "devenv-php-fpm-7d9c8b6f5d-x2x9z",
        "日本語日本語",
        "b" * 30,
        "b" * 31,
    )
    for room in (3, 5, 9, 16):
        short = short_names(names, room)
        assert len(set(short.values())) == len(names)
    assert short_names(("devenv-httpd-1",), 16) == {"devenv-httpd-1": "devenv-httpd-1"}


async def test_times_marks_and_clearing() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, [LogLine("a", "old", time=0.25)])
        pane.action_timestamps()
        await pilot.pause()
        assert ":00:00.250 a │ old" in screen(pane)[0]
        pane.action_mark()
        await fed(pilot, pane, [LogLine("a", "new")])
        assert screen(pane)[1].startswith("── mark ")
        assert screen(pane)[1].endswith("──")
        pane.action_clear()
        await fed(pilot, pane, [LogLine("a", "newer")])
        assert texts(pane)[:2] == ["newer", ""]
        assert "cleared" in status(pane)
        assert len(pane.store) == 3


async def test_what_is_selected_with_the_mouse_is_copied_and_the_end_is_still_followed() -> None:
    pane = LogPane()
    app = Host(pane)
    async with app.run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 5, "a"))
        await pilot.mouse_down(pane.view, offset=(9, 1))
        await pilot.hover(pane.view, offset=(7, 3))
        await pilot.mouse_up(pane.view, offset=(7, 3))
        await pilot.pause()
        # Lines that come and go do not move it.
        await fed(pilot, pane, numbered(5, 100, "a"))
        pane.action_copy()
        await pilot.pause()
        assert app.got == [("1\nline 2\nline", "selection")]
        assert pane.view.following


async def test_without_a_selection_the_line_of_the_match_is_copied_else_the_last() -> None:
    pane = LogPane()
    app = Host(pane)
    async with app.run_test(size=SIZE) as pilot:
        pane.action_copy()
        pane.action_copy_visible()
        await fed(pilot, pane, numbered(0, 50, "a"))
        pane.action_copy()
        pane.action_search()
        await typed(pilot, pane, *"45", "enter")
        pane.action_copy()
        pane.action_copy_visible()
        pane.action_save()
        await pilot.pause()
        assert app.got[:2] == [("line 49", "last line"), ("line 45", "line of the match")]
        assert app.got[2][0].splitlines()[-1] == "a | line 49"
        lines, count = app.got[3]
        assert count == len(lines) == 50
        assert lines[0].endswith("a | line 0")


HOSTILE = [
    "x" * 1_000_000,
    os.urandom(5000).decode(errors="replace"),
    b"\xff\xfe invalid \xc3\x28".decode(errors="replace"),
    "\x1b[" * 100_000,
    "\x1b[31m" * 50_000 + "red",
    "\x1b]52;c;c2VjcmV0\x07shown",
    "\x1b]0;a title\x1b\\shown",
    "\x1b]0;a title without end",
    "\x9b31mred\x9d0;title\x9c",
    "\x1b[?1049h\x1b[2J\x1b[H",
    "[bold red]no markup[/] [/nothing] [@click=app.quit]quit[/]",
    "\u202egnihtemos\u2066",
    "e" + "\u0301" * 2000,
    "日本語" * 20_000,
    "👨\u200d👩\u200d👧" * 300,
    "\ud800\udfff",
    "\x1b[2;31;42mdim\x1b[0m\x1b[7mreverse",
    "".join(f"\x1b[38;5;{number % 256}m{number}" for number in range(5000)),
    "\x00\x01\x02\x7f\x85",
    "",
]


@pytest.mark.parametrize(
    ("theme", "wrapped"), [("textual-dark", False), ("textual-light", True), ("ansi-dark", True)]
)
async def test_no_line_breaks_the_screen(theme: str, wrapped: bool) -> None:
    pane = LogPane()
    app = Host(pane)
    async with app.run_test(size=SIZE) as pilot:
        app.theme = theme
        if wrapped:
            pane.action_wrap()
        pane.action_search()
        await pilot.press(*"e+")
        for line in HOSTILE:
            await fed(pilot, pane, [LogLine("a\x1b]0;b", line)])
            for move in ("bottom", "page_up", "right", "top"):
                getattr(pane, f"action_{move}")()
                for y in range(pane.view.size.height):
                    strip = pane.view.render_line(y)
                    assert strip.cell_length == pane.view.room.width
                    bad = {sign for sign in strip.text if unicodedata.category(sign) in ("Cc", "Cs")}
                    assert not bad
                    assert "c2VjcmV0" not in strip.text
                    assert "title" not in strip.text
                await pilot.pause()
        assert "[bold red]no markup[/]" in "".join(entry.text for entry in pane.store.after(0, 99))


async def test_colours_of_the_log_are_shown_and_nothing_else_of_it_is_style() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, [LogLine("a", "plain \x1b[1;38;2;1;2;3mstyled\x1b[0m [red]text[/red]")])
        found = {
            segment.text: segment.style
            for segment in pane.view.render_line(0)
            if segment.style and segment.text.strip()
        }
        assert found["styled"].bold
        assert found["styled"].color
        assert found["styled"].color.triplet == (1, 2, 3)
        assert " [red]text[/red]" in found


@pytest.mark.parametrize("wrapped", [False, True], ids=["cut", "wrapped"])
async def test_a_storm_of_sizes_is_harmless(wrapped: bool) -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        if wrapped:
            pane.action_wrap()
        pane.action_timestamps()
        await fed(pilot, pane, [LogLine("a", line) for line in HOSTILE[1:]] + numbered(0, 300))
        for width, height in [(20, 5), (1, 1), (200, 60), (2, 2), (40, 3), (3, 1), (120, 40), (20, 5)]:
            await pilot.resize_terminal(width, height)
            pane.feed(numbered(0, 10))
            pane.flush()
        await pilot.pause()
        assert pane.view.following
        assert screen(pane)[-1].endswith("line 9")
        assert "following" in status(pane)


async def test_a_pane_that_cannot_be_seen_takes_lines_all_the_same() -> None:
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        pane.display = False
        await pilot.pause()
        await fed(pilot, pane, numbered(0, 100))
        assert len(pane.store) == 100
        pane.display = True
        await pilot.pause()
        pane.flush()
        assert texts(pane)[-1] == "line 99"


async def test_without_colours_emphasis_and_signs_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    pane = LogPane()
    async with Host(pane).run_test(size=SIZE) as pilot:
        await fed(pilot, pane, numbered(0, 3, "a"))
        pane.action_search()
        await typed(pilot, pane, *"line 1", "enter")
        current = next(segment for segment in pane.view.render_line(1) if segment.text == "line 1")
        assert current.style
        assert current.style.reverse
        assert screen(pane)[1] == "a ▶ line 1"
