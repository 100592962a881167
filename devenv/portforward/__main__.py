"""The process that listens and forwards, until it is told to end. `start` starts it in the background."""

from __future__ import annotations

import argparse
import asyncio
import errno
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from devenv.portforward import claim
from devenv.portforward.control import PORT_TAKEN
from devenv.portforward.journal import Journal
from devenv.portforward.keeper import Keeper
from devenv.portforward.pace import Pace
from devenv.portforward.relay import Relay, listen
from devenv.portforward.target import Target


def main() -> int:
    given = _parser().parse_args()
    target = Target(given.kubeconfig, given.context, given.namespace, given.service, tuple(given.kubectl))
    held = claim.take(given.state) if given.claim is None else given.claim
    if held is None:
        print(f"{given.state} is served by another process already", flush=True)
        return 1
    claim.sign(held)
    try:
        listener = listen(given.port)
    except OSError as error:
        print(f"127.0.0.1:{given.port} cannot be listened on: {error.strerror}", flush=True)
        return PORT_TAKEN if error.errno == errno.EADDRINUSE else 1
    _many_files()
    asyncio.run(_serve(listener, target, Journal(given.state, given.port, target)))
    return 0


async def _serve(listener: socket.socket, target: Target, journal: Journal) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    pace = Pace()
    keeper = Keeper(target, pace, journal.say)
    journal.waits_for = lambda: keeper.waits_for
    relay = Relay(listener, keeper, pace)
    journal.say(f"listens on 127.0.0.1:{listener.getsockname()[1]} for {target}")
    keeping = loop.create_task(keeper.run())
    telling = loop.create_task(told.wait())
    await asyncio.wait([telling, keeping], return_when=asyncio.FIRST_COMPLETED)
    if relay.connections:
        journal.say(f"ends, when {relay.connections} connections have, or in {pace.stop:g} s")
    await relay.finish()
    keeping.cancel()
    await asyncio.wait([keeping])
    if not keeping.cancelled() and (error := keeping.exception()):
        raise error
    journal.say("has ended")


def _many_files() -> None:
    """Each connection is two open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devenv.portforward", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kubeconfig", type=Path, help="the user's own, where none is named")
    parser.add_argument("--context", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--service", default="httpd-server")
    parser.add_argument("--state", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--claim", type=int, metavar="FD", help="the lock on FOLDER, where the caller has it")
    parser.add_argument("kubectl", nargs="*", default=["kubectl"], help="after --, what to run as kubectl")
    return parser


if __name__ == "__main__":
    sys.exit(main())
