"""What gates say, whichever way it came: status, journal, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from devenv.errors import CommandFailed, DevenvError
from devenv.model.instance import Gate, is_count, is_failure, is_word
from devenv.tools import docker

_END_OF_TIME = 1e11
"""Seconds that are still a date."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}\.tar")
_SNAPSHOT = ("content", "snapshot")
_SERVED = ("opened", "reopened", "recovered", "terminating")
"""After one of these a snapshot from before is no longer the last word: there may be newer writes."""


def status(name: str, log: str, text: str) -> Gate:
    """`log` is the command that shows the instance's log."""
    with docker.readable(name, _another(log)):
        return Gate.from_json(json.loads(text))


def answer(name: str, log: str, text: str) -> Mapping[str, Any]:
    with docker.readable(name, _another(log)):
        return dict(json.loads(text)) if text.strip() else {}


def fingerprint(name: str, log: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was said, if it is a fingerprint: `total`, and `rows` and `hash` of each of `tables`."""
    with docker.readable(name, _another(log)):
        if not _is_fingerprint(said):
            raise ValueError("no fingerprint")
    return said


def _is_fingerprint(said: object) -> bool:
    if not isinstance(said, Mapping) or not isinstance(tables := said.get("tables"), Mapping):
        return False
    return is_word(said.get("total")) and all(
        isinstance(table, Mapping) and is_count(table.get("rows")) and is_word(table.get("hash"))
        for table in tables.values()
    )


def _another(log: str) -> str:
    return f"see its log: {log}; or is it of another devenv than this one?"


def failure(name: str, log: str, error: CommandFailed) -> DevenvError:
    """What failed in the gate's own words, and not the exit code of what asked it. `log` as for `status`."""
    for text in reversed(error.log_tail.splitlines()):
        with suppress(ValueError, RecursionError):
            if is_failure(said := json.loads(text)):
                return failed(name, said, f"see its log: {log}")
    return error


def failed(name: str, said: Mapping[str, str], next_step: str, log_tail: str = "") -> DevenvError:
    """What a gate failed of, as an error. Its advice stays what the instance says; ours is `next_step`, or
    what is known of a failure that needs a person."""
    recover = f"devenv recover --from {name}"
    known = {
        "the instance that has the content is not there": (
            f"start the instance that is named there again; if it is gone for good: {recover}"
        ),
        "the last content cannot be restored": (
            f"put back what is missing; to begin with the newest snapshot that can be used: {recover}"
        ),
        "the database cannot be read": (
            "save it as it is (devenv snapshot save), then restore an earlier one: devenv snapshot list"
        ),
    }
    ours = known.get(said["error"], next_step)
    return DevenvError(f"{name}: {said['error']}", said["why"], ours, log_tail, instance_says=said["next"])


async def recover(
    ask: Callable[..., Coroutine[Any, Any, Mapping[str, Any]]], *, force: bool
) -> Mapping[str, Any]:
    """`ask` runs `gate` with the words that it is given, in the instance."""
    if force:
        try:
            return await ask("recover", "--force")
        except CommandFailed as error:
            # A gate that does not know the option looks at nobody before it does it.
            if "unrecognized arguments: --force" not in error.log_tail:
                raise
    return await ask("recover")


def event(text: str) -> Mapping[str, Any] | None:
    """One line of a journal; None for what a crash cut off, or another release writes otherwise."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and _is_event(said) else None


def _is_event(said: Mapping[str, Any]) -> bool:
    """Whether all that is counted on is there: who reads it further on does not ask again."""
    time = said.get("time")
    return (
        all(is_word(said.get(name)) for name in ("uid", "side", "phase"))
        and all(is_count(said.get(name, 0)) for name in ("held", "relayed"))
        and (said["phase"] != "fingerprint" or _is_fingerprint(said.get("fingerprint")))
        # JSON as Python reads it knows NaN and infinity too.
        and isinstance(time, int | float)
        and not isinstance(time, bool)
        and 0 <= time < _END_OF_TIME
    )


def saved_at_the_end(journal: Sequence[Mapping[str, Any]], uid: str, signature: bytes | None) -> str:
    """The file that the instance `uid` saved when it ended the last time; empty if it saved none then.

    `signature` is what lies beside the snapshots: its owner names there what it has saved, and takes that
    back before it serves again. No time is compared: clocks go back. ValueError for what is no signature.
    """
    signed = json.loads(signature or b"{}")
    if not isinstance(signed, dict):
        raise ValueError("it is no signature")
    file = signed.get("saved")
    if signed.get("uid") != uid or not isinstance(file, str):
        return ""
    saved = file
    for event in journal:
        if (event["side"], event["phase"]) == _SNAPSHOT:
            saved = file if event.get("file") == file else ""
        elif event["phase"] in _SERVED:
            saved = ""
    return saved


def is_snapshot(file: str) -> bool:
    """Whether a gate calls a snapshot like this. The journal that says so is the application's to write."""
    return _FILE.fullmatch(file) is not None
