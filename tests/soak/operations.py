"""The operations of a soak, each as a person does it, and what the content may be afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import Kubectl, kubeconfig
from tests.e2e.conftest import Devenv, Run, docker, read_until
from tests.soak.ledger import Replaced, Window
from tests.soak.plan import Round
from tests.soak.stage import Stage, until

Worlds = tuple[Replaced | None, ...]
NOTHING_REPLACED: Worlds = (None,)
_PASSES = ("unhealthy", "does not answer")
_UNHEALTHY = 60.0
"""Seconds in which that has passed."""


@dataclass(slots=True)
class Told:
    """What came of an operation."""

    code: int
    worlds: Worlds = NOTHING_REPLACED
    struck: bool = False
    """What was planned to happen to it did."""
    words: list[str] = field(default_factory=list)
    log: str = ""


class Operations:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._devenv: Devenv = stage.devenv
        self._begun = 0.0

    async def play(self, one: Round) -> Told:
        """Do it, have happen what shall, and put in order what that has left, by `devenv up`."""
        play: dict[str, Callable[[Round], Awaitable[Told]]] = {
            "upgrade": self._upgrade,
            "down": self._down,
            "restore": self._restore,
            "recover": self._recover if self._stage.backend == "compose" else self._recover_pod,
            "predecessor": self._predecessor,
            "retire": self._retire,
            "delete": self._delete,
        }
        self._begun = time.monotonic()
        jump = asyncio.create_task(self._stage.jump(one.jump)) if one.jump else None
        try:
            told = await play[one.operation](one)
        finally:
            if jump:
                await jump
        await self._settle(told)
        # Whoever put something in place has done so by now.
        now = time.monotonic()
        told.worlds = tuple(
            world and Replaced(world.saved, (world.put[0], min(world.put[1], now))) for world in told.worlds
        )
        return told

    async def _settle(self, told: Told) -> None:
        """Whatever was interrupted: `devenv up` puts it in order. It may refuse at first, which is told: one
        that was frozen is unhealthy to its engine until that has looked again, and on a busy machine a gate
        that has just started does not answer in time.
        """
        ends = time.monotonic() + _UNHEALTHY
        while (run := await self._run("up")).code:
            failure = run.failure
            passes = any(words in f"{failure['what']} {failure['why']}" for words in _PASSES)
            assert passes, run.told()
            assert time.monotonic() < ends, run.told()
            told.words.append(f"up: {failure['what']}: {failure['why']}")
            await asyncio.sleep(3)

    async def _upgrade(self, one: Round) -> Told:
        return await self._struck(one, lambda: self._devenv.start("upgrade", "--to", one.release))

    async def _down(self, one: Round) -> Told:
        return await self._struck(one, lambda: self._devenv.start("down"))

    async def _restore(self, one: Round) -> Told:
        path, saving = await self._saved()
        await asyncio.sleep(one.gap / 1000)
        putting = time.monotonic()
        restore = ("snapshot", "restore", str(path), "--yes")
        told = await self._struck(one, lambda: self._devenv.start(*restore))
        replaced = Replaced(saving, (putting, time.monotonic() if told.code == 0 else float("inf")))
        told.worlds = (replaced,) if told.code == 0 else (None, replaced)
        path.unlink()  # those that a person asked for all stay
        return told

    async def _saved(self) -> tuple[Path, Window]:
        """A snapshot on this machine, and within when it was taken."""
        began = time.monotonic()
        saved = await self._done("snapshot", "save")
        return Path(saved.of("answer")[-1]["data"]["path"]), (began, time.monotonic())

    async def _recover(self, one: Round) -> Told:
        """An owner that is gone for good; before that, one that is there and must not be passed over."""
        owner = self._stage.owner()
        refused = await self._run("recover", "--from", owner.container, "--yes")
        after = self._stage.owner()
        assert refused.code != 0, f"recovered beside an owner that serves: {refused.told()}"
        assert (after.uid, after.lineage, after.epoch) == (owner.uid, owner.lineage, owner.epoch)
        began = time.monotonic()
        await asyncio.to_thread(docker, "exec", owner.container, "gate", "snapshot")
        saving = (began, time.monotonic())
        await asyncio.sleep(one.gap / 1000)
        return await self._forsaken(owner.container, saving)

    async def _predecessor(self, one: Round) -> Told:
        """A successor that is gone for good, just after it got the content."""
        began = time.monotonic()
        upgrading = self._devenv.start("upgrade", "--to", one.release)
        read = await asyncio.to_thread(read_until, upgrading, phase="completed")
        upgrading.kill()
        run = await asyncio.to_thread(self._devenv.finish, upgrading, read)
        gates = self._stage.gates()
        moved = [seen for seen in gates if seen.role == "moved"]
        owners = [seen for seen in gates if seen.role == "owner"]
        if not (len(moved) == len(owners) == 1):
            return Told(run.code, words=["it was not in between"], log=run.told())
        return await self._forsaken(owners[0].container, (began, time.monotonic()), moved[0].container)

    async def _forsaken(self, gone: str, saved: tuple[float, float], heir: str = "") -> Told:
        """Remove it by force, and have another one go on with what was saved."""
        putting = time.monotonic()
        await asyncio.to_thread(docker, "rm", "--force", gone)
        if heir:
            saved = (saved[0], time.monotonic())
        refused = await self._run("up")
        assert refused.code != 0, f"it was not missed: {refused.told()}"
        assert "recover --from" in refused.failure["next"], refused.told()
        [heir] = [heir] if heir else self._devenv.containers("php-fpm")
        recovered = await self._done("recover", "--from", heir, "--yes")
        replaced = Replaced(saved, (putting, time.monotonic()))
        return Told(refused.code, (replaced,), log=recovered.told())

    async def _recover_pod(self, one: Round) -> Told:
        """One whose node hangs: removed by force, it hands nothing over, and its disk goes with it. What
        there is begins anew only when a person says so, who puts a snapshot in place then.
        """
        kubectl = await asyncio.to_thread(lambda: Kubectl(kubeconfig(self._devenv)))
        path, saving = await self._saved()
        await asyncio.sleep(one.gap / 1000)
        owner = self._stage.owner()
        [gone] = await asyncio.to_thread(kubectl.php_fpm)
        os.kill(owner.pid, signal.SIGSTOP)
        await asyncio.to_thread(kubectl, "delete", "pod", gone, "--force", "--grace-period=0")
        await asyncio.to_thread(
            until, lambda: all(seen.uid != owner.uid for seen in self._stage.gates()), f"{gone} runs on"
        )
        putting = time.monotonic()
        refused = await self._run("up")
        assert refused.code != 0, f"it was not missed: {refused.told()}"
        assert "recover --from" in refused.failure["next"], refused.told()
        [heir] = await asyncio.to_thread(kubectl.php_fpm)
        recovered = await self._done("recover", "--from", heir, "--yes")
        await self._done("snapshot", "restore", str(path), "--yes")
        replaced = Replaced(saving, (putting, time.monotonic()))
        path.unlink()
        return Told(refused.code, (replaced,), log=recovered.told())

    async def _retire(self, one: Round) -> Told:
        container = self._stage.owner().container
        await asyncio.to_thread(docker, "exec", container, "gate", "retire")
        told = await self._struck(one, lambda: _quiet("docker", "stop", "--time", "180", container))
        await asyncio.sleep(one.gap / 1000)
        with suppress(AssertionError):  # it may be gone: that is for `up` to judge
            await asyncio.to_thread(docker, "start", container)
        return told

    async def _delete(self, one: Round) -> Told:
        """A pod that is told to go: its deployment makes another one, which has to get the content."""
        kubectl = await asyncio.to_thread(lambda: Kubectl(kubeconfig(self._devenv)))
        [pod] = await asyncio.to_thread(kubectl.php_fpm)
        argv = [kubectl.program, "--kubeconfig", str(kubectl.kubeconfig), "--namespace", kubectl.namespace]
        told = await self._struck(one, lambda: _quiet(*argv, "delete", "pod", pod, "--timeout=240s"))
        await asyncio.to_thread(kubectl, "rollout", "status", "deployment/php-fpm", "--timeout=240s")
        return told

    async def _struck(self, one: Round, start: Callable[[], subprocess.Popen[str]]) -> Told:
        """Await the operation, with what shall happen to it meanwhile."""
        before = await asyncio.to_thread(self._stage.gates)
        process = start()
        fault = asyncio.create_task(self._stage.strike(one.fault, before, process)) if one.fault else None
        run = await asyncio.to_thread(self._devenv.finish, process)
        struck = await fault if fault else False
        words = [run.failure["what"]] if run.of("action-failed") else []
        return Told(run.code, struck=struck, words=words, log=run.told())

    async def _run(self, *command: str) -> Run:
        return await asyncio.to_thread(self._devenv, *command)

    async def _done(self, *command: str) -> Run:
        return await asyncio.to_thread(self._devenv.done, *command)


def _quiet(*argv: str) -> subprocess.Popen[str]:
    """A program that tells no events."""
    return subprocess.Popen(
        ["sh", "-c", 'exec "$@" >/dev/null', "sh", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
