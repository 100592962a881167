"""Any release to any release, back as well: a new instance beside the old one, then only the new one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devenv.backends.protocol import PHP_FPM
from devenv.engine import building, finish, graph
from devenv.engine.context import Context, despite_cancel
from devenv.engine.graph import Skipped
from devenv.engine.probing import Probing
from devenv.engine.settle import answering, forget, newest_snapshot, owner_of, save_fork, settle
from devenv.errors import DevenvError, UsageError
from devenv.model import plan
from devenv.model.beside import in_words, missed, of_snapshot
from devenv.model.events import Note, Notice, PhaseReached
from devenv.model.instance import Instance
from devenv.model.platform import did_not_come_up
from devenv.model.receipt import Receipt
from devenv.model.stack import RELEASE

_END = ("terminating", "ending")
"""Phases that come when the journal is not followed any more."""


_LAST_PHASES = 3.0
"""Seconds that the journal of an instance that serves may be late."""


_LAST_CHANCE = 30.0
"""Seconds in which an instance that was removed by force can still hand over as it ends."""


@dataclass(slots=True)
class _Course:
    """What the steps of one upgrade learn and pass on."""

    ctx: Context
    release: str
    probing: Probing
    wanted: bool
    """The probe writes from the beginning; else whoever watches may start it at any time."""
    build_missing: bool
    """An image for another architecture is built anew."""
    began: float = field(default_factory=time.time)
    old: Instance | None = None
    new: Instance | None = None
    snapshot: Path | None = None
    both: finish.Compared | None = None
    gone: float = 0.0
    """When the old instance had ended."""
    kept: bool = False
    """The receipt is written."""

    async def engine(self, note: Note) -> str:
        await self.ctx.backend.check()
        self.old = await owner_of(self.ctx)
        return f"{self.old.name} has {self.old.release}"

    async def image(self, note: Note) -> str | Skipped:
        """A release that has been built stays what it is: a rollback brings back what ran."""
        told = await self._built()
        releases = {PHP_FPM: self.release}
        brought = await building.bring(self.ctx, releases, note, build_missing=self.build_missing)
        return f"{', '.join(brought)} brought" if brought else told

    async def _built(self) -> str | Skipped:
        made, there = await asyncio.gather(
            self.ctx.images.made(PHP_FPM, self.release), self.ctx.backend.images(self.release)
        )
        if not made.digest and PHP_FPM not in there:
            await self.ctx.images.ensure_base(self.ctx.emit)
            built = await self.ctx.images.build(PHP_FPM, self.release, self.ctx.emit)
            return "built" if built else Skipped("there already")
        if made.digest and not made.current:
            words = f"{self.ctx.stack.image(PHP_FPM, self.release)} is not what the working tree holds now"
            next_step = f"to build it anew: devenv build --release {self.release}"
            self.ctx.emit(Notice(f"{words}; {next_step}"))
        return Skipped("there already")

    async def save(self, note: Note) -> str:
        old = _there(self.old)
        path = self.ctx.store.new_snapshot(self.ctx.stack.place, "before-upgrade", old.release)
        about = await self.ctx.backend.snapshot(old, path)
        self.snapshot = path
        self.ctx.store.prune()
        if about.get("damage"):
            # SQLite says all of it in one text.
            found = [line for text in about["damage"] for line in text.splitlines() if line[:1] != "*"]
            # A hand-over moves it as it is; but then nothing could prove that all of it has moved.
            raise DevenvError(
                f"the database of {old.name} is damaged",
                "; ".join(found[:2]),
                f"it is saved as it is in {self.snapshot}: repair that copy with sqlite3 .recover, or go back"
                " to an earlier one with devenv snapshot restore",
            )
        if text := missed(about, self.ctx.stack.app.database):
            self.ctx.emit(Notice(text))
        words = in_words(of_snapshot(about))
        return f"{about['bytes']:,} bytes{'; ' if words else ''}{words}"

    async def handover(self, note: Note) -> str:
        if self.wanted and not self.probing.started:
            note("probe logs in")
            await self.probing.start()
            note("")
        self.began = time.time()
        async with _followed(self.ctx, _there(self.old), self.began) as seen:
            try:
                await self.ctx.backend.start_beside(self.release, seen, note)
            finally:
                self.new = seen.instance
        new = _there(self.new)
        await self._must_have_taken_over()
        return f"{new.name} owns the content"

    async def _must_have_taken_over(self) -> None:
        """A hook also succeeds where there was nobody to take over from: then it began by itself."""
        old, new = _there(self.old), _there(self.new)
        before, now = old.gate, await self.ctx.backend.gate(new)
        origin = _origin(await _journal(self.ctx, new))
        completed = origin is not None and origin["phase"] == "completed"
        if completed and (now is None or now.role != "owner"):
            raise _not_kept(new)
        if completed and before and now and now.lineage == before.lineage and now.epoch > before.epoch:
            return
        if origin is None and now is None:
            raise did_not_come_up(
                new.name,
                new.image,
                new.tag,
                "its program has ended, or says nothing",
                f"see: {self.ctx.backend.by_hand('log', new)}",
                await self.ctx.backend.log_tail(new),
            )
        raise DevenvError(
            f"{new.name} did not take the content over",
            f"{old.name} did not answer when it came: it was stopped, or has crashed",
            f"see why with {self.ctx.backend.by_hand('log', old)}, then try again",
            await self.ctx.backend.log_tail(old),
        )

    async def verify(self, note: Note) -> str:
        both = await finish.compared(self.ctx, _there(self.old), _there(self.new))
        if both.new.gate is not None and both.new.gate.role != "owner":
            raise _not_kept(both.new)
        self.both = both
        if not self.both.verified:
            # Both instances stay: what the old one holds may be the only good copy.
            finish.keep(self.ctx, self._receipt())
        rows = sum(table["rows"] for table in self.both.after["tables"].values())
        return f"{rows} rows in {len(self.both.after['tables'])} tables, the same"

    async def retire(self, note: Note) -> str:
        assert self.both is not None  # noqa: S101 - the plan's order
        # Half of it would leave a stopped container and settings of the past.
        journal = await despite_cancel(finish.retire(self.ctx, self.both.old, self.release))
        self.gone = time.time()
        self.both = finish.with_journal(self.both, journal)
        for event in journal:
            if event["phase"] in _END and float(event["time"]) >= self.began:
                self.ctx.emit(_phase(self.both.old, event, self.began))
        return f"{self.both.old.name} is gone"

    async def receipt(self, note: Note) -> str:
        receipt = self._receipt()
        if self.probing.started:
            if self.probing.running:
                note("probe goes on for 10 s after the old instance is gone, then counts")
            assert self.both is not None  # noqa: S101 - the plan's order
            receipt = receipt.with_probe(await self.probing.finish(self.both.journal, self.gone))
        self.kept = True
        finish.keep(self.ctx, receipt)
        if receipt.probe and receipt.probe["failed"]:
            raise DevenvError(
                f"{receipt.probe['failed']} requests of the probe failed",
                "; ".join(receipt.probe["failures"][:3]),
                "the content is verified; see devenv logs for the requests",
            )
        return receipt.reason

    def receipt_in_spite_of(self, error: BaseException) -> None:
        """Interrupted when the old instance was gone: the upgrade is done, so its receipt is kept."""
        if self.kept or not isinstance(error, asyncio.CancelledError):
            raise error
        self.ctx.emit(Notice("interrupted when the content had moved: the upgrade is finished"))
        finish.keep(self.ctx, self._receipt())

    def _receipt(self) -> Receipt:
        assert self.both is not None  # noqa: S101 - the plan's order
        return finish.receipt_of(self.both, began=self.began, snapshot=self.snapshot)


async def upgrade(
    ctx: Context,
    to: str | None = None,
    *,
    writers: int = 0,
    probing: Probing | None = None,
    build_missing: bool = False,
) -> None:
    """Bring the stack to a release. Cut off before the hand-over's completion it is undone, else finished.

    Without one it is the next by number. `probing` is one that the caller can start meanwhile.
    """
    release = to or next_release((await owner_of(ctx)).release)
    if not RELEASE.fullmatch(release):
        # It becomes part of names, of files too; and the one that runs is named by its instance.
        raise UsageError(
            f"{release[:200]!r} is no release",
            "it is the tag of an image: letters, digits, and after the first also . and -",
            "name another: devenv upgrade --to RELEASE",
        )
    probing = probing or Probing(ctx, writers)
    course = _Course(ctx, release, probing, wanted=writers > 0, build_missing=build_missing)
    work = {
        "engine": course.engine, "image": course.image, "snapshot": course.save, "handover": course.handover,
        "verify": course.verify, "retire": course.retire, "receipt": course.receipt,
    }  # fmt: skip
    try:
        await graph.run(plan.upgrade(release), work, ctx.emit)
    except (Exception, asyncio.CancelledError) as error:
        # Also for a mistake of ours: nothing is left half done because of it.
        if course.old is None or (course.both and not course.both.verified):
            raise
        if course.gone:
            course.receipt_in_spite_of(error)
            return
        await despite_cancel(_undo_or_finish(ctx, course, error))
    finally:
        await despite_cancel(probing.abandon())


def next_release(current: str) -> str:
    """v2 after v1. A UsageError where the name does not end in a number."""
    found = re.fullmatch(r"(.*?)(\d+)", current)
    if found is None:
        raise UsageError(
            f"which release comes after {current} is not known",
            "its name does not end in a number",
            "name one: devenv upgrade --to RELEASE",
        )
    return f"{found[1]}{int(found[2]) + 1}"


async def rollback(ctx: Context, *, writers: int = 0, probing: Probing | None = None) -> None:
    """Back to the release that ran before."""
    owner = await owner_of(ctx)
    previous = ctx.store.previous_release(owner.release)
    if previous is None:
        raise UsageError(
            f"there is no release before {owner.release}",
            "no receipt tells of an upgrade to it",
            "name one: devenv upgrade --to RELEASE",
        )
    await upgrade(ctx, previous, writers=writers, probing=probing)


async def _undo_or_finish(ctx: Context, course: _Course, error: BaseException) -> None:
    """Settle what is left. If the content had moved on already, the upgrade is done in spite of it all."""
    old = _there(course.old)
    if isinstance(error, asyncio.CancelledError):
        ctx.emit(
            Notice("interrupted: undoing the upgrade, or finishing it if the content has moved", "warning")
        )
    gone = not any(one.id == old.id for one in await ctx.backend.instances(ask_gates=False))
    if gone:
        await _part_from(ctx, course)
    else:
        await _part(ctx, course)
    try:
        owner = await settle(ctx)
    except DevenvError as unsettled:
        if not gone:
            raise
        raise DevenvError(
            f"{old.name} was removed in the middle of the upgrade; {unsettled.what}",
            unsettled.why,
            f"{unsettled.next_step}; {_saved(ctx, course)}",
        ) from error
    if (owner is None and gone) or (owner is not None and not _same_database(old, owner)):
        # Also where the new one has taken over: then from one that had come in the old one's place.
        forget(ctx)
        raise DevenvError(
            f"{old.name} was removed in the middle of the upgrade, and its content with it",
            "an instance that is removed by force, and cannot end in order, hands nothing over",
            f"{'' if owner else 'start the stack: devenv up; then '}{_saved(ctx, course)}",
        ) from error
    if owner is not None and course.new is not None and owner.id == course.new.id:
        words = f"the content had moved to {owner.name} already: the upgrade is finished"
        if gone:
            words += f"; {old.name} was removed, so nothing was compared, and there is no receipt"
        ctx.emit(Notice(words, "warning" if gone else "info"))
        return
    if isinstance(error, DevenvError) and owner is not None:
        raise DevenvError(
            f"{error.what}; {owner.name} ({owner.release}) serves on with all content",
            error.why,
            error.next_step,
            error.log_tail,
            error.exit_code,
            instance_says=error.instance_says,
        ) from error
    raise error


async def _part(ctx: Context, course: _Course) -> None:
    """Of the two, the old one has what nobody else has, unless the new one goes on from it."""
    old = _there(course.old)
    forked = course.new is not None and not await _continues(ctx, old, course.new)
    if course.new is not None and forked:
        await save_fork(ctx, course.new, f"began without the content of {old.name}")
    if any(one.id == old.id and not one.running for one in await ctx.backend.instances(ask_gates=False)):
        # It was killed, not stopped by us: what it holds is the latest content.
        await ctx.backend.revive(old)
    if forked and (await answering(ctx, old)).failed:
        # It has seen that another one served, and keeps out of the way. That one is gone, by our own hand,
        # and its name may still be listed for a moment.
        await ctx.backend.recover(old, force=True)


_WITHOUT_CONTENT = ("the owner of the database is gone", "the instance that has the content is not there")
"""What an instance tells that it has failed of, when it certainly has nothing."""


async def _part_from(ctx: Context, course: _Course) -> None:
    """The old one was removed by force. It may still hand over as it ends; then the new one waits in vain."""
    new, deadline = course.new, time.monotonic() + _LAST_CHANCE
    while new is not None:
        gate = None
        with suppress(DevenvError):
            gate = await answering(ctx, new)
        if gate is not None and (gate.staged or gate.role not in ("fresh", "incoming")):
            return  # it has all of the content, and a person has to say that it may serve it; or it does
        failed = gate.failed if gate else await _ended_of(ctx, new)
        if gate is None and (failed is None or failed["error"] not in _WITHOUT_CONTENT):
            return
        if failed or time.monotonic() > deadline:
            # The one that the engine makes in the old one's place can begin without it.
            await ctx.backend.stop_one(new)
            await ctx.backend.remove_one(new)
            return
        await asyncio.sleep(0.5)


async def _ended_of(ctx: Context, instance: Instance) -> Mapping[str, Any] | None:
    """What one that does not answer has failed of, where its engine starts it again and again."""
    there = await ctx.backend.instances(ask_gates=False)
    return next((one.failed for one in there if one.id == instance.id), None)


def _same_database(old: Instance, owner: Instance) -> bool:
    """As far as is known. One that stayed is what it was, also with another lineage: it was recovered."""
    if owner.id == old.id or old.gate is None or owner.gate is None:
        return True
    return owner.gate.lineage == old.gate.lineage


def _saved(ctx: Context, course: _Course) -> str:
    if course.snapshot is None:
        return newest_snapshot(ctx)
    return f"the content as of the upgrade's beginning: devenv snapshot restore {course.snapshot.name}"


async def _continues(ctx: Context, old: Instance, new: Instance) -> bool:
    """Whether what the new one has goes on from the last that the old one had, as far as is known."""
    there = {one.id: one for one in await ctx.backend.instances()}
    gate = there[new.id].gate if new.id in there else None
    if gate is None or gate.role not in ("owner", "moved"):
        return True
    origin = _origin(await _journal(ctx, there[new.id]))
    if origin is None or origin["phase"] == "completed":
        return True
    # Stopped orderly, the old one saved all it had at its end. If it serves again, it has gone on itself.
    last = _last(await _journal(ctx, there.get(old.id, old)), "opened", "reopened", "recovered", "snapshot")
    saved = last.get("file") if last else None
    return saved is not None and origin.get("file") == saved


def _origin(journal: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Where its content came from: taken over from another one, or begun by itself."""
    return _last(journal, "completed", "initialised", "restored")


def _last(journal: Sequence[Mapping[str, Any]], *phases: str) -> Mapping[str, Any] | None:
    return next((event for event in reversed(journal) if event["phase"] in phases), None)


async def _journal(ctx: Context, instance: Instance) -> list[Mapping[str, Any]]:
    return [event async for event in ctx.backend.gate_events(instance, follow=False)]


def _not_kept(new: Instance) -> DevenvError:
    return DevenvError(
        f"{new.name} did not keep the content",
        "it was stopped or restarted just when it had it",
        "try again",
    )


class _Seen:
    """Told of the new instance as soon as it runs; shows its journal from then on."""

    def __init__(self, ctx: Context, began: float) -> None:
        self._ctx = ctx
        self._began = began
        self.instance: Instance | None = None
        self.opened = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, instance: Instance) -> None:
        """Again, when more is known of it."""
        if self.instance is None:
            self.follow(instance)
        self.instance = instance

    def follow(self, instance: Instance) -> None:
        self.tasks.append(asyncio.create_task(self._show(instance)))

    async def _show(self, instance: Instance) -> None:
        async with aclosing(self._ctx.backend.gate_events(instance, follow=True)) as events:
            async for event in events:
                if float(event["time"]) >= self._began:
                    self._ctx.emit(_phase(instance, event, self._began))
                    if event["phase"] == "opened":
                        self.opened.set()


def _phase(instance: Instance, event: Mapping[str, Any], began: float) -> PhaseReached:
    known = ("time", "uid", "release", "side", "phase")
    return PhaseReached(
        phase=event["phase"],
        side=event["side"],
        instance=instance.name,
        release=instance.release,
        ms=round((float(event["time"]) - began) * 1000, 1),
        details={key: value for key, value in event.items() if key not in known},
        time=float(event["time"]),
    )


@asynccontextmanager
async def _followed(ctx: Context, old: Instance, began: float) -> AsyncIterator[_Seen]:
    """Within, the phases of both instances are events."""
    seen = _Seen(ctx, began)
    seen.follow(old)
    try:
        yield seen
        # The last phases are written as the hook ends: let them come through, this one and what is beside it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_PHASES):
                await seen.opened.wait()
        await asyncio.sleep(0.3)
    finally:
        for task in seen.tasks:
            task.cancel()
        # What is shown is not what is done: a journal that cannot be read stops no upgrade.
        await asyncio.gather(*seen.tasks, return_exceptions=True)


def _there(instance: Instance | None) -> Instance:
    if instance is None:
        raise DevenvError(
            "the new instance was not seen",
            "the engine did not tell of its start",
            "run devenv up: it finds out what is there",
        )
    return instance
