"""What gates say, whichever way it came: status, journal, errors, snapshots."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from devenv.errors import CommandFailed, DevenvError
from devenv.model.instance import Gate
from devenv.tools import docker

_END_OF_TIME = 1e11
"""Seconds that are still a date."""


def status(name: str, log: str, text: str) -> Gate:
    """`log` is the command that shows the instance's log."""
    with docker.readable(name, _another(log)):
        return Gate.from_json(json.loads(text))


def answer(name: str, log: str, text: str) -> Mapping[str, Any]:
    with docker.readable(name, _another(log)):
        return dict(json.loads(text)) if text.strip() else {}


def _another(log: str) -> str:
    return f"see its log: {log}; or is it of another devenv than this one?"


def failure(name: str, log: str, error: CommandFailed) -> DevenvError:
    """What failed in the gate's own words, and not the exit code of what asked it. `log` as for `status`."""
    for text in reversed(error.log_tail.splitlines()):
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            return failed(name, json.loads(text), f"see its log: {log}")
    return error


def failed(name: str, said: Mapping[str, Any], next_step: str, log_tail: str = "") -> DevenvError:
    """What a gate failed of, as an error. Its advice stays what the instance says: ours is `next_step`."""
    why, advice = str(said["why"]), str(said["next"])
    return DevenvError(f"{name}: {said['error']}", why, next_step, log_tail, instance_says=advice)


def event(text: str) -> Mapping[str, Any] | None:
    """One line of a journal; None for what a crash cut off, or another release writes otherwise."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and _is_event(said) else None


def _is_event(said: Mapping[str, Any]) -> bool:
    """Whether all that is counted on is there: who reads it further on does not ask again."""
    words = (said.get(name) for name in ("uid", "side", "phase"))
    numbers = (said.get(name, 0) for name in ("held", "relayed"))
    time = said.get("time")
    return (
        all(isinstance(word, str) for word in words)
        and all(type(number) is int for number in numbers)
        # JSON as Python reads it knows NaN and infinity too.
        and isinstance(time, int | float)
        and not isinstance(time, bool)
        and 0 <= time < _END_OF_TIME
    )


async def receive(into: Path, send: Callable[[IO[bytes]], Coroutine[Any, Any, object]]) -> Mapping[str, Any]:
    """The description of the snapshot that `send` writes. `into` is there whole, or not at all."""
    part = into.with_name(f"{into.name}.part")
    try:
        with part.open("wb") as file:
            await send(file)
        description = snapshot_json(part)
        part.replace(into)
    finally:
        part.unlink(missing_ok=True)
    return description


def snapshot_json(path: Path) -> dict[str, Any]:
    """What a snapshot says of itself; proof that the whole of it came through."""
    try:
        with tarfile.open(path) as tar:
            content = tar.extractfile("snapshot.json")
            names = tar.getnames()
            if content is None or "database.sqlite" not in names:
                raise KeyError("database.sqlite")
            return dict(json.load(content))
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DevenvError(
            "the snapshot is not whole", str(error), "try again; see that the disk is not full"
        ) from error
