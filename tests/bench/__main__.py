"""`make bench`: what is promised, measured beside the ways that it replaces, in one run on one machine.

Prints a table and keeps all figures as JSON in results/bench.json. Nothing here fails for being slow.
BENCH_ROUNDS sets how many upgrades are measured, BENCH_BEFORE names a commit to measure them beside.
`python -m tests.bench kind images` measures these parts.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from devenv.engine.probe import Answer, Client, Probe
from devenv.model.probe import ProbeReport
from tests.bench import before, beside, images, kind, tui
from tests.e2e.conftest import Devenv, Run, docker, free_port, make

WRITERS = 8
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "10"))
LONG = 2
"""So many writers more have requests that take long, in a row of their own."""
REST = 0.6
"""Seconds that those take at least."""
AFTER = 10.0
"""Seconds that are counted once the old instance is gone: only then no trace of it is left to fail on."""
FPM = "php-fpm8.2 -F -O -y /etc/gate/php-fpm.conf"
RESULTS = Path("results/bench.json")
Row = tuple[str, str, str]
"""What, what was measured, what it shall reach."""


class Bench:
    """The rows, and the stack that the next of them are measured on."""

    devenv: Devenv

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.figures: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="seconds")}

    def of(self, devenv: Devenv) -> Bench:
        self.devenv = devenv
        return self

    def row(self, name: str, measured: str, goal: str, **figures: Any) -> None:
        self.rows.append((name, measured, goal))
        self.figures[name] = figures
        print(f"  {name}: {measured}", file=sys.stderr, flush=True)

    async def under_load(
        self, work: Callable[[], Awaitable[None]], after: float = AFTER, *, long: int = 0, port: int = 0
    ) -> list[ProbeReport]:
        """What the writers see from a second before `work` until `after` seconds after it. With `long`, a
        second report is that of as many writers more, whose requests take long. `port`: not the stack's.
        """
        stack = self.devenv.stack
        url = f"http://127.0.0.1:{port}" if port else stack.url
        probes = [Probe(stack.probe, url, WRITERS)]
        if long:
            probes.append(LongRequests(stack.probe, url, long))
        for probe in probes:
            await probe.start()
        await asyncio.sleep(1)
        await work()
        await asyncio.sleep(after)
        return [await probe.stop() for probe in probes]

    async def upgrades(self, long: int = 0, *, goal: str = "", place: str = "") -> None:
        """Of each report: in which phase of its hand-over its writes were acknowledged."""
        reports: list[ProbeReport] = []
        slow: list[ProbeReport] = []
        closed: list[float] = []
        phases = dict.fromkeys(("before", "held", "relayed", "after"), 0)
        for number in range(ROUNDS):
            if number % 2 == 0:
                # There and back; then anew, since a page with ten thousand comments is not what is measured.
                self.anew()
            runs: list[Run] = []

            async def once(number: int = number, runs: list[Run] = runs) -> None:
                runs.append(await asyncio.to_thread(self.devenv.done, "upgrade", "--to", self.other()))

            report, *others = await self.under_load(once, long=long)
            reports.append(report)
            slow += others
            [run] = runs
            closed.append(float(run.receipt["closed_ms"]))
            for phase, count in report.by_phase(*marks(run)).items():
                phases[phase] += count
        pauses = sorted(report.pause * 1000 for report in reports)
        count = counted([*reports, *slow])
        name = f"{place}{ROUNDS} upgrades, {WRITERS} writers"
        if long:
            took = statistics.median(sample.seconds for report in slow for sample in report.acknowledged)
            name += f", {long} more with requests of {took * 1000:.0f} ms"
        self.row(
            name,
            f"{words(count)}; pause p50 {statistics.median(pauses):.0f} ms, p100 {pauses[-1]:.0f} ms; "
            f"closed to open p50 {statistics.median(closed):.0f} ms, p100 {max(closed):.0f} ms; "
            f"longest gap {max(report.longest_gap for report in reports) * 1000:.0f} ms; writes "
            + ", ".join(f"{phase} {number}" for phase, number in phases.items()),
            goal
            or (
                "lost 0, failed 0; requests in flight are waited for, so the pause is theirs"
                if long
                else "lost 0, failed 0; pause p50 300 ms, p100 1000 ms; none of the four is 0"
            ),
            pauses_ms=pauses,
            closed_ms=closed,
            medians_ms=[report.median * 1000 for report in reports],
            gaps_ms=[report.longest_gap * 1000 for report in reports],
            writes_by_phase=phases,
            **count,
        )

    def sizes(self) -> None:
        """What a release takes on the disk; two releases share their layers."""
        stack = self.devenv.stack
        names = {"base": stack.images.base} | {
            service: stack.image(service, "v1") for service in ("httpd", "php-fpm")
        }
        bytes_ = {
            name: int(docker("image", "inspect", "--format", "{{.Size}}", image))
            for name, image in names.items()
        }
        measured = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in bytes_.items())
        self.row("images", measured, "no goal", **bytes_)

    async def quiet(self) -> None:
        """The same load without an upgrade: how slow the slowest request is anyway."""

        async def nothing() -> None:
            await asyncio.sleep(6)

        reports = [report for _ in range(3) for report in await self.under_load(nothing, 0)]
        pauses = [report.pause * 1000 for report in reports]
        self.row(
            "the same load, no upgrade",
            f"{words(counted(reports))}; slowest beyond the median {max(pauses):.0f} ms",
            "for comparison",
            pauses_ms=pauses,
        )

    async def large(self) -> None:
        """200 MB that the site does not look at."""
        [container] = self.devenv.containers("php-fpm")
        fill = (
            "$db = new PDO('sqlite:/app/data/database.sqlite'); $db->exec('PRAGMA busy_timeout = 9000');"
            "$db->exec('CREATE TABLE ballast (id INTEGER PRIMARY KEY, content BLOB)');"
            "$add = $db->prepare('INSERT INTO ballast (content) VALUES (?)'); $db->beginTransaction();"
            "for ($i = 0; $i < 200; ++$i) { $add->execute([random_bytes(1 << 20)]); } $db->commit();"
        )
        docker("exec", container, "php8.2", "-r", fill)
        closed: list[float] = []

        async def once() -> None:
            run = await asyncio.to_thread(self.devenv.done, "upgrade", "--to", self.other())
            closed.append(float(run.receipt["closed_ms"]))

        [report] = await self.under_load(once)
        self.row(
            f"database of 200 MB, {WRITERS} writers",
            f"{words(counted([report]))}; pause {report.pause * 1000:.0f} ms; "
            f"closed to open {closed[0]:.0f} ms",
            "none lost; pause 2000 ms",
            pause_ms=report.pause * 1000,
            closed_ms=closed[0],
        )

    def other(self) -> str:
        """The release that does not run."""
        answer: dict[str, str] = self.devenv.done("status").of("answer")[0]["data"]
        return "v2" if answer["release"] == "v1" else "v1"

    def warm_up(self) -> None:
        """`devenv up` where all is there, in turns with what it adds to."""
        self.devenv.done("up")
        compose = compose_command(self.devenv)
        ours, theirs = [], []
        for _ in range(7):
            ours.append(timed([sys.executable, "-m", "devenv", "up", "--no-tui"], self.devenv))
            theirs.append(timed([*compose, "up", "-d", "--wait", "--no-recreate"], self.devenv))
        added = statistics.median(ours) - statistics.median(theirs)
        self.row(
            "warm up",
            f"devenv {statistics.median(ours):.2f} s, "
            f"docker compose {statistics.median(theirs):.2f} s: +{added:.2f} s",
            "+0.6 s",
            devenv_s=ours,
            compose_s=theirs,
        )
        version = [timed([sys.executable, "-m", "devenv", "--version"], self.devenv) for _ in range(11)]
        self.row("devenv --version", f"{statistics.median(version):.3f} s", "0.15 s", seconds=version)

    def open_gate(self) -> None:
        """The same request to php-fpm on the gate's socket, and on one of its own, in turns."""
        stack = self.devenv.stack
        image, httpd = stack.image("php-fpm", "v1"), stack.image("httpd", "v1")
        made: list[str] = []
        networks: list[str] = []
        try:
            ports = {}
            for name in ("gate", "plain"):
                network = f"devenv-bench-{name}"
                docker("network", "create", network)
                networks.append(network)
                php = [
                    "run",
                    "-d",
                    "--network",
                    network,
                    "--network-alias",
                    "php-fpm",
                    "-e",
                    "APP_SECRET=bench",
                ]
                if name == "gate":
                    start = f"printf %064d 0 > /tmp/secret; exec gate run -- {FPM}"
                    php += ["-e", "GATE_SECRET_FILE=/tmp/secret", "--entrypoint", "sh", image, "-c", start]
                else:
                    start = f"cp seed/database.sqlite data/; exec {FPM}"
                    php += ["-e", "GATE_FPM_LISTEN=0.0.0.0:9000", "-e", "GATE_FPM_STATUS=/run/gate/status"]
                    php += ["-e", "GATE_OPCACHE=/run/gate/opcache", "--entrypoint", "sh", image, "-c", start]
                made.append(docker(*php))
                ports[name] = free_port()
                made.append(
                    docker("run", "-d", "--network", network, "-p", f"127.0.0.1:{ports[name]}:8080", httpd)
                )
            times: dict[str, list[float]] = {name: [] for name in ports}
            for port in ports.values():
                wait_for(port)
            for _ in range(400):
                for name, port in ports.items():
                    times[name].append(request(port))
            gate, plain = (statistics.median(times[name]) * 1000 for name in ("gate", "plain"))
            self.row(
                "open gate",
                f"request {gate:.2f} ms, without a gate {plain:.2f} ms: ratio {gate / plain:.3f}",
                "nothing measurable",
                gate_ms=gate,
                plain_ms=plain,
            )
        finally:
            for one in made:
                docker("rm", "-f", one)
            for network in networks:
                docker("network", "rm", network)

    async def plain_compose(self) -> None:
        """`docker compose up -d` with the other tag."""
        self.anew()
        command = [*compose_command(self.devenv), "up", "-d", "--wait", "--no-deps", "php-fpm"]
        other = self.other()
        before = self.devenv.containers("php-fpm")

        async def replace() -> None:
            await asyncio.to_thread(timed, command, self.devenv, PHP_FPM_RELEASE=other)

        await self.baseline("docker compose up -d, other tag", replace)
        assert self.devenv.containers("php-fpm") != before, "the container is the same as before"

    async def seeds_way(self) -> None:
        """A script copies the file from the old container to the new one, then the old one ends."""
        self.anew()
        port = self.devenv.stack.stack.port
        image, httpd = (self.devenv.stack.image(name, "v1") for name in ("php-fpm", "httpd"))
        self.devenv.done("down")
        network, made = "devenv-bench-seed", []
        docker("network", "create", network)

        def php(prepare: str) -> str:
            start = f"{prepare}; exec {FPM}"
            settings = [
                "GATE_FPM_LISTEN=0.0.0.0:9000",
                "GATE_FPM_STATUS=/run/gate/status",
                "APP_SECRET=bench",
            ]
            settings.append("GATE_OPCACHE=/run/gate/opcache")
            environment = [word for one in settings for word in ("-e", one)]
            made.append(
                docker(
                    "run", "-d", "--network", network, "--network-alias", "php-fpm", *environment,
                    "--entrypoint", "sh", image, "-c", start,
                )
            )  # fmt: skip
            return made[-1]

        async def replace() -> None:
            # As a pod in its postStart hook, the new one gets requests only when the copy is there.
            new = await asyncio.to_thread(php, "until [ -s data/database.sqlite ]; do sleep 0.05; done")
            with tempfile.TemporaryDirectory() as folder:
                copy = f"{folder}/database.sqlite"
                for arguments in ((f"{old}:/app/data/database.sqlite", copy), (copy, f"{new}:/app/data/")):
                    await asyncio.to_thread(docker, "cp", "-a", *arguments)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(docker, "stop", old)

        try:
            old = php("cp seed/database.sqlite data/")
            made.append(docker("run", "-d", "--network", network, "-p", f"127.0.0.1:{port}:8080", httpd))
            wait_for(port)
            await self.baseline("the file copied by a script", replace)
        finally:
            for one in made:
                docker("rm", "-f", one)
            docker("network", "rm", network)

    async def baseline(self, name: str, replace: Callable[[], Awaitable[None]]) -> None:
        [report] = await self.under_load(replace)
        count = counted([report])
        measured = f"{words(count)}; longest gap {report.longest_gap * 1000:.0f} ms"
        self.row(name, measured, "for comparison", gap_ms=report.longest_gap * 1000, **count)

    def anew(self) -> None:
        self.devenv.done("reset", "--yes")
        self.devenv.done("up")


class LongRequests(Probe):
    """Writers whose requests are long in php-fpm: the second half of what they send comes late."""

    def _client(self) -> Client:
        client = super()._client()
        client.__class__ = _Slow
        return client


class _Slow(Client):
    def _request(self, method: str, path: str, body: str | None = None) -> Answer:
        if body is None:
            return super()._request(method, path)
        connection = HTTPConnection(self._host, self._port, timeout=60)
        try:
            connection.putrequest(method, path)
            cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
            headers = {"Connection": "close", "Content-Type": "application/x-www-form-urlencoded"}
            for name, value in {**headers, "Cookie": cookies, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            half = len(body) // 2
            connection.endheaders(body[:half].encode())
            time.sleep(REST)
            connection.send(body[half:].encode())
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        return Answer(response.status, response.reason, response.headers, text)


def marks(run: Run) -> tuple[float, float, float]:
    """When the old instance closed, had handed over, and was gone."""
    told = {event["phase"]: event["time"] for event in run.of("phase-reached") if event["side"] == "owner"}
    [gone] = [event["time"] for event in run.of("step-ended") if event["step"] == "retire"]
    return told["closing"], told["moved"], gone


def counted(reports: list[ProbeReport]) -> dict[str, Any]:
    uncounted = [report.uncounted for report in reports if report.uncounted]
    return {
        "acknowledged": sum(len(report.acknowledged) for report in reports),
        "lost": "not countable" if uncounted else sum(len(report.lost) for report in reports),
        "duplicated": sum(len(report.duplicated) for report in reports),
        "failed": sum(len(report.failures) for report in reports),
    }


def words(count: dict[str, Any]) -> str:
    return f"{count['acknowledged']} writes, lost {count['lost']}, failed {count['failed']}"


def compose_command(devenv: Devenv) -> list[str]:
    file = Path(__file__).parents[2] / "compose" / "compose.yaml"
    return ["docker", "compose", "-f", str(file), "--env-file", str(devenv.settings)]


def timed(argv: list[str], devenv: Devenv, **environment: str) -> float:
    # Compiled as for a person, whatever a build machine has set for itself.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    started = time.monotonic()
    subprocess.run(
        argv, cwd=devenv.folder, env={**os.environ, **devenv.environment, **compiled, **environment},
        check=True, capture_output=True,
    )  # fmt: skip
    return time.monotonic() - started


def request(port: int) -> float:
    started = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise ConnectionError(f"{answer.status} at port {port}")
    return time.monotonic() - started


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            request(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


async def on_compose(folder: Path, all_rows: Bench) -> None:
    devenv = make(folder, "devenv-bench")
    bench = all_rows.of(devenv)
    devenv("reset", "--yes")
    devenv.done("build", "--release", "v2")
    devenv.done("up")
    try:
        bench.warm_up()
        await tui.measure(devenv, bench.row)
        bench.open_gate()
        bench.sizes()
        await bench.upgrades()
        bench.anew()
        await bench.quiet()
        await bench.upgrades(LONG)
        bench.anew()
        await bench.large()
        await bench.plain_compose()
        await bench.seeds_way()
    finally:
        devenv("reset", "--yes")


async def on_kind(folder: Path, all_rows: Bench) -> None:
    devenv = kind.stack(folder)
    bench = all_rows.of(devenv)
    try:
        devenv.done("build", "--release", "v1")
        devenv.done("build", "--release", "v2")
        await kind.cluster_up(bench)
        await bench.upgrades(goal=kind.GOAL, place="kind: ")
        bench.anew()
        await kind.deletes(bench)
        await kind.by_hand(bench)
    finally:
        devenv("reset", "--yes")
        devenv("down", "--cluster")


async def of_images(folder: Path, all_rows: Bench) -> None:
    devenv = images.stack(folder)
    try:
        await images.measure(all_rows.of(devenv))
    finally:
        devenv("reset", "--yes")
        devenv("down", "--cluster")
        devenv("registry", "down")
        docker("volume", "rm", f"{devenv.stack.stack.name}-registry")


async def with_files(folder: Path, all_rows: Bench) -> None:
    devenv = beside.stack(folder)
    try:
        devenv.done("build", "--release", "v1")
        devenv.done("build", "--release", "v2")
        await beside.measure(all_rows.of(devenv))
    finally:
        devenv("reset", "--yes")


async def beside_before(folder: Path, all_rows: Bench) -> None:
    if before.BEFORE:
        folder.mkdir()
        with before.stacks(folder) as both:
            await before.measure(all_rows, both, ROUNDS)
    else:
        print("  upgrades beside an earlier commit: BENCH_BEFORE names none", file=sys.stderr, flush=True)


PARTS = {
    "compose": on_compose,
    "files": with_files,
    "before": beside_before,
    "kind": on_kind,
    "images": of_images,
}


async def main(parts: Sequence[str]) -> None:
    """All parts, where none is named."""
    rows = Bench()
    with tempfile.TemporaryDirectory() as folder:
        for part in parts or PARTS:
            await PARTS[part](Path(folder, part), rows)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows.figures, indent=1) + "\n")
    print("| what | measured | goal |\n|---|---|---|")
    for row in rows.rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
