"""Programs run in groups that end as a whole."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from devenv.errors import CommandFailed, NotFit
from devenv.model.events import CommandEnded, CommandStarted
from devenv.tools import process


async def test_a_result_has_both_streams_and_the_code() -> None:
    done = await process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.stdout, done.stderr, done.code) == ("out\n", "err\n", 3)


async def test_a_failure_carries_argv_code_and_tail() -> None:
    with pytest.raises(CommandFailed, match="the reason") as failed:
        await process.run(["sh", "-c", "echo first >&2; echo the reason >&2; exit 3"])
    assert failed.value.code == 3
    assert failed.value.argv[0] == "sh"
    assert failed.value.log_tail == "first\nthe reason"


async def test_a_missing_program_is_the_machines_fault() -> None:
    with pytest.raises(NotFit, match="is not there"):
        await process.run(["no-such-program"])


async def test_the_environment_is_added_and_not_shown() -> None:
    told: list[CommandStarted | CommandEnded] = []
    with process.observed(told.append):
        done = await process.run(["sh", "-c", "echo $SECRET"], env={"SECRET": "hidden"})
    assert done.stdout == "hidden\n"
    assert all("hidden" not in str(event) for event in told)
    assert [type(event) for event in told] == [CommandStarted, CommandEnded]
    assert told[0].run == told[1].run


async def test_lines_come_as_they_are_written() -> None:
    script = "echo one; sleep 0.2; printf 'two\\377'; echo three >&2"
    lines = [line async for line in process.stream(["sh", "-c", script])]
    assert lines[0].text == "one"
    assert {(line.stream, line.text) for line in lines[1:]} == {("stdout", "two\ufffd"), ("stderr", "three")}


async def test_a_line_beyond_measure_comes_in_pieces() -> None:
    script = "import sys; sys.stdout.write('x' * 3_000_000 + '\\n')"
    lines = [line.text async for line in process.stream([sys.executable, "-c", script])]
    assert sum(map(len, lines)) == 3_000_000


def group_of(program: str) -> list[int]:
    """Processes whose command line holds a word of this test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if program.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def test_a_program_that_never_stops_talking_is_ended_and_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "MOST_OUTPUT", 1 << 20)
    for stream in ("", ">&2"):
        with pytest.raises(CommandFailed, match="written more than 1 MiB"):
            await process.run(["sh", "-c", f"yes {stream}"], timeout=30)
    said = await process.run(["sh", "-c", "head -c 1048576 /dev/zero"])
    assert len(said.stdout) == 1 << 20


async def test_leaving_a_stream_early_ends_the_whole_group() -> None:
    mark = f"sleep-{os.getpid()}-stream"
    script = f"exec -a {mark} sleep 60 & echo up; wait"
    async with aclosing(process.stream(["bash", "-c", script])) as lines:
        async for line in lines:
            assert line.text == "up"
            break
    assert not group_of(mark)


async def test_cancelling_a_run_ends_the_whole_group() -> None:
    mark = f"sleep-{os.getpid()}-run"
    task = asyncio.create_task(process.run(["bash", "-c", f"exec -a {mark} sleep 60 & wait"]))
    while not group_of(mark):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not group_of(mark)


async def test_cancelling_while_it_starts_ends_the_whole_group() -> None:
    mark = f"sleep-{os.getpid()}-start"
    for turn in range(0, 12, 3):
        task = asyncio.create_task(process.run(["bash", "-c", f"exec -a {mark} sleep 60 & wait"]))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not group_of(mark)


async def test_a_program_that_ignores_the_interrupt_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SIGNALS", ((signal.SIGINT, 0.1), (signal.SIGKILL, 3.0)))
    mark = f"sleep-{os.getpid()}-stubborn"
    script = f"trap '' INT; exec -a {mark} sleep 60"
    with pytest.raises(CommandFailed, match="did not end"):
        await process.run(["bash", "-c", script], timeout=0.3)
    assert not group_of(mark)


def test_a_command_is_described_by_its_verb() -> None:
    argv = ["docker", "compose", "-f", "/a/compose.yaml", "up", "--detach"]
    assert process.describe(argv) == "docker compose up"
    assert process.describe(["/usr/bin/docker", "ps", "--all"]) == "docker ps"


async def test_no_other_architecture_is_built_because_the_users_shell_prefers_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/s390x")
    monkeypatch.setenv("KEPT", "yes")
    said = (await process.run(["env"], env={"MORE": "too"})).stdout.splitlines()
    assert {"KEPT=yes", "MORE=too"} <= set(said)
    assert not [line for line in said if line.startswith("DOCKER_DEFAULT_PLATFORM")]


async def test_one_that_follows_does_not_outlive_one_that_is_killed() -> None:
    """It is silent, so nothing else would ever end it: a pipe breaks for who writes to it alone."""
    program = """
import asyncio
from contextlib import aclosing
from devenv.tools import process

async def main():
    argv = ["sh", "-c", "echo $$; exec sleep 60"]
    async with aclosing(process.stream(argv, follows=True)) as lines:
        async for line in lines:
            print(line.text, flush=True)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)


async def test_one_that_follows_and_ends_by_itself_has_its_code_and_words() -> None:
    with pytest.raises(CommandFailed, match="the reason") as failed:
        async for _ in process.stream(["sh", "-c", "echo the reason >&2; exit 3"], follows=True):
            pass
    assert failed.value.code == 3
    assert failed.value.argv[0] == "sh"


async def test_one_that_follows_ends_at_once_when_nobody_listens_any_more() -> None:
    async with asyncio.timeout(2):
        stream = process.stream(["sh", "-c", "echo $$; exec sleep 60"], follows=True)
        async with aclosing(stream) as lines:
            pid = int((await anext(lines)).text)
    assert not Path(f"/proc/{pid}").exists()
