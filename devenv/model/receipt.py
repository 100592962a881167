"""The evidence of one upgrade, as data and in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter

from devenv.model.beside import Beside, in_words
from devenv.model.words import name, short

FORMAT = 1
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two instances."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    release: str
    instance: str
    id: str
    digest: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one table; None where it does not exist."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    before: int | None
    after: int | None
    same: bool
    """Content, not only rows."""


@dataclass(frozen=True, slots=True)
class Receipt:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    time: float
    old: Side
    new: Side
    lineage: str
    verified: bool
    reason: str
    """Why it is verified, or is not."""
    tables: tuple[Table, ...]
    total_before: str
    total_after: str
    closed_ms: float | None
    """From the old instance's close to the new one's opening."""
    held: int
    relayed: int
    phases: tuple[tuple[str, str, float], ...]
    """Side, phase and milliseconds since the first one."""
    seconds: float
    snapshot: str = ""
    beside: Beside | None = None
    """What came along beside the database; None where the gate did not tell."""
    probe: Mapping[str, Any] | None = None
    resumed: bool = False
    """Finished by a later run than the one that began it."""
    format: int = field(default=FORMAT)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def with_probe(self, report: Mapping[str, Any]) -> Receipt:
        """The probe's count can take the verdict back: what it wrote is content as well."""
        if why := report["uncounted"]:
            wrong = f"the probe could not count its writes: {why}"
            return replace(self, probe=report, verified=False, reason=wrong)
        if not report["acknowledged"]:
            wrong = "not one write of the probe was acknowledged"
            return replace(self, probe=report, verified=False, reason=wrong)
        if report["lost"] or report["duplicated"]:
            wrong = (
                f"the probe misses {report['lost']} acknowledged writes, finds {report['duplicated']} twice"
            )
            return replace(self, probe=report, verified=False, reason=wrong)
        return replace(self, probe=report)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Table, ...]:
    """Table by table, from two fingerprints."""
    old, new = before["tables"], after["tables"]
    return tuple(
        Table(
            name,
            old[name]["rows"] if name in old else None,
            new[name]["rows"] if name in new else None,
            old.get(name) == new.get(name),
        )
        for name in sorted({*old, *new})
    )


def pause(events: Iterable[Mapping[str, Any]]) -> float | None:
    """Milliseconds from the last close to the opening after it, from both journals."""
    closed = opened = None
    for event in sorted(events, key=lambda event: float(event["time"])):
        if event["side"] == "owner" and event["phase"] == "closing":
            closed, opened = float(event["time"]), None
        elif event["phase"] == "opened" and closed is not None and opened is None:
            opened = float(event["time"])
    return None if closed is None or opened is None else round((opened - closed) * 1000, 1)


def from_json(raw: Mapping[str, Any]) -> Receipt:
    """Read a receipt back. Raises ValueError for what is none, or contradicts itself."""
    # Half a character, which names of others can hold, is none in JSON.
    text = json.dumps(raw, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
    read = _reader().validate_json(text)
    same = read.total_before == read.total_after and all(table.same for table in read.tables)
    if read.verified and not same:
        raise ValueError("its verdict is that nothing has changed, and what it tells of has")
    return read


@cache
def _reader() -> TypeAdapter[Receipt]:
    return TypeAdapter(Receipt)


def words(receipt: Receipt) -> list[str]:
    """For a person, a text for each line, the verdict last."""
    old, new = receipt.old, receipt.new
    tables = [(name(table.name), table) for table in receipt.tables]
    width = max((len(named) for named, _ in tables), default=5)
    way = f"{name(old.release)} → {name(new.release)}"
    lines = [
        f"{way}   epoch {old.epoch} → {new.epoch}, lineage {receipt.lineage}",
        f"  {name(old.instance)}  {short(old.digest)}",
        f"  {name(new.instance)}  {short(new.digest)}",
        f"  {'table':{width}}  {'before':>8}  {'after':>8}",
    ]
    for named, table in tables:
        mark = "=" if table.same else "≠"
        lines.append(f"  {named:{width}}  {_rows(table.before)}  {_rows(table.after)}  {mark}")
    if beside := in_words(receipt.beside):
        lines.append(f"  {beside}")
    if receipt.closed_ms is not None:
        lines.append(
            f"  closed for {receipt.closed_ms:.0f} ms; held {receipt.held}, relayed {receipt.relayed}"
        )
    if receipt.probe:
        lines += _probe_words(receipt.probe)
    if receipt.snapshot:
        lines.append(f"  snapshot from before: {receipt.snapshot}")
    verdict = "✓ content verified" if receipt.verified else "✗ content NOT verified"
    lines.append(f"{verdict}: {receipt.reason}")
    return lines


def _probe_words(report: Mapping[str, Any]) -> Sequence[str]:
    names = ("acknowledged", "failed", "lost", "duplicated")
    counts = ", ".join(f"{name} {report[name]}" for name in names if name in report)
    if report.get("uncounted"):
        # Then the numbers say nothing on what is lost.
        counts = f"acknowledged {report.get('acknowledged')}, failed {report.get('failed')}, not counted"
    slow = f"; pause {report['pause'] * 1000:.0f} ms" if report.get("pause") is not None else ""
    return [f"  probe: {report.get('writers', '?')} writers, {counts}{slow}"]


def _rows(count: int | None) -> str:
    return f"{'-' if count is None else count:>8}"
