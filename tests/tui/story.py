"""One story, as the real program tells it: a stack comes up, is upgraded twice, and seen in a third upgrade.

Times are counted from NOW, and nothing depends on the machine: what is told here ends up in pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from devenv.model import events as e
from devenv.model import plan
from devenv.model.events import Event, LogLine
from devenv.model.freshness import Freshness, Made
from devenv.model.instance import Gate, Instance
from devenv.model.receipt import Receipt, Side, Table

NOW = 1769860800.0
"""31 January 2026, 12:00:00 UTC."""
URL = "http://127.0.0.1:8080"
STATE = "~/.local/state/devenv/devenv"
FROZEN = "the fingerprint of the old instance's frozen file is that of the new one's"

_LINEAGE = "9553f9913fb138dd"
_SHA256 = hashlib.sha256(b"the content").hexdigest()


def digest(image: str) -> str:
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def container(name: str) -> str:
    return hashlib.sha256(f"container {name}".encode()).hexdigest()


def httpd(age: float) -> Instance:
    return Instance(
        container("devenv-httpd-1"), "devenv-httpd-1", "httpd", "httpd:v1", digest("httpd:v1"), NOW - age,
        "running", "healthy", 8080,
    )  # fmt: skip


def php(number: int, release: str, age: float, *, state: str = "open", role: str = "owner") -> Instance:
    """The instance of this number has the epoch of this number as well."""
    name, image = f"devenv-php-fpm-{number}", f"php-fpm:{release}"
    uid = container(name)[:16]
    gate = Gate(uid, release, role, number, _LINEAGE, state, state in ("open", "relaying"))
    health = "healthy" if gate.ready else "starting"
    return Instance(
        container(name), name, "php-fpm", image, digest(image), NOW - age, "running", health, gate=gate
    )


def compared(release: str, *, tree: str = "tree") -> Event:
    """What runs was built of `tree`, which the working tree holds."""
    running = {"httpd": digest("httpd:v1"), "php-fpm": digest(f"php-fpm:{release}")}
    releases = {"httpd": "v1", "php-fpm": release}
    found = (
        Freshness(
            one, releases[one], running[one], Made(running[one], "tree", "tree" if one == "httpd" else tree)
        )
        for one in running
    )
    return e.ImagesCompared(tuple(found), time=NOW)


# Steps


def steps(which: plan.Plan, told: Mapping[str, Event | tuple[Event, ...]]) -> Iterator[Event]:
    """The plan as it is told at first, then what became of its steps."""
    for step in which.steps:
        yield e.StepWaiting(step.name, step.title, step.after, time=NOW)
    for events in told.values():
        yield from events if isinstance(events, tuple) else (events,)


def done(which: plan.Plan, name: str, seconds: float, note: str, result: e.StepResult = "done") -> Event:
    return e.StepEnded(name, _title(which, name), result, seconds, note, time=NOW)


def running(which: plan.Plan, name: str, seconds: float) -> Event:
    return e.StepStarted(name, _title(which, name), time=NOW - seconds)


def waiting(which: plan.Plan, name: str, *after: str) -> Event:
    return e.StepWaiting(name, _title(which, name), after, time=NOW)


def _title(which: plan.Plan, name: str) -> str:
    return next(step.title for step in which.steps if step.name == name)


# Up

_UP = plan.up()
_APT = (
    "[php 3/3] RUN apt-get update     && apt-get install -y --no-install-recommends         php8.2-fpm "
    "php8.2-sqlite3 python3 systemd-standalone-tmpfiles"
)
_HTTPD_APT = (
    "[httpd 2/2] RUN apt-get update     && apt-get install -y --no-install-recommends apache2-bin media-types"
)


def _before_builds() -> Iterator[Event]:
    yield e.InstancesSeen((), time=NOW)
    yield e.ActionStarted("up", time=NOW - 9.3)
    yield done(_UP, "engine", 0.1, "nothing runs yet")
    yield done(_UP, "settings", 0.0, "written")
    yield done(_UP, "base", 0.1, "not needed", "skipped")
    yield running(_UP, "build httpd", 9.1)
    yield running(_UP, "build php-fpm", 9.1)
    yield waiting(_UP, "httpd", "build httpd", "build php-fpm")
    yield waiting(_UP, "start", "httpd")
    yield e.BuildStage(
        "httpd", "v1", "[static 1/1] COPY docker/app/public /app/public", "done", 0.1, time=NOW
    )
    yield e.BuildStage("httpd", "v1", _HTTPD_APT, "started", time=NOW)
    yield e.BuildStage("php-fpm", "v1", "[app 1/1] COPY docker/app /", "done", 0.1, time=NOW)
    yield e.BuildStage(
        "php-fpm", "v1", "[php 2/3] COPY --from=app /packages.tx[t] /tmp/", "done", 0.1, time=NOW
    )
    yield e.BuildStage("php-fpm", "v1", _APT, "started", time=NOW)


def up_builds() -> list[Event]:
    return list(_before_builds())


def up_done() -> list[Event]:
    return [
        *_before_builds(),
        done(_UP, "build httpd", 12.6, "v1 built"),
        done(_UP, "build php-fpm", 24.0, "v1 built"),
        done(_UP, "httpd", 0.0, "new", "skipped"),
        e.InstancesSeen((httpd(2), php(1, "v1", 2)), time=NOW),
        e.Notice("a new database: the application's first content", time=NOW),
        done(_UP, "start", 1.6, "healthy"),
        e.ActionEnded("up", 0, 26.0, URL, time=NOW),
    ]


_BUILD_SAID = """\
Err:1 http://mirror.example/debian bookworm InRelease
  Temporary failure resolving 'mirror.example'
Err:2 http://mirror.example/debian bookworm-updates InRelease
  Temporary failure resolving 'mirror.example'
Reading package lists...
W: Failed to fetch http://mirror.example/debian/dists/bookworm/InRelease
W: Some index files failed to download. They have been ignored, or old ones used instead.
Reading package lists...
Building dependency tree...
E: Unable to locate package php8.2-fpm
E: Couldn't find any package by glob 'php8.2-fpm'
E: Unable to locate package php8.2-sqlite3
E: Unable to locate package systemd-standalone-tmpfiles"""


def up_failed() -> list[Event]:
    shell = f'process "/bin/sh -c {_APT.partition("RUN ")[2]}" did not complete successfully: exit code: 100'
    whole = f"{STATE}/builds/php-fpm-v1.log"
    return [
        *_before_builds(),
        e.BuildStage("php-fpm", "v1", _APT, "failed", 9.0, time=NOW),
        done(_UP, "build php-fpm", 10.2, "", "failed"),
        done(_UP, "build httpd", 10.2, "", "cancelled"),
        done(_UP, "httpd", 0.0, "not started", "cancelled"),
        done(_UP, "start", 0.0, "not started", "cancelled"),
        e.ActionFailed(
            "the image php-fpm:v1 cannot be built",
            f"{_APT}: {shell}",
            f"mend it and build again: devenv build --release v1; the whole log: {whole}",
            _BUILD_SAID,
            time=NOW,
        ),
        e.ActionEnded("up", 1, 10.3, time=NOW),
    ]


# What runs, some upgrades later


def came_up() -> list[Event]:
    """Before the third upgrade: all of it was there."""
    return [
        e.InstancesSeen((httpd(3 * 3600), php(3, "v1", 26 * 60)), time=NOW),
        compared("v1"),
        e.ActionStarted("up", time=NOW - 0.9),
        done(_UP, "engine", 0.1, "devenv-php-fpm-3 runs"),
        done(_UP, "settings", 0.0, "as they were", "skipped"),
        done(_UP, "base", 0.1, "not needed", "skipped"),
        done(_UP, "build httpd", 0.2, "v1 is up to date", "skipped"),
        done(_UP, "build php-fpm", 0.2, "v1 is up to date", "skipped"),
        done(_UP, "httpd", 0.0, "as it was", "skipped"),
        done(_UP, "start", 0.5, "healthy"),
        e.ActionEnded("up", 0, 0.9, URL, time=NOW),
    ]


# The upgrade from v1 to v2

_TO_V2 = plan.upgrade("v2")
_OLD, _NEW = "devenv-php-fpm-3", "devenv-php-fpm-4"
_OWNER = container(_OLD)[:16]

PHASES: tuple[tuple[str, str, float, dict[str, Any]], ...] = (
    ("successor", "discover", 820.1, {"names": "php-fpm"}),
    ("successor", "found", 972.2, {"owner": _OWNER, "release": "v1", "epoch": 3, "bytes": 114688}),
    ("owner", "copy-served", 1010.4, {"bytes": 114688, "ms": 35.1, "to": "172.18.0.4"}),
    ("successor", "copy", 1043.0, {"bytes": 114688, "ms": 70.8}),
    ("successor", "checked", 1045.3, {"damage": [], "ms": 2.1}),
    ("successor", "warmed", 1454.9, {"status": 200, "ms": 401.2}),
    ("successor", "lease", 1458.0, {}),
    ("owner", "closing", 1464.1, {"successor": container(_NEW)[:16], "release": "v2"}),
    ("owner", "closed", 1550.8, {"ms": 86.6}),
    ("successor", "leased", 1551.6, {"ms": 93.5}),
    ("successor", "pages", 1562.0, {"blocks": 2, "bytes": 114688, "ms": 9.7}),
    ("successor", "verified", 1566.9, {"sha256": _SHA256}),
    ("successor", "installed", 1568.0, {}),
    ("owner", "moved", 1569.2, {"successor": container(_NEW)[:16], "address": "172.18.0.4"}),
    ("owner", "relaying", 1569.9, {"to": "172.18.0.4", "held": 9}),
    ("successor", "completed", 1570.6, {"epoch": 4}),
    ("successor", "opened", 1571.5, {"epoch": 4, "held": 9}),
    ("successor", "fingerprint", 2003.7, {"fingerprint": {"format": 1}, "sha256": _SHA256}),
    ("owner", "terminating", 4301.2, {"role": "moved"}),
    ("owner", "ending", 4309.9, {"relayed": 81}),
)
"""Side, phase, milliseconds, details."""


def _phases(until: str) -> Iterator[Event]:
    for side, phase, ms, details in PHASES:
        instance, release = (_OLD, "v1") if side == "owner" else (_NEW, "v2")
        yield e.PhaseReached(phase, side, instance, release, ms, details, time=NOW)
        if phase == until:
            return


def _before_hand_over() -> Iterator[Event]:
    yield e.ActionStarted("upgrade", time=NOW - 2.4)
    yield done(_TO_V2, "engine", 0.2, f"{_OLD} has v1")
    yield done(_TO_V2, "image", 0.1, "there already", "skipped")
    yield done(_TO_V2, "snapshot", 0.1, "106,496 bytes")
    yield running(_TO_V2, "handover", 2.1)
    yield waiting(_TO_V2, "verify", "handover")
    yield waiting(_TO_V2, "retire", "verify")
    yield waiting(_TO_V2, "receipt", "retire")


def hands_over() -> list[Event]:
    """The old instance is closed, requests are held, the new one has compared what it fetched."""
    counts = {"writers": 8, "acknowledged": 197, "failed": 0}
    probe = {**counts, "slowest": 0.1502, "pause": 0.0815, "last_failure": None}
    old, new = php(3, "v1", 26 * 60, state="closed"), php(4, "v2", 1.5, state="incoming", role="incoming")
    return [
        *_before_hand_over(),
        e.InstancesSeen((httpd(3 * 3600), old, new), time=NOW),
        *_phases("verified"),
        e.ProbeCounted(probe, time=NOW),
    ]


_ROWS = {
    "sqlite_sequence": 4,
    "symfony_demo_comment": 231,
    "symfony_demo_post": 30,
    "symfony_demo_post_tag": 63,
    "symfony_demo_tag": 9,
    "symfony_demo_user": 3,
}
COUNTED: Mapping[str, Any] = {
    "writers": 8, "acknowledged": 2335, "failed": 0, "lost": 0, "duplicated": 0, "uncounted": None,
    "median": 0.0687, "slowest": 0.2914, "pause": 0.2227, "longest_gap": 0.1344, "failures": [],
    "clean": True, "by_phase": {"before": 218, "held": 9, "relayed": 374, "after": 1734},
}  # fmt: skip


def receipt() -> Receipt:
    return Receipt(
        time=NOW,
        old=Side("v1", _OLD, container(_OLD), digest("php-fpm:v1"), 3),
        new=Side("v2", _NEW, container(_NEW), digest("php-fpm:v2"), 4),
        lineage=_LINEAGE,
        verified=True,
        reason=FROZEN,
        tables=tuple(Table(name, rows, rows, True) for name, rows in _ROWS.items()),
        total_before=_SHA256[:32],
        total_after=_SHA256[:32],
        closed_ms=107.4,
        held=9,
        relayed=81,
        phases=tuple((side, phase, round(ms - PHASES[0][2], 1)) for side, phase, ms, _ in PHASES),
        seconds=17.4,
        snapshot=f"{STATE}/snapshots/20260131T115958.708108_before-upgrade_v1.tar",
        probe=COUNTED,
    )


def _path(one: Receipt, stamp: str) -> Path:
    return Path(f"{STATE}/receipts/{stamp}-{one.old.release}-{one.new.release}.json")


def _kept(one: Receipt) -> Event:
    return e.ReceiptWritten(str(_path(one, "20260131T120000.000000")), one.as_json(), time=NOW)


def verified() -> list[Event]:
    return [
        *hands_over(),
        *list(_phases(""))[12:],
        done(_TO_V2, "handover", 3.2, f"{_NEW} owns the content"),
        done(_TO_V2, "verify", 1.1, "340 rows in 6 tables, the same"),
        done(_TO_V2, "retire", 2.1, f"{_OLD} is gone"),
        done(_TO_V2, "receipt", 10.4, FROZEN),
        e.InstancesSeen((httpd(3 * 3600), php(4, "v2", 16)), time=NOW),
        compared("v2"),
        e.ProbeCounted(COUNTED, time=NOW),
        _kept(receipt()),
        e.ActionEnded("upgrade", 0, 17.4, time=NOW),
    ]


def not_verified() -> list[Event]:
    """A comment is missing. Both instances stay."""
    reason = "the fingerprints differ in symfony_demo_comment"
    tables = tuple(
        replace(table, after=230, same=False) if table.name == "symfony_demo_comment" else table
        for table in receipt().tables
    )
    found = replace(
        receipt(), verified=False, reason=reason, tables=tables, total_after=digest("")[7:39], probe=None,
        relayed=0, phases=receipt().phases[:18],
    )  # fmt: skip
    old = php(3, "v1", 26 * 60, state="relaying", role="moved")
    return [
        *hands_over(),
        *list(_phases("fingerprint"))[12:],
        done(_TO_V2, "handover", 3.2, f"{_NEW} owns the content"),
        done(_TO_V2, "verify", 1.1, "", "failed"),
        done(_TO_V2, "retire", 0.0, "not started", "cancelled"),
        done(_TO_V2, "receipt", 0.0, "not started", "cancelled"),
        e.InstancesSeen((httpd(3 * 3600), old, php(4, "v2", 6)), time=NOW),
        _kept(found),
        e.ProbeCounted({**COUNTED, "acknowledged": 611}, time=NOW),
        e.ActionFailed(
            "the content is not verified",
            reason,
            f"compare the snapshot from before: {found.snapshot}",
            exit_code=3,
            time=NOW,
        ),
        e.ActionEnded("upgrade", 3, 5.1, time=NOW),
    ]


def receipts() -> list[tuple[Path, Receipt]]:
    """Oldest first: to v2, back to v1 with the content of that day, and to v2 once more."""
    last = receipt()
    one = replace(last.old, instance="devenv-php-fpm-1", epoch=1)
    two = replace(last.new, instance="devenv-php-fpm-2", epoch=2)
    first = replace(last, time=NOW - 9000, old=one, new=two, tables=_fewer(last, 160), closed_ms=224.8)
    first = replace(first, probe=None)
    back = replace(last, time=NOW - 1560, old=two, new=last.old, tables=_fewer(last, 7), closed_ms=131.0)
    back = replace(back, probe={**COUNTED, "acknowledged": 1573})
    return [
        (_path(first, "20260131T093000.912680"), first),
        (_path(back, "20260131T113400.296795"), back),
        (_path(last, "20260131T120000.000000"), last),
    ]


def _fewer(one: Receipt, comments: int) -> tuple[Table, ...]:
    rows = _ROWS["symfony_demo_comment"] - comments
    return tuple(
        replace(table, before=rows, after=rows) if table.name == "symfony_demo_comment" else table
        for table in one.tables
    )


def engine_lost() -> list[Event]:
    why = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    lost = e.EngineLost(
        "the container engine does not answer", why, "start it, or run: devenv doctor --fix", time=NOW
    )
    return [*came_up(), lost]


# Commands


def commands() -> list[Event]:
    """A build that failed, was mended and repeated; then an upgrade that is at work."""
    compose = ("docker", "compose", "-f", "/srv/devenv/compose/compose.yaml")
    build = ("docker", "buildx", "build", "--load", "--progress=rawjson", "--file")
    php_fpm = (*build, "docker/php-fpm/Dockerfile", "--tag", "php-fpm:v1")
    ran: list[tuple[float, tuple[str, ...], int | None, float | None]] = [
        (9021.0, ("docker", "compose", "version", "--short"), 0, 0.1),
        (9020.4, (*build, "docker/httpd/Dockerfile", "--tag", "httpd:v1"), None, 10.2),
        (9020.4, php_fpm, 1, 10.2),
        (8972.1, (*build, "docker/httpd/Dockerfile", "--tag", "httpd:v1"), 0, 12.6),
        (8972.1, php_fpm, 0, 24.0),
        (8948.0, (*compose, "up", "--detach", "--wait", "--no-recreate"), 0, 1.6),
        (2.3, ("docker", "exec", container(_OLD)[:12], "gate", "snapshot", "-o", "-"), 0, 0.1),
        (
            2.1,
            (*compose, "up", "--detach", "--no-recreate", "--no-deps", "--scale", "php-fpm=2", "php-fpm"),
            0,
            None,
        ),
    ]
    told: list[Event] = []
    for run, (ago, argv, code, seconds) in enumerate(ran, 1):
        told.append(e.CommandStarted(run, argv, time=NOW - ago))
        if seconds is not None:
            told.append(e.CommandEnded(run, argv, code, seconds, time=NOW - ago + seconds))
    return told


# Logs

_HTTPD, _POST = "devenv-httpd-1", "an-upgrade-that-nobody-noticed"


def _lines(source: str, texts: Iterable[str]) -> Iterator[LogLine]:
    for number, text in enumerate(texts):
        yield LogLine(source, text, time=NOW - 20 + number / 10)


def _fpm(*texts: str) -> list[str]:
    return [f"[31-Jan-2026 11:59:40] NOTICE: {text}" for text in texts]


def _asked(method: str, path: str, status: int, size: int, ms: int) -> str:
    return f'{status} {ms} ms "{method} {path} HTTP/1.1" {size} bytes 172.18.0.1'


_VISIT = (
    ("GET", "/", 200, 9729, 57), ("GET", "/build/app.css", 200, 8124, 0), ("GET", "/login", 200, 2435, 74),
    ("POST", "/login", 302, 334, 112), ("GET", f"/posts/{_POST}", 200, 4833, 53),
    ("POST", f"/posts/{_POST}", 303, 446, 68), ("GET", f"/posts/{_POST}", 200, 5011, 12),
    ("GET", "/search?q=upgrade", 200, 3120, 31), ("GET", "/posts/nobody-was-here", 404, 1742, 9),
)  # fmt: skip


def started() -> list[LogLine]:
    """What both services say as they come up for the first time, and then of one visitor."""
    pid = "[Sat Jan 31 11:59:40.715952 2026] [mpm_event:notice] [pid 1:tid 1]"
    apache = [f"{pid} AH00489: Apache/2.4.66 (Debian) configured -- resuming normal operations"]
    gate = [
        "gate: successor discover names=php-fpm",
        "gate: content initialised source=/app/seed/database.sqlite",
        "gate: successor opened epoch=1 held=0",
        "gate: hook owner of epoch 1",
    ]
    fpm = _fpm(
        'using inherited socket fd=7, "0.0.0.0:9000"', "fpm is running, pid 24", "ready to handle connections"
    )
    return [*_lines(_HTTPD, apache), *_lines("devenv-php-fpm-1", [*gate, *fpm]), *visit()]


def day() -> list[LogLine]:
    """Of the stack as it runs later: its owner, then one visitor."""
    return [*_lines(_OLD, ["gate: hook owner of epoch 3", *_fpm("ready to handle connections")]), *visit()]


def visit() -> list[LogLine]:
    return list(_lines(_HTTPD, (_asked(*one) for one in _VISIT)))


def writes(count: int, first: int = 0) -> list[LogLine]:
    """Of the probe; each takes a little longer or shorter than the one before."""
    texts = (
        _asked("POST", f"/posts/{_POST}", 303, 446, 35 + number * 29 % 67)
        for number in range(first, first + count)
    )
    return list(_lines(_HTTPD, texts))


def handed_over(until: str = "") -> list[LogLine]:
    """Both gates, between the writes of the probe."""
    lines = writes(18)
    for side, phase, _, details in PHASES:
        name = _OLD if side == "owner" else _NEW
        lines += _lines(name, [f"gate: {side} {phase} {_words(details)}".rstrip()])
        if phase == until:
            return lines
        if phase in _BESIDE:
            lines += _BESIDE[phase]
    return [*lines, *writes(18, 22)]


def _words(details: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in details.items() if name != "fingerprint")


_BESIDE = {
    "found": writes(4, 18),
    "checked": writes(4, 22),
    "opened": list(_lines(_NEW, _fpm("fpm is running, pid 60", "ready to handle connections"))),
    "relaying": writes(2, 26),
}
"""What comes after these phases."""


def busy_day() -> Sequence[LogLine]:
    """Enough to search in."""
    return [*day()[:2], *(line for turn in range(41) for line in (*visit(), *writes(5, turn * 5)))]
