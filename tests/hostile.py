"""What a hostile container, registry or file could say, in every place of every event that can hold words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from devenv.model import events as e
from devenv.model.receipt import Receipt

FORGED = "✓FORGED"
"""No line may begin with it. Without a space, so that a screen does not break a line before it."""

STEERS = "\x1b]52;c;ZXZpbA==\x07\x1b]8;;http://evil.example\x1b\\\x1b[2J\x9b31m\x9d0;title\x9c\x00\x08\x7f"
HIDES = "\u202e\u2066\u200b\ud800\ufeff\U000e0041\x85\u2028\u2029"

WORDS = [
    f"{FORGED}{STEERS}{HIDES}",
    f"{STEERS}\n{FORGED}\r\n{FORGED}\r{FORGED}\x0b{FORGED}{HIDES}",
    f"\n{FORGED}\nnext:FORGED\n",
    f"{'x' * 40_000}\n{FORGED}",
]

_DETAILS = {"epoch": 3, "held": 2, "sha256": "1" * 64}

Case = tuple[str, e.Event]


def events(evil: str) -> Iterator[Case]:
    """Each event there is, by its name, with `evil` for every string that is not one of a few of ours."""
    for kind in get_args(e.Event):
        if kind is e.Answer:
            yield from ((f"answer {about}", e.Answer(about, data)) for about, data in answers(evil).items())
        elif kind is e.ReceiptWritten:
            yield "receipt", e.ReceiptWritten(evil, receipt(evil))
        elif kind is e.ProbeCounted:
            yield "probe", e.ProbeCounted(probe(evil))
        else:
            yield e.event_name(kind), made(kind, evil)


def made(kind: Any, evil: str, **given: Any) -> Any:
    """A dataclass with hostile words. `given` holds values for these names, at any depth."""
    hints = get_type_hints(kind)
    return kind(
        **{one.name: given.get(one.name, _value(hints[one.name], evil, given)) for one in fields(kind)}
    )


def _value(hint: Any, evil: str, given: Mapping[str, Any]) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return parts[-1]
    if origin in (Union, UnionType):
        return _value(parts[0], evil, given)
    if origin is tuple:
        return tuple(_value(parts[0], evil, given) for _ in range(2))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        # What a gate has failed of always has these three.
        problem = {"error": evil, "why": evil, "next": evil}
        return {**_DETAILS, **problem, evil: evil, "list": [evil], "deep": {evil: {evil: evil}}}
    if is_dataclass(hint):
        return made(hint, evil, **given)
    return {str: evil, int: 1, float: 1.0, bool: True}[hint]


def receipt(evil: str) -> dict[str, Any]:
    of: Receipt = made(Receipt, evil, probe=probe(evil), verified=False, phases=((evil, evil, 1.0),) * 2)
    return of.as_json() | {"reason": f"the fingerprints differ in {evil}"}


def probe(evil: str) -> dict[str, Any]:
    counts = {"writers": 1, "acknowledged": 1, "failed": 0, "lost": 0, "duplicated": 0, "pause": 0.1}
    return {**counts, "uncounted": evil, evil: evil}


def answers(evil: str) -> dict[str, dict[str, Any]]:
    """By their kinds."""
    gate = {"role": evil, "epoch": 1, "state": evil, "failed": {"error": evil, "why": evil, "next": evil}}
    instance = {"name": evil, "release": evil, "state": evil, "health": evil, "created": 0.0, "gate": gate}
    image = {"service": evil, "release": evil, "running": evil, "words": evil, "next": evil}
    pushed = {"reference": evil, "digest": evil, "platforms": {evil: evil}}
    step = {"name": evil, "title": evil, "does": [f"write {evil}:", f"  | {evil}"]}
    return {
        "status": {
            "stack": evil, "serves": False, "url": evil, "release": evil, "at_work": evil, "problem": evil,
            "next": evil, "instances": [instance] * 2, "images": [image] * 2,
        },
        "verify": {
            "tables": {evil: {"then": None, "now": 1}, "post": {"then": 1, "now": 1}},
            "verified": False, "reason": evil,
        },
        "snapshots": {"snapshots": [{"name": evil, "bytes": 1, "time": 0.0}]},
        "receipts": {
            "receipts": [{"name": evil, "from": evil, "to": evil, "time": 0.0, "verified": False}]
        },
        "receipt": {**receipt(evil), "path": evil},
        "open": {"url": evil, "browser": True},
        "recover": {"role": evil, "epoch": evil, "instance": evil, "url": evil, "serves": False},
        "doctor": {
            "checks": [{"name": evil, "status": "fail", "reason": evil, "mend": evil}], "mends": [step]
        },
        "mends": {"steps": [step]},
        "undo": {"steps": [step]},
        "push": {"release": evil, "images": {evil: pushed}},
        "snapshot": {"path": evil, "bytes": 1},
        "restore": {"path": evil, "instance": evil},
        "path": {evil: evil},
        "something new": {evil: [evil]},
    }  # fmt: skip


def unsafe(text: str) -> set[str]:
    """Characters that steer a terminal, or that it hides."""
    return {one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def forged(line: str) -> bool:
    """Whether a line begins as one of ours would, with words that are not ours."""
    return re.match(rf"\s*({FORGED}|next:FORGED)", line) is not None
