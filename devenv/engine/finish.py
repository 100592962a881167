"""The end of every hand-over, also of one that an earlier run began: compare, stop the old, keep proof."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devenv.backends.protocol import PHP_FPM
from devenv.engine.context import Context
from devenv.errors import DevenvError, NotVerified
from devenv.model.beside import Beside, beside
from devenv.model.events import ReceiptWritten
from devenv.model.fingerprint import checked, difference
from devenv.model.instance import Gate, Instance
from devenv.model.receipt import Receipt, Side, compare, pause

_FINGERPRINT = 300.0
"""The new instance computes it after it has opened; 1 GB takes some seconds."""

_READY = 20.0
"""Seconds in which an instance that owns the content is found under its name, and so is ready."""
_COMPUTED = "the fingerprint of the old instance's frozen file is that of the new one's"
_COPIED = "the new instance had compared the whole file's SHA-256 with the old one's before it took over"

GateEvent = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """What both sides said at the end of a hand-over."""

    old: Instance
    new: Instance
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    journal: tuple[GateEvent, ...]
    relayed: int
    held: int
    computed: bool = True
    """False: the new one was restarted before it computed; it had compared the whole file's SHA-256."""

    @property
    def verified(self) -> bool:
        return not self.reason_against

    @property
    def reason_against(self) -> str:
        """What speaks against the content, or nothing."""
        old, new = _gate(self.old), _gate(self.new)
        if differs := difference(self.before, self.after):
            return differs
        if not new.lineage or new.lineage != old.lineage:
            return "the new instance serves a database of another origin"
        if new.role != "owner" or new.epoch <= old.epoch:
            return f"the new instance does not own the content (role {new.role}, epoch {new.epoch})"
        if not new.ready:
            return "the new instance owns the content and is not ready"
        return ""


async def compared(ctx: Context, old: Instance, new: Instance) -> Compared:
    """Ask both sides, while both still run."""
    new_gate = await _ready(ctx, new)
    (before, journal), (computed, new_journal) = await asyncio.gather(
        _of_old(ctx, old), _of_new(ctx, new, new_gate.epoch)
    )
    after = computed or (before if _copy_verified(new_journal) else None)
    if after is None:
        raise DevenvError(
            f"{new.name} gave no fingerprint",
            "its journal tells neither of one, nor of a verified copy",
            f"the old instance is kept; compare by hand: {ctx.backend.by_hand('fingerprint', new)}",
        )
    asked = await ctx.backend.gate(old)
    if asked and asked.role != "moved":
        # What was compared is not one state of the content then, and says nothing for or against it.
        raise DevenvError(
            f"{new.name} has given the content back to {old.name}",
            "it was stopped or restarted before the hand-over was at its end",
            "leave it alone, and try again",
        )
    old_gate = asked or _gate(old)
    return Compared(
        replace(old, gate=old_gate),
        replace(new, gate=new_gate),
        before,
        after,
        (*journal, *new_journal),
        relayed=old_gate.relayed,
        held=max(old_gate.held, new_gate.held),
        computed=computed is not None,
    )


async def _ready(ctx: Context, new: Instance) -> Gate:
    """What its gate says once it is ready, or can be waited for no longer."""
    deadline = time.monotonic() + _READY
    while True:
        gate = await ctx.backend.gate(new)
        if gate is None:
            raise DevenvError(
                f"{new.name} does not answer",
                "its gate gives no status",
                "run devenv up: it goes on from here",
            )
        if gate.ready or gate.role != "owner" or time.monotonic() > deadline:
            return gate
        await asyncio.sleep(0.2)


async def _of_old(ctx: Context, old: Instance) -> tuple[Mapping[str, Any], list[GateEvent]]:
    """Its frozen file's fingerprint. One that was stopped by hand is started for that: it relays again."""
    journal = [event async for event in ctx.backend.gate_events(old, follow=False)]
    now = await ctx.backend.instances(ask_gates=False)
    if any(one.id == old.id and not one.running for one in now):
        await ctx.backend.revive(old)
    return readable(old, await ctx.backend.fingerprint(old)), journal


def readable(instance: Instance, fingerprint: object) -> Mapping[str, Any]:
    """What an instance says that its content is; a DevenvError where that is no whole fingerprint."""
    try:
        return checked(fingerprint)
    except ValueError as error:
        raise DevenvError(
            f"{instance.name} gave a fingerprint that cannot be read",
            str(error),
            "nothing is compared with it, and nothing is removed; is it of another devenv than this one?",
        ) from error


async def _of_new(
    ctx: Context, new: Instance, epoch: int
) -> tuple[Mapping[str, Any] | None, list[GateEvent]]:
    """The fingerprint of what it opened with in this epoch; None if it was restarted before it had it.

    Its journal can tell of earlier epochs: an instance takes its content back from a successor that ends.
    """
    journal: list[GateEvent] = []
    present = False
    try:
        async with (
            asyncio.timeout(_FINGERPRINT),
            aclosing(ctx.backend.gate_events(new, follow=True)) as events,
        ):
            async for event in events:
                journal.append(event)
                if event["phase"] == "opened":
                    present = event.get("epoch") == epoch
                    if present and event.get("resumed"):
                        return None, journal
                if event["phase"] == "fingerprint" and present:
                    return readable(new, event.get("fingerprint")), journal
                if event["phase"] in ("unproved", "terminating") and present:
                    # It could not ask the old one: restarted just then, or its file cannot be read; or it
                    # did not come to it before its own end.
                    return None, journal
    except TimeoutError:
        pass
    return None, journal


def _copy_verified(journal: Sequence[GateEvent]) -> bool:
    """Whether the last course compared the whole file's SHA-256 with the owner's before it took over."""
    verified = False
    for event in journal:
        if event["phase"] in ("discover", "verified"):
            verified = event["phase"] == "verified"
    return verified


async def retire(ctx: Context, old: Instance, release: str) -> list[GateEvent]:
    """Stop the old instance, keep its journal, remove it; from now on the settings name the new release."""
    await ctx.backend.stop_one(old)
    stopped = replace(old, state="exited")
    journal = [event async for event in ctx.backend.gate_events(stopped, follow=False)]
    await ctx.backend.remove_one(stopped)
    await ctx.backend.prepare({PHP_FPM: release})
    return journal


def with_journal(both: Compared, journal: Sequence[GateEvent]) -> Compared:
    """What the old instance wrote until its end goes into the evidence too."""
    return replace(both, journal=(*both.journal, *journal))


def receipt_of(
    both: Compared, *, began: float, snapshot: Path | None = None, resumed: bool = False
) -> Receipt:
    """The evidence, from what both sides said."""
    old, new = _gate(both.old), _gate(both.new)
    events = sorted(
        {(event["uid"], event["time"], event["phase"]): event for event in both.journal}.values(),
        key=lambda event: float(event["time"]),
    )
    course = _since_discovery(events, new.uid)
    first = float(course[0]["time"]) if course else began
    ending = [event.get("relayed", 0) for event in events if event["phase"] == "ending"]
    against = both.reason_against
    return Receipt(
        time=time.time(),
        old=Side(old.release, both.old.name, both.old.id, both.old.digest, old.epoch),
        new=Side(new.release, both.new.name, both.new.id, both.new.digest, new.epoch),
        lineage=new.lineage or "",
        verified=not against,
        reason=against or (_COMPUTED if both.computed else _COPIED) + _by_bytes(both),
        tables=compare(both.before, both.after),
        total_before=both.before["total"],
        total_after=both.after["total"],
        closed_ms=pause(course),
        held=max([both.held, *(int(event.get("held", 0)) for event in course)]),
        relayed=max([both.relayed, *ending]),
        phases=tuple(
            (str(event["side"]), str(event["phase"]), round((float(event["time"]) - first) * 1000, 1))
            for event in course
        ),
        seconds=round(time.time() - began, 3),
        snapshot=str(snapshot or ""),
        beside=_beside(course, new.uid),
        resumed=resumed,
    )


def _beside(course: Sequence[GateEvent], uid: str) -> Beside | None:
    told = [event for event in course if event["uid"] == uid and event["phase"] == "changes"]
    return beside(told[-1], told[-1].get("left")) if told else None


def _by_bytes(both: Compared) -> str:
    """Of what only the application's code computes, and no fingerprint: whether its bytes were compared."""
    words = both.before.get("own_words")
    if not words or not isinstance(words, list):
        return ""
    named = ", ".join(str(one) for one in words[:3]) + (", …" if len(words) > 3 else "")
    of_new = [event for event in both.journal if event["uid"] == _gate(both.new).uid]
    how = "as bytes, by the file's SHA-256" if _copy_verified(of_new) else "not at all"
    return f"; what only the application can compute ({named}) was compared {how}"


def _since_discovery(events: Sequence[GateEvent], uid: str) -> list[GateEvent]:
    """The old instance's journal reaches back to its own birth: only what is of this hand-over."""
    starts = [event["time"] for event in events if event["uid"] == uid]
    return [event for event in events if starts and event["time"] >= starts[0]]


def keep(ctx: Context, receipt: Receipt) -> None:
    """Write the receipt and say where it is; a NotVerified if it does not verify."""
    path = ctx.store.save_receipt(receipt)
    ctx.emit(ReceiptWritten(str(path), receipt.as_json()))
    if not receipt.verified:
        raise NotVerified(
            "the content is not verified",
            receipt.reason,
            f"both instances are kept; compare with what was before: {_before(receipt)}",
        )


def _before(receipt: Receipt) -> str:
    return f"snapshot {Path(receipt.snapshot).name}" if receipt.snapshot else "devenv snapshot list"


async def finish(ctx: Context, old: Instance, new: Instance) -> None:
    """Finish a hand-over that an earlier run began."""
    began = time.time()
    both = await compared(ctx, old, new)
    if not both.verified:
        # Both instances stay: what the old one holds may be the only good copy.
        keep(ctx, receipt_of(both, began=began, resumed=True))
    journal = await retire(ctx, both.old, both.new.tag)
    both = with_journal(both, journal)
    keep(ctx, receipt_of(both, began=began, resumed=True))


def _gate(instance: Instance) -> Gate:
    if instance.gate is None:
        raise DevenvError(
            f"{instance.name} does not answer",
            "its gate gives no status",
            "run devenv up: it goes on from here",
        )
    return instance.gate
