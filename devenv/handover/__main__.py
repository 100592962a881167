"""`gate`: runs an instance, and answers questions about the one that runs here.

Answers are JSON on stdout; errors are {"error", "why", "next"} on stderr with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from . import database, record, seed, snapshot
from .deadlines import Deadlines
from .fingerprint import fingerprint
from .journal import read
from .problem import Problem
from .record import Record, Role
from .scratch import Scratch
from .settings import Settings
from .shell import shared
from .wire import Fields, Peer, Refused, Unreachable

_LAST_WORDS = Path("/dev/termination-log")
"""Kubernetes keeps what is written there with the end of a container, which a failed hook brings about."""
_READ = 600
"""Seconds in which a snapshot must be read that goes to stdout."""


def main() -> int:
    arguments = _parser().parse_args()
    try:
        result = arguments.do(arguments, Settings.from_env())
    except Refused as refused:
        return _fail(refused.as_problem())
    except Unreachable as error:
        return _fail(
            Problem("the gate of this instance does not answer", str(error), "see the instance's log")
        )
    except Problem as problem:
        return _fail(problem)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(result, dict):
        print(json.dumps(result))
        return 0
    return int(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, do: Any, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(do=do)
        return command

    run = add("run", _run, "run the instance, with COMMAND as the server behind the gate")
    run.add_argument("command", nargs="+", metavar="COMMAND", help="after --, for instance php-fpm8.2 -F")
    add("status", _status, "what this instance is, and what it does")
    add("ready", _ready, "exit 0 if requests may be sent here")
    add("live", _live, "exit 0 if the gate answers")
    add("hook", _hook, "wait until this instance owns the database (0) or cannot (1)")
    events = add("events", _events, "what happened here, an event a line")
    events.add_argument("--follow", action="store_true", help="go on with what happens next")
    taken = add("seed", _seed, "in a build: bring FILE in order and make it the content of a first start")
    taken.add_argument("file", metavar="FILE", type=Path)
    taken.add_argument("into", metavar="INTO", type=Path)
    add("fingerprint", _fingerprint, "rows and hash of each table")
    save = add("snapshot", _snapshot, "save the database and what has changed beside it")
    save.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE, '-' is stdout, not to the volume"
    )
    restore = add("restore", _restore, "replace the content by that of a snapshot")
    restore.add_argument("file", metavar="FILE", help="a snapshot; '-' is stdin")
    add("retire", _retire, "no successor comes: end without waiting for one")
    recover = add("recover", _recover, "the owner is gone for good: own the content that is here")
    recover.add_argument("--force", action="store_true", help="also where another instance owns the content")
    return parser


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from .gate import Gate

    async def run() -> int:
        return await Gate(settings, arguments.command).run()

    if disorder := settings.deadlines.disorder():
        raise Problem("the deadlines do not fit together", disorder, "mend GATE_DEADLINE_…")
    return asyncio.run(run())


def _status(arguments: argparse.Namespace, settings: Settings) -> Fields:
    return _ask(settings, "status")


def _ready(arguments: argparse.Namespace, settings: Settings) -> int:
    return 0 if _ask(settings, "status")["ready"] else 1


def _live(arguments: argparse.Namespace, settings: Settings) -> int:
    _ask(settings, "status")
    return 0


def _hook(arguments: argparse.Namespace, settings: Settings) -> int:
    deadline = time.monotonic() + settings.deadlines.hook + settings.deadlines.reply
    with _container_log() as log:
        asked = False
        while True:
            # The gate may not be there yet.
            with contextlib.suppress(Unreachable):
                if not asked:
                    _ask(settings, "start")
                    asked = True
                status = _ask(settings, "status")
                # Ready it may be only later: Kubernetes lists a pod under its name when this hook has ended.
                if status["role"] == Role.OWNER:
                    print(f"gate: hook owner of epoch {status['epoch']}", file=log, flush=True)
                    return 0
                if status["failed"]:
                    failed = status["failed"]
                    print(f"gate: hook failed: {failed['error']}: {failed['why']}", file=log, flush=True)
                    problem = Problem(failed["error"], failed["why"], failed["next"])
                    with contextlib.suppress(OSError):
                        if _LAST_WORDS.exists():
                            _LAST_WORDS.write_text(json.dumps(problem.as_json()))
                    raise problem
                if status["role"] == Role.MOVED:
                    return 0
            if time.monotonic() > deadline:
                raise Problem(
                    "this instance has no database",
                    f"it does not own one after {settings.deadlines.hook:g} s",
                    "gate events tells how far it came",
                )
            time.sleep(settings.deadlines.poll)


@contextlib.contextmanager
def _container_log() -> Any:
    """The log of the container: output of a hook itself is not kept by any engine."""
    log: TextIO = sys.stderr
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            log = stack.enter_context(Path("/proc/1/fd/1").open("w"))
        yield log


def _events(arguments: argparse.Namespace, settings: Settings) -> int:
    for event in read(
        settings.state / "events.jsonl", follow=arguments.follow, poll=settings.deadlines.poll / 2
    ):
        print(json.dumps(event), flush=True)
    return 0


def _seed(arguments: argparse.Namespace, settings: Settings) -> int:
    seed.take(arguments.file, arguments.into)
    return 0


def _fingerprint(arguments: argparse.Namespace, settings: Settings) -> Fields:
    with _content(settings) as current:
        if current.role is Role.MOVED:
            return fingerprint(settings.database)
        # Of a copy: reading all of it in place would keep writers waiting.
        with Scratch(settings.state) as scratch:
            copy = scratch / "database.sqlite"
            if settings.database.exists():
                database.need_space(copy.parent, settings.database.stat().st_size)
                database.backup(settings.database, copy)
            else:
                copy.touch()
            return fingerprint(copy)


def _snapshot(arguments: argparse.Namespace, settings: Settings) -> Fields | int:
    if arguments.output == "-":
        return _stream_snapshot(settings)
    with _content(settings) as current:
        if arguments.output is None:
            return snapshot.save(settings, current)
        with Path(arguments.output).open("wb") as file:
            return snapshot.write(settings, current, file)


def _stream_snapshot(settings: Settings) -> int:
    """To stdout. An engine can go on running us when whoever reads it has gone away: that must neither keep
    a hand-over waiting nor last.
    """
    signal.signal(signal.SIGALRM, _nobody_reads)
    with snapshot.Taken(settings) as taken:
        with _content(settings) as current:
            description = taken.of(current)
        signal.alarm(_READ)
        taken.pack(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    print(json.dumps(description), file=sys.stderr)
    return 0


def _nobody_reads(*_: object) -> None:
    # Else what is left of the archive would be written to the same pipe as it is closed.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise Problem("nobody reads the snapshot", f"not all of it after {_READ} s", "read it to its end")


@contextlib.contextmanager
def _content(settings: Settings) -> Any:
    """The record of an instance whose content is its own; nobody freezes or moves it meanwhile."""
    with shared(settings.state):
        current = record.load(settings.state / "record.json") or Record()
        if current.role not in (Role.OWNER, Role.MOVED):
            raise Problem("this instance has no content", f"its role is {current.role}", "ask the owner")
        yield current


def _restore(arguments: argparse.Namespace, settings: Settings) -> Fields:
    try:
        with Scratch(settings.state) as scratch:
            path = scratch / "snapshot.tar"
            with path.open("wb") as file:
                if arguments.file == "-":
                    shutil.copyfileobj(sys.stdin.buffer, file)
                else:
                    with Path(arguments.file).open("rb") as source:
                        shutil.copyfileobj(source, file)
            return _ask(settings, "restore", {"path": str(path)})
    except OSError as error:
        raise Problem("the snapshot cannot be read", str(error), "give another FILE") from error


def _retire(arguments: argparse.Namespace, settings: Settings) -> Fields:
    return _ask(settings, "retire")


def _recover(arguments: argparse.Namespace, settings: Settings) -> Fields:
    return _ask(settings, "recover", {"force": arguments.force})


def _ask(settings: Settings, verb: str, fields: Fields | None = None) -> Fields:
    """Of the gate that runs in this instance."""
    host, port = settings.control
    control = ("127.0.0.1" if host == "0.0.0.0" else host, port)
    with Peer(control, settings.secret(), Deadlines(connect=2.0, reply=60.0)) as peer:
        return peer.call(verb, fields)[0]


def _fail(problem: Problem) -> int:
    print(json.dumps(problem.as_json()), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
