"""Owner, successor and a client against anything that can go wrong, in any order.

Real gates, php-fpm and Apache; what Hypothesis chooses is what fails under them, and when. Whatever it is:
never two that serve, no acknowledged write missing or twice, and nobody stuck without saying why.

More of it: DEVENV_EXAMPLES=200 pytest tests/handover/test_machine.py
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from devenv.handover.deadlines import Deadlines
from devenv.handover.wire import Peer, Refused, Unreachable
from tests.handover.instances import Instance, Stack

EXAMPLES = int(os.environ.get("DEVENV_EXAMPLES", "6"))
SETTLED = 45.0
"""Seconds in which one serves again, once nothing fails any more."""
QUICK = {
    "GATE_DEADLINE_LEASE": "1.5",
    "GATE_DEADLINE_ABSENT": "2",
    "GATE_DEADLINE_HOOK": "20",
    "GATE_DEADLINE_TERMINATION": "25",
    "GATE_DEADLINE_FINISH": "5",
    "GATE_DEADLINE_SUCCESSOR": "0.5",
    "GATE_DEADLINE_SIGN": "0.5",
    "GATE_DEADLINE_REPLY": "3",
    "GATE_DEADLINE_LINGER": "0.2",
}
VERBS = ("status", "copy", "lease", "renew", "pages", "changes", "complete", "release", "take-back")
ANY = st.integers(0, 2)
"""Which of the instances that there are."""


class Client(threading.Thread):
    """Writes one thing after the other, and knows what was acknowledged."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._over = threading.Event()
        self.acknowledged: list[str] = []
        self.start()

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.02):
            number += 1
            nonce = f"n{number}"
            connection = http.client.HTTPConnection("127.0.0.1", self._stack.port, timeout=30)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/write", f"nonce={nonce}", {"Content-Type": FORM})
                response = connection.getresponse()
                if response.status == 201 and response.read():
                    self.acknowledged.append(nonce)
            connection.close()

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive()


FORM = "application/x-www-form-urlencoded"


class HandOver(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="devenv-test-"))
        self.folder.chmod(0o755)
        self.stack = Stack(self.folder)
        self.stack.env = dict(QUICK)
        self.here: list[Instance] = []
        self.told = 0
        self.twice = 0
        self.steps: list[str] = []
        self._come()
        self.here[0].wait_owner()
        self.stack.start_apache()
        self.client = Client(self.stack)
        self.watching = threading.Event()
        self.serving_at_once: list[str] = []
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _come(self) -> Instance:
        number = len(self.stack.instances)
        chaos = self.folder / f"chaos-{number}"
        one = self.stack.start(f"v{number + 1}", GATE_CHAOS=str(chaos), GATE_MODULE="tests.handover.chaos")
        self.here.append(one)
        return one

    def _tell(self, which: int, **what: Any) -> None:
        one = self.here[which % len(self.here)]
        self.told += 1
        self.steps.append(f"{one.folder.name} {what}")
        Path(one.env["GATE_CHAOS"]).write_text(json.dumps({"id": self.told, **what}))

    # What may happen

    @precondition(lambda self: len(self.here) < 3)
    @rule()
    def a_successor_comes(self) -> None:
        self.steps.append("comes")
        self._come()

    @rule(which=ANY, number=st.integers(1, 40))
    def one_is_killed_before_an_effect(self, which: int, number: int) -> None:
        self._tell(which, crash=number)

    @rule(which=ANY, number=st.integers(1, 40))
    def a_disk_fails(self, which: int, number: int) -> None:
        self._tell(which, fail=number)

    @rule(which=ANY, verb=st.sampled_from(VERBS))
    def an_answer_is_lost(self, which: int, verb: str) -> None:
        self._tell(which, drop=verb)

    @rule(which=ANY, hours=st.sampled_from((-5, -1, 1, 5)))
    def a_clock_jumps(self, which: int, hours: int) -> None:
        self._tell(which, clock=hours * 3600)

    @rule(which=ANY, seconds=st.sampled_from((0.1, 0.7, 2.5)))
    def one_stands_still(self, which: int, seconds: float) -> None:
        one = self.here[which % len(self.here)]
        if one.running:
            self.steps.append(f"{one.folder.name} stands still for {seconds} s")
            one.signal_all(signal.SIGSTOP)
            time.sleep(seconds)
            one.signal_all(signal.SIGCONT)

    @rule(which=ANY)
    def the_engine_starts_what_has_ended(self, which: int) -> None:
        self._restart(self.here[which % len(self.here)])

    @rule(which=ANY)
    def one_is_killed(self, which: int) -> None:
        one = self.here[which % len(self.here)]
        self.steps.append(f"{one.folder.name} is killed")
        one.kill()
        self.stack.unlist_name(one.address)

    @rule(which=ANY, retired=st.booleans())
    def one_is_ended(self, which: int, retired: bool) -> None:
        one = self.here[which % len(self.here)]
        if not one.running:
            return
        self.steps.append(f"{one.folder.name} is ended{', retired' if retired else ''}")
        if retired:
            with contextlib.suppress(Unreachable, Refused):
                one.ask("retire")
        one.stop(90)

    @rule(seconds=st.sampled_from((0.05, 0.3, 1.0)))
    def time_passes(self, seconds: float) -> None:
        time.sleep(seconds)

    # What must be true

    def _restart(self, one: Instance) -> None:
        if not one.running:
            self.steps.append(f"{one.folder.name} is started again")
            one.kill()
            self.stack.unlist_name(one.address)
            one.start()

    def _watch(self) -> None:
        """Two that serve, in the same moment: each said so after the other one had."""
        while not self.watching.wait(0.05):
            serving = [one for one in self._serving() if one in self._serving()]
            again = self._serving()
            both = [one for one in serving if one in again]
            if len(both) > 1:
                self.serving_at_once.append(f"{both} after {self.steps}")

    def _serving(self) -> list[str]:
        found = []
        for one in list(self.here):
            with contextlib.suppress(Exception), _asking(one) as peer:
                status, _ = peer.call("status")
                if (status["role"], status["state"]) == ("owner", "open"):
                    found.append(f"{one.folder.name} {status['lineage']} {status['epoch']}")
        return found

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            self.stack.close()  # it has not begun
            return
        try:
            self._settle()
        finally:
            self.watching.set()
            self.watcher.join(30)
            self.client.stop()
            self.stack.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _settle(self) -> None:
        """Nothing fails any more, and what has ended is started again."""
        for which in range(len(self.here)):
            self._tell(which)
        time.sleep(0.2)
        deadline = time.monotonic() + SETTLED
        while not (serving := self._serving()):
            for one in self.here:
                self._restart(one)
                with contextlib.suppress(Exception):
                    one.ask("start")  # as the engine's hook, or a person, would
            assert time.monotonic() < deadline, f"nobody serves: {self._words()}"
            time.sleep(0.3)
        time.sleep(0.5)
        self.client.stop()
        assert self.serving_at_once == []
        assert len(serving) == 1, self._words()
        there = self._notes()
        missing = [nonce for nonce in self.client.acknowledged if nonce not in there]
        twice = [nonce for nonce in set(there) if there.count(nonce) > 1]
        assert (missing, twice) == ([], []), self._words()

    def _notes(self) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=30)
        connection.request("GET", "/notes")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return [line.removeprefix("note ") for line in lines]

    def _words(self) -> str:
        logs = "\n".join(f"{one.folder.name}:\n{one.log.read_text()[-4000:]}" for one in self.here)
        return f"{self.steps}\n{logs}"


@contextlib.contextmanager
def _asking(one: Instance) -> Any:
    with Peer((one.address, 9010), one.stack.secret.encode(), Deadlines(connect=0.3, reply=1.0)) as peer:
        yield peer


@pytest.mark.usefixtures("namespaces")
def test_whatever_goes_wrong_nothing_is_lost_and_one_serves() -> None:
    run_state_machine_as_test(
        HandOver,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # it takes real time, and would not fail twice alike
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            database=None,
        ),
    )
