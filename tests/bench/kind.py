"""The rows of a kind cluster: what it takes to have one, and what upgrades and deleted pods cost on it."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devenv import assets
from devenv.tools import http, kind, programs
from devenv.tools.programs import KUBECTL
from tests.e2e.conftest import Devenv, free_port, make

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench

PAIRS = 5
SETTLED = 5.0
"""Seconds until a new cluster has started what it runs."""
DELETES = 5
_COPIED = 60.0
_BY_HAND = "by-hand"
_WAIT = "until [ -s data/database.sqlite ]; do sleep 0.05; done"
GOAL = "lost 0, failed 0; pause p50 500 ms, p100 2000 ms"


def stack(folder: Path) -> Devenv:
    return make(folder, "devenv-bench-kind", 'backend = "kind"\n')


async def cluster_up(bench: Bench) -> None:
    """From no cluster, images there; beside what kind alone takes for a cluster of the same configuration.

    Medians of pairs: where processors are few, the same cluster takes a quarter more or less from one time
    to the next.
    """
    devenv = bench.devenv
    name = devenv.stack.stack.name
    kubeconfig = devenv.folder / "alone.kubeconfig"
    alone, ours = [], []
    for one in range(PAIRS):
        if one:
            await asyncio.to_thread(devenv.done, "reset", "--yes")
            await asyncio.to_thread(devenv.done, "down", "--cluster")
        # What was written before is on the disk: neither waits for what the other has left behind.
        await asyncio.to_thread(os.sync)
        started = time.monotonic()
        await kind.create(
            f"{name}-alone", assets.k8s_folder() / "kind.yaml", devenv.stack.images.node, kubeconfig, 120
        )
        alone.append(time.monotonic() - started)
        # One that still starts containers cannot always be killed (cgroup v1: what is frozen stays).
        await asyncio.sleep(SETTLED)
        await kind.delete(f"{name}-alone", kubeconfig)
        await asyncio.to_thread(os.sync)
        ours.append(await asyncio.to_thread(timed, devenv, "up"))
    await asyncio.to_thread(devenv.done, "down")
    again = await asyncio.to_thread(timed, devenv, "up")
    bench.row(
        f"kind: up from no cluster, the median of {PAIRS}",
        f"{statistics.median(ours):.1f} s; kind create cluster alone {statistics.median(alone):.1f} s;"
        f" with the cluster there {again:.1f} s",
        "1.05 times kind's + 10 s; 10 s",
        up_s=ours,
        kind_s=alone,
        again_s=again,
    )


async def by_hand(bench: Bench) -> None:
    """kubectl alone, as the document has it: a script of the new pod copies the file from the old one. The
    same images, without the gate, in a namespace of their own, behind a port-forward of their own.
    """
    devenv = bench.devenv
    kubectl, port = await programs.path(KUBECTL), free_port()
    where = [kubectl, "--kubeconfig", str(devenv.state / "kind" / "kubeconfig"), "--namespace", _BY_HAND]

    def call(*arguments: str, stdin: str = "") -> str:
        return subprocess.run(
            [*where, *arguments], input=stdin, check=True, capture_output=True, text=True, timeout=300
        ).stdout

    def apply(release: str, prepare: str) -> None:
        made = manifests(devenv.stack.image("httpd", "v1"), devenv.stack.image("php-fpm", release), prepare)
        call("apply", "-f", "-", stdin=json.dumps(made))

    def php_fpm() -> list[str]:
        return call("get", "pods", "-l", "app=php-fpm", "-o", "name").split()

    def copy(old: str, new: str) -> None:
        encoded = call("exec", old, "--", "base64", "data/database.sqlite")
        write = "base64 -d > data/part && mv data/part data/database.sqlite"
        call("exec", "--stdin", new, "--", "sh", "-c", write, stdin=encoded)

    seconds = 0.0

    async def replace() -> None:
        nonlocal seconds
        began = time.monotonic()
        [old] = await asyncio.to_thread(php_fpm)
        await asyncio.to_thread(apply, "v2", _WAIT)
        while time.monotonic() < began + _COPIED:
            with suppress(subprocess.CalledProcessError, ValueError):
                [new] = [one for one in await asyncio.to_thread(php_fpm) if one != old]
                await asyncio.to_thread(copy, old, new)
                break
            await asyncio.sleep(0.1)
        await asyncio.to_thread(call, "rollout", "status", "deployment/php-fpm", "--timeout=120s")
        seconds = time.monotonic() - began

    await kind.load(devenv.stack.stack.name, [devenv.stack.image("php-fpm", one) for one in ("v1", "v2")])
    call("create", "namespace", _BY_HAND)
    try:
        await asyncio.to_thread(apply, "v1", "cp seed/database.sqlite data/")
        for name in ("httpd", "php-fpm"):
            await asyncio.to_thread(call, "rollout", "status", f"deployment/{name}", "--timeout=120s")
        forwarding = await asyncio.create_subprocess_exec(
            *where, "port-forward", "service/httpd-server", f"{port}:80", stdout=subprocess.DEVNULL
        )
        try:
            await http.until_it_serves(port, "/healthz", 30)
            [report] = await bench.under_load(replace, port=port)
        finally:
            forwarding.kill()
            await forwarding.wait()
    finally:
        call("delete", "namespace", _BY_HAND, "--wait=false")
    bench.row(
        "kind: the same by hand, the file copied by a script",
        f"{seconds:.1f} s; {len(report.acknowledged)} writes, lost {len(report.lost)}, "
        f"failed {len(report.failures)}",
        "for comparison",
        seconds=seconds,
        lost=len(report.lost),
        failed=len(report.failures),
    )


def manifests(httpd: str, php_fpm: str, prepare: str) -> dict[str, Any]:
    settings = {
        "GATE_FPM_LISTEN": "0.0.0.0:9000",
        "GATE_FPM_STATUS": "/run/gate/status",
        "GATE_OPCACHE": "/run/gate/opcache",
        "APP_SECRET": "bench",
    }
    there = {"exec": {"command": ["test", "-s", "data/database.sqlite"]}, "periodSeconds": 1}
    containers = {
        "httpd": {"image": httpd, "readinessProbe": {"httpGet": {"path": "/.httpd", "port": 8080}}},
        "php-fpm": {
            "image": php_fpm,
            "command": ["sh", "-c", f"{prepare}; exec php-fpm8.2 -F -O -y /etc/gate/php-fpm.conf"],
            "env": [{"name": name, "value": value} for name, value in settings.items()],
            "readinessProbe": there,
        },
    }
    services = {"httpd-server": ("httpd", 80, 8080), "php-fpm": ("php-fpm", 9000, 9000)}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            *(
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": name},
                    "spec": {
                        "selector": {"matchLabels": {"app": name}},
                        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                        "template": {
                            "metadata": {"labels": {"app": name}},
                            "spec": {"containers": [{"name": name, "imagePullPolicy": "Never", **one}]},
                        },
                    },
                }
                for name, one in containers.items()
            ),
            *(
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": name},
                    "spec": {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target}]},
                }
                for name, (app, port, target) in services.items()
            ),
        ],
    }


def timed(devenv: Devenv, *arguments: str) -> float:
    started = time.monotonic()
    devenv.done(*arguments)
    return time.monotonic() - started


async def deletes(bench: Bench) -> None:
    """`kubectl delete pod` of php-fpm, again and again."""
    devenv = bench.devenv
    kubectl = await programs.path(KUBECTL)
    where = ["--kubeconfig", str(devenv.state / "kind" / "kubeconfig"), "--namespace", "testing"]
    argv = [kubectl, *where, "delete", "pod", "-l", "app.kubernetes.io/name=php-fpm"]

    async def once() -> None:
        await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True, timeout=300)

    reports = [report for _ in range(DELETES) for report in await bench.under_load(once)]
    pauses = sorted(report.pause * 1000 for report in reports)
    acknowledged = sum(len(report.acknowledged) for report in reports)
    lost = sum(len(report.lost) for report in reports)
    failed = sum(len(report.failures) for report in reports)
    bench.row(
        f"kind: {DELETES} times kubectl delete pod, 8 writers",
        f"{acknowledged} writes, lost {lost}, failed {failed}; "
        f"pause p50 {statistics.median(pauses):.0f} ms, p100 {pauses[-1]:.0f} ms",
        GOAL,
        pauses_ms=pauses,
        lost=lost,
        failed=failed,
    )
