"""Answers in words, for a person; programs read the same ones as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from devenv.model import beside
from devenv.model import receipt as receipts
from devenv.model.events import Answer
from devenv.model.words import age, name, quoted, short

Data = Mapping[str, Any]
Words = Callable[[Data], list[str]]


def in_words(answer: Answer) -> list[str]:
    """The answer, a text for each line."""
    show = _KINDS.get(answer.about)
    return show(answer.data) if show else json.dumps(answer.data, indent=2, default=str).split("\n")


def _status(data: Data) -> list[str]:
    word = "serves" if data["serves"] else "does not serve"
    lines = [f"{quoted(data['stack'])} {word}  {data['url']}  release {name(data['release'] or '-')}"]
    for one in data["instances"]:
        gate = one["gate"] or {}
        role = f"{name(gate['role'])}, epoch {gate['epoch']}, {name(gate['state'])}" if gate else ""
        health = f" ({one['health']})" if one["health"] else ""
        old = age(time.time() - one["created"])
        line = f"  {name(one['name']):24} {name(one['release']):8} {one['state']}{health:10} {old:>6}  {role}"
        lines.append(line.rstrip())
        if gate.get("failed"):
            lines.append(f"    failed: {gate['failed']['error']}: {gate['failed']['why']}")
    for one in data["images"]:
        lines.append(f"  image {one['service']}:{one['release']}  {short(one['running'])}  {one['words']}")
        if one["next"]:
            lines.append(f"    next: {one['next']}")
    if data["at_work"]:
        lines.append(f"▸ at work: {data['at_work']}")
    if data["problem"]:
        lines.append(f"! {data['problem']}")
    if data["next"]:
        lines.append(f"  next: {data['next']}")
    return lines


def _verify(data: Data) -> list[str]:
    tables = [(name(one), table) for one, table in data["tables"].items()]
    width = max((len(named) for named, _ in tables), default=5)
    lines = [f"  {'table':{width}}  {'then':>8}  {'now':>8}"]
    for named, table in tables:
        then = "-" if table["then"] is None else table["then"]
        lines.append(f"  {named:{width}}  {then:>8}  {table['now']:>8}")
    lines.append(f"{'✓ verified' if data['verified'] else '✗ NOT verified'}: {data['reason']}")
    return lines


def _push(data: Data) -> list[str]:
    lines = []
    for one in data["images"].values():
        lines.append(quoted(f"{one['reference']}@{one['digest']}"))
        lines += [f"  {name(platform):12} {digest}" for platform, digest in one["platforms"].items()]
    return lines


def _snapshots(data: Data) -> list[str]:
    if not data["snapshots"]:
        return ["no snapshots yet; to take one: devenv snapshot save"]
    return [
        f"{quoted(one['name']):56} {one['bytes']:>12,} bytes  {age(time.time() - one['time'])} old"
        for one in data["snapshots"]
    ]


def _snapshot(data: Data) -> list[str]:
    words = beside.in_words(beside.of_snapshot(data))
    return [quoted(str(data["path"])), *([f"  {words}"] if words else [])]


def _receipts(data: Data) -> list[str]:
    if not data["receipts"]:
        return ["no receipts yet; an upgrade leaves one"]
    return [
        f"{'✓' if one['verified'] else '✗'} {one['name']:40} {name(one['from'])} → {name(one['to'])}"
        f"  {age(time.time() - one['time'])} old"
        for one in data["receipts"]
    ]


def _receipt(data: Data) -> list[str]:
    found = receipts.from_json({key: value for key, value in data.items() if key != "path"})
    return [*receipts.words(found), f"  {quoted(data['path'])}"]


def _open(data: Data) -> list[str]:
    return [f"{quoted(data['url'])}{'' if data['browser'] else '  (there is no browser on this machine)'}"]


def _recover(data: Data) -> list[str]:
    url = quoted(data["url"])
    site = f"{url} answers" if data["serves"] else f"{url} does not answer"
    return [
        f"recovered: {name(data['instance'])} is {data.get('role')} now, epoch {data.get('epoch')}; {site}"
    ]


def _doctor(data: Data) -> list[str]:
    glyphs = {"ok": "✓", "warn": "!", "fail": "✗"}
    lines = []
    for check in data["checks"]:
        lines.append(f"{glyphs[check['status']]} {check['name']:24} {check['reason']}")
        if check["status"] != "ok" and check["mend"]:
            lines.append(f"    mend: {check['mend']}")
    return lines


def _mends(data: Data) -> list[str]:
    lines = []
    for step in data["steps"]:
        lines.append(f"▸ {step['title']}")
        lines += [f"    {line}" for line in step["does"]]
    return lines


def _undo(data: Data) -> list[str]:
    if not data["steps"]:
        return ["nothing to undo: devenv has changed nothing of this machine that is recorded"]
    return ["this machine is put back: " + ", ".join(step["title"] for step in data["steps"])]


_KINDS: dict[str, Words] = {
    "status": _status,
    "verify": _verify,
    "snapshots": _snapshots,
    "receipts": _receipts,
    "receipt": _receipt,
    "open": _open,
    "recover": _recover,
    "doctor": _doctor,
    "mends": _mends,
    "undo": _undo,
    "push": _push,
    "snapshot": _snapshot,
    "restore": lambda data: [f"content of {data['path']} in {data['instance']}"],
    "path": lambda data: [f"{quoted(key):8} {value}" for key, value in data.items()],
}
