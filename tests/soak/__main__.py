"""`make soak`: 300 operations in random order under load, each with a fault or none; on kind 100.

Upgrades, down and up, restores, recoveries, stops and starts; with processes that are killed, stopped or
frozen for a while, and a wall clock that jumps. No acknowledged write may be lost, no two instances may
serve at once, nothing may be left over. It ends at the first thing that must not be, and leaves the stack
as it is then. All that is random follows from the seed::

    make soak SOAK_SEED=4711                    the same again
    make soak SOAK_SEED=4711 SOAK_FROM=38       its rounds from the 38th on, on a new stack
    make soak SOAK_BACKEND=kind SOAK_ROUNDS=20
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import cast

from tests.e2e.cluster import done_in_time
from tests.soak.plan import Backend, plan
from tests.soak.soak import Soak
from tests.soak.stage import prepare

_ROUNDS = {"compose": 300, "kind": 100}


def main() -> int:
    if sys.platform != "linux" or os.geteuid() != 0:
        print("the soak looks into containers from outside: only root on Linux can", file=sys.stderr)
        return 4
    backend = cast(Backend, os.environ.get("SOAK_BACKEND", "compose"))
    seed = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))
    rounds = plan(seed, int(os.environ.get("SOAK_ROUNDS", _ROUNDS[backend])), backend)
    first = int(os.environ.get("SOAK_FROM", "1"))
    print(f"SOAK_SEED={seed}", flush=True)
    devenv = prepare(Path(tempfile.mkdtemp(prefix="devenv-soak-")), f"devenv-soak-{backend}", backend)
    if backend == "kind":
        done_in_time(devenv, "node-image", "build")
    soak = Soak(devenv, backend)
    try:
        asyncio.run(soak.run(rounds[first - 1 :]))
    except Exception as error:
        again = f"make soak SOAK_BACKEND={backend} SOAK_SEED={seed} SOAK_ROUNDS={len(rounds)}"
        again += f" SOAK_FROM={soak.at.number}" if soak.at else ""
        log = devenv.folder / "failure.log"
        log.write_text(f"{error}\n")
        print(f"\n{type(error).__name__}: {str(error)[-1500:]}\n\nall of it: {log}", file=sys.stderr)
        print("the stack is left as it is; its devenv.toml lies there too", file=sys.stderr)
        print(f"the same again: {again}", file=sys.stderr)
        return 1
    print(f"{dict(soak.totals)}, lost 0, two at once 0, left over 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
