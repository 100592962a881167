"""Answers in words, for a person; programs read the same ones as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from devenv.model import receipt as receipts
from devenv.model.events import Answer
from devenv.model.words import age, short

Data = Mapping[str, Any]
Words = Callable[[Data], str]


def in_words(answer: Answer) -> str:
    """The text of an answer, without a last newline."""
    show = _KINDS.get(answer.about)
    return show(answer.data) if show else json.dumps(answer.data, indent=2, default=str)


def _status(data: Data) -> str:
    word = "serves" if data["serves"] else "does not serve"
    lines = [f"{data['stack']} {word}  {data['url']}  release {data['release'] or '-'}"]
    for one in data["instances"]:
        gate = one["gate"] or {}
        role = f"{gate['role']}, epoch {gate['epoch']}, {gate['state']}" if gate else ""
        health = f" ({one['health']})" if one["health"] else ""
        old = age(time.time() - one["created"])
        line = f"  {one['name']:24} {one['release']:8} {one['state']}{health:10} {old:>6}  {role}"
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
    return "\n".join(lines)


def _verify(data: Data) -> str:
    width = max((len(name) for name in data["tables"]), default=5)
    lines = [f"  {'table':{width}}  {'then':>8}  {'now':>8}"]
    for name, table in data["tables"].items():
        then = "-" if table["then"] is None else table["then"]
        lines.append(f"  {name:{width}}  {then:>8}  {table['now']:>8}")
    lines.append(f"{'✓ verified' if data['verified'] else '✗ NOT verified'}: {data['reason']}")
    return "\n".join(lines)


def _push(data: Data) -> str:
    lines = []
    for one in data["images"].values():
        lines.append(f"{one['reference']}@{one['digest']}")
        lines += [f"  {platform:12} {digest}" for platform, digest in one["platforms"].items()]
    return "\n".join(lines)


def _snapshots(data: Data) -> str:
    if not data["snapshots"]:
        return "no snapshots yet; to take one: devenv snapshot save"
    return "\n".join(
        f"{one['name']:56} {one['bytes']:>12,} bytes  {age(time.time() - one['time'])} old"
        for one in data["snapshots"]
    )


def _receipts(data: Data) -> str:
    if not data["receipts"]:
        return "no receipts yet; an upgrade leaves one"
    return "\n".join(
        f"{'✓' if one['verified'] else '✗'} {one['name']:40} {one['from']} → {one['to']}"
        f"  {age(time.time() - one['time'])} old"
        for one in data["receipts"]
    )


def _receipt(data: Data) -> str:
    found = receipts.from_json({name: value for name, value in data.items() if name != "path"})
    return "\n".join([*receipts.words(found), f"  {data['path']}"])


def _open(data: Data) -> str:
    return f"{data['url']}{'' if data['browser'] else '  (there is no browser on this machine)'}"


def _doctor(data: Data) -> str:
    glyphs = {"ok": "✓", "warn": "!", "fail": "✗"}
    lines = []
    for check in data["checks"]:
        lines.append(f"{glyphs[check['status']]} {check['name']:24} {check['reason']}")
        if check["status"] != "ok" and check["mend"]:
            lines.append(f"    mend: {check['mend']}")
    return "\n".join(lines)


def _mends(data: Data) -> str:
    return "\n".join(
        f"▸ {step['title']}\n" + "\n".join(f"    {line}" for line in step["does"]) for step in data["steps"]
    )


def _undo(data: Data) -> str:
    if not data["steps"]:
        return "nothing to undo: devenv has changed nothing of this machine that is recorded"
    return "this machine is put back: " + ", ".join(step["title"] for step in data["steps"])


_KINDS: dict[str, Words] = {
    "status": _status,
    "verify": _verify,
    "snapshots": _snapshots,
    "receipts": _receipts,
    "receipt": _receipt,
    "open": _open,
    "recover": lambda data: f"recovered: it is {data.get('role')} now, epoch {data.get('epoch')}",
    "doctor": _doctor,
    "mends": _mends,
    "undo": _undo,
    "push": _push,
    "snapshot": lambda data: str(data["path"]),
    "restore": lambda data: f"content of {data['path']} in {data['instance']}",
    "path": lambda data: "\n".join(f"{name:8} {value}" for name, value in data.items()),
}
