"""What is asked of, or done to, the content of a running stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from devenv.engine import site
from devenv.engine.context import Context
from devenv.engine.finish import readable
from devenv.engine.freshness import compare
from devenv.engine.probing import WRITERS, Probing
from devenv.engine.settle import forget, look, owner_of
from devenv.engine.store import MANUAL
from devenv.errors import DevenvError, NotVerified, UsageError
from devenv.model.beside import missed
from devenv.model.events import Answer, Notice
from devenv.model.instance import Instance
from devenv.tools import browser


async def status(ctx: Context) -> int:
    """Tell what is there, as the engine and the gates say at this moment. 0 if it serves, else 1."""
    instances, now = await look(ctx)
    at_work = ctx.store.at_work()
    images = await compare(ctx, instances)
    ready = now.owner is not None and now.owner.gate is not None and now.owner.gate.ready
    # What an instance says of itself is not what whoever opens the page sees.
    wrong = await site.problem(ctx) if ready else ""
    serves = ready and not wrong
    well = instances and now.tidy and not wrong
    next_step = "" if at_work or well else now.next_step or "devenv up"
    ctx.emit(
        Answer(
            "status",
            {
                "stack": ctx.stack.stack.name,
                "url": ctx.stack.url,
                "serves": serves,
                "release": now.owner.release if now.owner else None,
                "at_work": at_work,
                "problem": "" if at_work else now.problem or _unfinished(instances, now.tidy) or wrong,
                "next": next_step,
                "images": [one.as_json() for one in images],
                "instances": [asdict(instance) | {"release": instance.release} for instance in instances],
            },
        )
    )
    return 0 if serves and not now.problem else 1


def _unfinished(instances: list[Instance], tidy: bool) -> str:
    if not instances:
        return "nothing runs"
    return "" if tidy else "an earlier run was interrupted; devenv up finishes it"


async def verify(ctx: Context) -> None:
    """The content as it is now, against the last receipt: same database, no table gone, the right owner."""
    owner = await owner_of(ctx)
    now = readable(owner, await ctx.backend.fingerprint(owner))
    kept = ctx.store.receipts()
    path, last = kept[-1] if kept else (None, None)
    against = ""
    then: Mapping[str, int | None] = {}
    gate = owner.gate
    if broken := ctx.store.unreadable_receipt():
        against = f"the last receipt cannot be read, and nothing is compared with it: {broken}"
    elif last is not None and gate is not None and last.lineage == gate.lineage:
        then = {table.name: table.after for table in last.tables}
        gone = [name for name, rows in then.items() if rows is not None and name not in now["tables"]]
        if not last.verified:
            against = f"the last upgrade was not verified: {last.reason}"
        elif gone:
            against = f"tables are gone since the last upgrade: {', '.join(gone)}"
        elif gate.epoch < last.new.epoch:
            against = f"epoch {gate.epoch} is older than the last upgrade's, {last.new.epoch}"
    tables = {
        name: {"then": then.get(name), "now": table["rows"], "hash": table["hash"]}
        for name, table in now["tables"].items()
    }
    ctx.emit(
        Answer(
            "verify",
            {
                "instance": owner.name,
                "release": owner.release,
                "total": now["total"],
                "tables": tables,
                "receipt": str(path) if then else None,
                "verified": not against,
                "reason": against or _reason(bool(then)),
            },
        )
    )
    if against:
        raise NotVerified("the content is not verified", against, "see: devenv snapshot list")


def _reason(compared: bool) -> str:
    if compared:
        return "one owner, of the same database as in the last receipt, all its tables there"
    return "one owner, its content readable; no upgrade of this database yet to compare with"


async def save(ctx: Context) -> None:
    """Save the content to a file on this machine."""
    owner = await owner_of(ctx)
    path = ctx.store.new_snapshot(ctx.stack.place, MANUAL, owner.release)
    about = await ctx.backend.snapshot(owner, path)
    if text := missed(about, ctx.stack.app.database):
        ctx.emit(Notice(text))
    ctx.emit(Answer("snapshot", {"path": str(path), **about}))


async def snapshots(ctx: Context) -> None:
    """Tell what is saved on this machine."""
    saved = [asdict(one) | {"path": str(one.path), "name": one.path.name} for one in ctx.store.snapshots()]
    ctx.emit(Answer("snapshots", {"snapshots": saved}))


def find_snapshot(ctx: Context, name: str) -> Path:
    """A file's path, the name of a saved snapshot, or `latest`."""
    saved = ctx.store.snapshots()
    if name == "latest" and saved:
        return saved[-1].path
    for path in (Path(name), *(one.path for one in saved if one.path.name == name)):
        if path.is_file():
            return path
    raise UsageError(
        f"there is no snapshot {name}", "it is neither a file nor a saved one", "see: devenv snapshot list"
    )


async def restore(ctx: Context, name: str) -> None:
    """Put a snapshot in place of the content; what it replaces is saved first."""
    path = find_snapshot(ctx, name)
    owner = await owner_of(ctx)
    before = ctx.store.new_snapshot(ctx.stack.place, "before-restore", owner.release)
    await ctx.backend.snapshot(owner, before)
    await ctx.backend.restore(owner, path)
    forget(ctx)
    ctx.store.prune()
    ctx.emit(Notice(f"what was there before is in {before}"))
    ctx.emit(Answer("restore", {"path": str(path), "before": str(before), "instance": owner.name}))


async def probe(
    ctx: Context, writers: int = WRITERS, seconds: float = 10, probing: Probing | None = None
) -> None:
    """Write through the site for some seconds, or until it is told to stop, then count.

    Anything wrong is an error.
    """
    await owner_of(ctx)
    probing = probing or Probing(ctx, writers)
    await probing.start()
    try:
        await probing.ended(seconds)
        report = await probing.stop()
    finally:
        await probing.abandon()
    ctx.emit(Answer("probe", report.as_json()))
    if report.lost or report.duplicated or report.uncounted:
        raise NotVerified(
            "the probe's writes are not all there once",
            report.uncounted or f"lost {len(report.lost)}, twice {len(report.duplicated)}",
            "see: devenv logs",
        )
    if not report.clean:
        first = report.failures[0].failure if report.failures else "nothing was acknowledged"
        raise DevenvError(f"{len(report.failures)} requests failed", str(first), "see: devenv logs")


async def open_site(ctx: Context) -> None:
    """Show the site in a browser of this machine; its address in any case."""
    shown = await browser.show(ctx.stack.url)
    ctx.emit(Answer("open", {"url": ctx.stack.url, "browser": shown}))


async def receipts(ctx: Context) -> None:
    """Tell of which upgrades there is evidence, newest last."""
    kept = [
        {
            "name": path.stem,
            "path": str(path),
            "time": one.time,
            "from": one.old.release,
            "to": one.new.release,
            "verified": one.verified,
            "probe": one.probe is not None,
        }
        for path, one in ctx.store.receipts()
    ]
    ctx.emit(Answer("receipts", {"receipts": kept}))


async def receipt(ctx: Context, name: str = "latest") -> None:
    """Show the evidence of one upgrade, by its name or file."""
    kept = ctx.store.receipts()
    chosen = kept[-1:] if name == "latest" else [one for one in kept if name in (one[0].stem, str(one[0]))]
    if not chosen:
        raise UsageError(
            f"there is no receipt {name}",
            "no upgrade left one" if not kept else "none has that name",
            "see: devenv receipt list",
        )
    [(path, found)] = chosen
    ctx.emit(Answer("receipt", {"path": str(path), **found.as_json()}))
