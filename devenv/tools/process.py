"""Starting programs: each in a process group of its own, which ends as a whole when it is cancelled."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from devenv.errors import CommandFailed, NotFit
from devenv.model.commands import PLACE
from devenv.model.events import CommandEnded, CommandStarted
from devenv.tools.telling import telling

Observer = Callable[[CommandStarted | CommandEnded], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)
_runs = itertools.count(1)

TAIL = 30
"""Lines of output kept for an error: enough for a cause, few enough to read."""
_LONGEST_LINE = 1 << 20
MOST_OUTPUT = 64 << 20
"""Bytes that a program may answer with: some run in containers, where an application can make them talk."""
_CHUNK = 1 << 16
_AHEAD = 16
"""Batches of lines that wait for their reader, before the program has to."""
_WITH_VALUE = {
    *("-f", "-p", "--file", "--project-name", "--env-file", "--project-directory"),
    *PLACE,
}
"""Options before a verb that have a value."""
_NOUNS = {"compose", "buildx", "image", "container", "volume", "network", "rollout"}
"""Words after which the verb comes."""
_WITHHELD = {"DOCKER_DEFAULT_PLATFORM"}
"""Which architecture is built and run is for us to say: it would give foreign images the names of our own."""
_FOLLOWING = """exec 3<&0; (read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 & "$@" </dev/null 3<&-
code=$?; kill $!; exit $code"""
"""Its stdin is a pipe that only we hold: when we are gone it reads the end, and kills its group."""
_SIGNALS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))
"""How a group is asked to end, and how long it may take to. Compose leaves orderly on SIGINT."""


@dataclass(frozen=True, slots=True)
class Completed:
    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Line:
    stream: Literal["stdout", "stderr"]
    text: str


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Within, each program that is started is reported to `observer`, also those of new tasks."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


async def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = True,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> Completed:
    """Run a program to its end. `env` adds to this process's own; secrets go there, never into `argv`.

    With `check`, an exit code other than 0 is a CommandFailed. `stdin` and `stdout` are open files.
    """
    started = time.monotonic()
    async with _Running(argv, cwd, env, stdin, stdout) as running:
        try:
            async with asyncio.timeout(timeout):
                out, err = await running.output()
        except TimeoutError:
            await running.end()
            raise CommandFailed(
                f"{describe(argv)} did not end",
                f"no result within {timeout:g} s",
                "try it by hand; if it hangs there too, restart the engine",
                argv=argv,
                code=None,
            ) from None
        code = running.process.returncode or 0
    if max(len(out), len(err)) > MOST_OUTPUT:
        raise CommandFailed(
            f"{describe(argv)} was ended",
            f"it has written more than {MOST_OUTPUT >> 20} MiB, more than any answer that it can give",
            "try it by hand",
            argv=argv,
            code=None,
        )
    result = Completed(
        tuple(argv), code, out.decode(errors="replace"), err.decode(errors="replace"),
        time.monotonic() - started,
    )  # fmt: skip
    if check and code != 0:
        raise failure(argv, code, (result.stderr or result.stdout).splitlines())
    return result


async def batches(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    follows: bool = False,
) -> AsyncGenerator[list[Line], None]:
    """Run a program and yield its lines as they come, as many at once as there are. Closing the
    generator ends the program.

    `follows`: it goes on for as long as somebody listens, and may be silent for long. Other programs come to
    their end by themselves should we be killed, and change nothing half; this one is killed with us.

    Wrap it in `contextlib.aclosing` wherever the loop may be left early.
    """
    tail: deque[str] = deque(maxlen=TAIL)
    async with _Running(argv, cwd, env, None, None, follows=follows) as running:
        read: asyncio.Queue[list[Line] | None] = asyncio.Queue(maxsize=_AHEAD)
        readers = [
            asyncio.create_task(_read(running.process.stdout, "stdout", read)),
            asyncio.create_task(_read(running.process.stderr, "stderr", read)),
        ]
        try:
            open_streams = len(readers)
            while open_streams:
                lines = await read.get()
                if lines is None:
                    open_streams -= 1
                    continue
                tail.extend(line.text for line in lines[-TAIL:])
                yield lines
            code = await running.process.wait()
        finally:
            for reader in readers:
                reader.cancel()
    if check and code != 0:
        raise failure(argv, code, list(tail))


async def stream(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    follows: bool = False,
) -> AsyncGenerator[Line, None]:
    """The same, a line at a time."""
    async with aclosing(batches(argv, cwd=cwd, env=env, check=check, follows=follows)) as read:
        async for lines in read:
            for line in lines:
                yield line


def failure(argv: Sequence[str], code: int, output: Sequence[str]) -> CommandFailed:
    """A program's failure, by the line of its output that tells most."""
    tail = [line for line in output if line.strip()][-TAIL:]
    why = telling(tail) or f"exit code {code}, and it said nothing"
    return CommandFailed(
        f"{describe(argv)} failed",
        why,
        f"run it by hand to see more: {' '.join(argv)}" if len(argv) < 12 else "see its output below",
        argv=argv,
        code=code,
        log_tail="\n".join(tail),
    )


def describe(argv: Sequence[str]) -> str:
    """The program and its verb: `docker compose up`, without what stands between."""
    words = [Path(argv[0]).name]
    rest = iter(argv[1:])
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif word.startswith("-"):
            continue
        else:
            words.append(word)
            if word not in _NOUNS:
                break
    return " ".join(words)


async def _read(
    pipe: asyncio.StreamReader | None,
    name: Literal["stdout", "stderr"],
    into: asyncio.Queue[list[Line] | None],
) -> None:
    assert pipe is not None  # noqa: S101 - we asked for pipes
    rest = b""
    with suppress(ConnectionError):
        while chunk := await pipe.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                # A line beyond all measure comes in pieces, rather than not at all.
                whole.append(rest)
                rest = b""
            if whole:
                await into.put([_line(name, raw) for raw in whole])
    if rest:
        await into.put([_line(name, rest)])
    await into.put(None)


def _line(name: Literal["stdout", "stderr"], raw: bytes) -> Line:
    return Line(name, raw.decode(errors="replace").rstrip("\r"))


class _Running:
    """A started program, reported to the observer at both ends, and gone when the block is left."""

    process: asyncio.subprocess.Process

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | None,
        *,
        follows: bool = False,
    ) -> None:
        self.follows = follows
        self.argv = tuple(argv)
        self.cwd = cwd
        self.env = env
        self.stdin = stdin
        self.stdout = stdout
        self.number = next(_runs)
        self.started = time.monotonic()

    async def __aenter__(self) -> _Running:
        report = _observer.get()
        if report:
            report(CommandStarted(self.number, self.argv))
        starting = asyncio.ensure_future(self._start())
        try:
            self.process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # asyncio ends the program alone that it was about to give us, not its group.
            await asyncio.wait([starting])
            if not starting.exception():
                self.process = starting.result()
                await self.__aexit__()
            raise
        except FileNotFoundError as error:
            raise NotFit(
                f"{self.argv[0]} is not there", "it is not installed, or not on PATH", "run: devenv doctor"
            ) from error
        except PermissionError as error:
            raise NotFit(
                f"{self.argv[0]} cannot be started", str(error), "mend its permissions, or run: devenv doctor"
            ) from error
        return self

    async def _start(self) -> asyncio.subprocess.Process:
        guard = ("sh", "-c", _FOLLOWING, "sh") if self.follows else ()
        stdin = asyncio.subprocess.PIPE if self.follows else asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            *guard,
            *self.argv,
            cwd=self.cwd,
            env={name: value for name, value in os.environ.items() if name not in _WITHHELD}
            | dict(self.env or {}),
            stdin=self.stdin or stdin,
            stdout=self.stdout or asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_CHUNK,
        )

    async def output(self) -> tuple[bytes, bytes]:
        """All that it writes, until it has ended. With more than MOST_OUTPUT of it, it is made to end."""
        process = self.process
        reading = asyncio.gather(self._whole(process.stdout), self._whole(process.stderr), process.wait())
        out, err, _ = await reading
        return out, err

    async def _whole(self, pipe: asyncio.StreamReader | None) -> bytes:
        """Nothing, where its output goes to a file."""
        read = bytearray()
        ending: asyncio.Task[None] | None = None
        while pipe is not None and (chunk := await pipe.read(_CHUNK)):
            if len(read) <= MOST_OUTPUT:
                read += chunk
            elif ending is None:
                # Beside the reading: asyncio counts a program as ended only when its pipes are read empty.
                ending = asyncio.create_task(self.end())
        if ending:
            await ending
        return bytes(read)

    async def __aexit__(self, *exception: object) -> None:
        ended_by_us = self.process.returncode is None
        if ended_by_us:
            await self.end()
        report = _observer.get()
        if report:
            code = None if ended_by_us else self.process.returncode
            report(CommandEnded(self.number, self.argv, code, time.monotonic() - self.started))

    async def end(self) -> None:
        """End the whole group, also when we are being cancelled ourselves."""
        ending = asyncio.ensure_future(self._end())
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                if ending.cancelled():
                    raise

    async def _end(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        for number, patience in _SIGNALS:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.process.wait()
                    # A shell's children in the background ignore an interrupt that ends the shell itself.
                    while self._group_is_there():  # noqa: ASYNC110 - nothing tells of it
                        await asyncio.sleep(0.02)
                    return

    def _group_is_there(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
