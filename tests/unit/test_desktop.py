"""The browser and the clipboard of this machine: started quietly, and left alone when they stay."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from devenv.model.events import CommandStarted
from devenv.tools import browser, clipboard, process

Program = Callable[[str, str], None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs of a Linux desktop")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script on a PATH that has no other program of a desktop."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sleep", "cat"):
        (folder / name).symlink_to(next(path for path in (Path("/bin") / name, Path("/usr/bin") / name)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


async def test_a_page_is_shown_quietly_and_the_command_is_told_of(
    program: Program, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program("xdg-open", f'echo noise; echo noise >&2; echo "$1" > {tmp_path}/url')
    told: list[object] = []
    with process.observed(told.append):
        assert await browser.show("http://127.0.0.1:8080")
    assert (tmp_path / "url").read_text() == "http://127.0.0.1:8080\n"
    assert capfd.readouterr() == ("", "")
    started = next(event for event in told if isinstance(event, CommandStarted))
    assert started.argv[-2:] == ("xdg-open", "http://127.0.0.1:8080")


async def test_where_no_browser_can_show_it_the_answer_is_no(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await browser.show("http://127.0.0.1:8080")
    program("xdg-open", "exit 3")
    assert not await browser.show("http://127.0.0.1:8080")
    program("xdg-open", "exit 0")
    monkeypatch.delenv("DISPLAY")
    assert not await browser.show("http://127.0.0.1:8080")


async def test_a_browser_that_stays_is_not_waited_for_and_not_ended(program: Program, tmp_path: Path) -> None:
    program("xdg-open", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    began = time.monotonic()
    assert await browser.show("http://127.0.0.1:8080")
    assert time.monotonic() - began < 8
    number = int((tmp_path / "pid").read_text())
    os.kill(number, 0)
    os.kill(number, signal.SIGKILL)


async def test_what_is_copied_is_whole_and_its_keeper_stays_in_the_background(
    program: Program, tmp_path: Path
) -> None:
    program("xclip", f"cat > {tmp_path}/copied; sleep 60 & echo $! > {tmp_path}/pid")
    text = "日 $HOME `x`\n" * 20_000
    try:
        assert await clipboard.copy(text)
        assert (tmp_path / "copied").read_text() == text
        os.kill(int((tmp_path / "pid").read_text()), 0)
    finally:
        with suppress(OSError, ValueError):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


async def test_a_clipboard_that_takes_nothing_is_told_of(program: Program) -> None:
    assert not await clipboard.copy("x")
    program("xclip", "echo no display >&2; exit 1")
    assert not await clipboard.copy("x")
