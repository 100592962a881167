"""The terminal that goes away or does not read: nobody waits for it, and nothing spins."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from textual import events
from textual.app import App

from devenv.tui import driver
from devenv.tui.driver import Output, Terminal


class Told:
    """What an output tells."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.back = threading.Event()

    def output(self, file: int, encoding: str = "utf-8") -> Output:
        output = Output(file, encoding, gone=self.gone.set, back=self.back.set)
        output.start()
        return output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for one in (read, write):
        with suppress(OSError):
            os.close(one)


def read_all(file: int, wanted: bytes, into: bytes = b"") -> bytes:
    """Until it ends with `wanted`, or is closed."""
    with suppress(OSError):
        while not into.endswith(wanted):
            into += os.read(file, 1 << 16)
    return into


def test_all_that_is_given_is_written_in_order(pipe: tuple[int, int]) -> None:
    output = Told().output(pipe[1])
    for number in range(1000):
        output.give(f"{number} ")
    output.give("end")
    assert read_all(pipe[0], b"end").split() == [*(b"%d" % number for number in range(1000)), b"end"]
    output.finish()
    assert not output.is_alive()


def test_a_terminal_that_does_not_read_delays_nobody_and_is_painted_anew(pipe: tuple[int, int]) -> None:
    told = Told()
    output = told.output(pipe[1])
    picture = "x" * 10_000
    began = time.thread_time()
    for _ in range(1000):
        output.give(picture)
    assert time.thread_time() - began < 1
    assert len(output._waiting) * len(picture) <= driver._MOST
    assert not told.back.is_set()
    reader = threading.Thread(target=read_all, args=(pipe[0], b"painted anew"), daemon=True)
    reader.start()
    assert told.back.wait(10)
    output.give("painted anew")
    reader.join(10)
    assert not reader.is_alive()


def test_last_words_are_written_after_what_was_left_out(pipe: tuple[int, int]) -> None:
    output = Told().output(pipe[1])
    for _ in range(1000):
        output.give("x" * 10_000)
    output.only_last_words()
    output.give("normal screen")
    assert read_all(pipe[0], b"normal screen")
    output.finish()


def test_a_terminal_that_never_reads_again_holds_nobody_at_the_end(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_LAST_WORDS", 0.05)
    output = Told().output(pipe[1])
    output.give("x" * 1_000_000)
    output.finish()
    assert output.is_alive()
    os.close(pipe[0])
    output.join(10)
    assert not output.is_alive()


def test_a_terminal_that_is_gone_is_told_once_and_costs_nothing_more(pipe: tuple[int, int]) -> None:
    told = Told()
    output = told.output(pipe[1])
    os.close(pipe[0])
    output.give("anybody there?")
    assert told.gone.wait(10)
    output.join(10)
    output.give("x" * 1_000_000)
    assert not output._waiting
    output.finish()


def test_a_terminal_that_other_programs_have_made_impatient_gets_all(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    output = Told().output(pipe[1])
    output.give("x" * 200_000 + "end")
    assert len(read_all(pipe[0], b"end")) == 200_003
    output.finish()


def test_what_a_terminal_cannot_write_is_replaced(pipe: tuple[int, int]) -> None:
    output = Told().output(pipe[1], "latin-1")
    output.give("\udc80 ● end")
    assert read_all(pipe[0], b"end") == b"? ? end"
    output.finish()


class Host(App[None]):
    """Takes what a driver reads."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []
        self.left = asyncio.Event()

    async def _post_message(self, message: Any) -> bool:
        if isinstance(message, events.Key):
            self.keys.append(message.key)
        return True

    def exit(self, *_: Any, **__: Any) -> None:
        self.left.set()


@pytest.fixture
async def reading() -> Any:
    """A driver whose thread reads a terminal; and the other side of that."""
    ours, theirs = pty.openpty()
    app = Host()
    made = Terminal(app)
    made.fileno = theirs
    thread = threading.Thread(target=made.run_input_thread, daemon=True)
    thread.start()
    yield app, made, thread, ours
    made.exit_event.set()
    thread.join(10)
    made.close()
    os.close(theirs)


async def until(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline, f"waited until {what}"
        await asyncio.sleep(0.01)


async def test_the_end_of_the_input_leaves_and_is_read_once(
    reading: tuple[Host, Terminal, threading.Thread, int],
) -> None:
    app, _, thread, ours = reading
    os.write(ours, b"q\n")
    await until("the key is read", lambda: "q" in app.keys)
    os.close(ours)
    async with asyncio.timeout(10):
        await app.left.wait()
    await until("nobody reads any more", lambda: not thread.is_alive())


async def test_bytes_that_are_no_text_end_no_input(
    reading: tuple[Host, Terminal, threading.Thread, int],
) -> None:
    app, _, _, ours = reading
    os.write(ours, b"\xff\xfe\nq\n")
    await until("the key is read", lambda: "q" in app.keys)
    os.close(ours)
