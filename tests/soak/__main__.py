"""`make soak`: a hundred upgrades back and forth under load, with a SIGKILL at random in most of them.

Ends at the first write that is lost, and leaves the stack as it is then.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from devenv.engine.probe import Probe
from tests.e2e.conftest import Devenv, docker, make

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "100"))
WRITERS = 8


async def main() -> None:
    seed = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))
    print(f"SOAK_SEED={seed}", flush=True)
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="devenv-soak-"))
    devenv = make(folder, "devenv-soak")
    devenv("reset", "--yes")
    devenv.done("build", "--release", "v2")
    devenv.done("up")
    totals = {"acknowledged": 0, "failed": 0, "kills": 0}
    for number in range(ROUNDS):
        await round_(devenv, number, chance, totals)
    print(f"{ROUNDS} upgrades: {totals}, lost 0, duplicated 0")
    devenv.done("reset", "--yes")


async def round_(devenv: Devenv, number: int, chance: random.Random, totals: dict[str, int]) -> None:
    victim = chance.choice(["nobody", "oldest", "newest", "devenv"])
    stack = devenv.stack
    probe = Probe(stack.probe, stack.url, WRITERS)
    await probe.start()
    process = devenv.start("upgrade", "--to", f"v{2 - number % 2}")
    await asyncio.sleep(chance.uniform(0.3, 3.0))
    if victim == "devenv":
        process.send_signal(signal.SIGKILL)
    elif victim != "nobody" and (there := await asyncio.to_thread(devenv.containers, "php-fpm")):
        # The engine lists the newest first. Killed inside: so its restart policy starts it again.
        one = there[-1] if victim == "oldest" else there[0]
        pid = docker("inspect", "--format", "{{.State.Pid}}", one)
        if pid != "0":
            os.kill(int(pid), signal.SIGKILL)
    run = await asyncio.to_thread(devenv.finish, process)
    await asyncio.to_thread(devenv.done, "up")
    report = await probe.stop()
    totals["acknowledged"] += len(report.acknowledged)
    totals["failed"] += len(report.failures)
    totals["kills"] += victim != "nobody"
    words = f"{number + 1:4} killed {victim:7} exit {run.code:3}  acknowledged {len(report.acknowledged)}"
    print(f"{words}, failed {len(report.failures)}, lost {len(report.lost)}", flush=True)
    unexpected = victim in ("nobody", "devenv") and report.failures
    if report.lost or report.duplicated or report.uncounted or unexpected:
        print(f"{report.lost} {report.duplicated} {report.uncounted} {report.failures[:3]}")
        print(f"the stack is left as it is; its settings are in {devenv.folder}")
        sys.exit(1)


if __name__ == "__main__":
    asyncio.run(main())
