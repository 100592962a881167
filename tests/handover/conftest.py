from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devenv.engine.probe import Probe
from devenv.model.probe import Form, ProbeConfig, ProbeReport
from tests.handover.instances import Stack
from tests.handover.instances import stack as open_stack

SECOND_APP = ProbeConfig(
    login=Form(), write=Form(action="/write", fields={"nonce": "{nonce}"}), read="/notes"
)


PROGRAMS = ("unshare", "nsenter", "apache2", "php-fpm8.2", "php8.2")


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Processes with a network address, a disk and names of their own: not every machine allows them."""
    if sys.platform != "linux":
        pytest.skip("instances as processes need Linux's namespaces")
    if os.geteuid() != 0:
        pytest.skip("only root may make the namespaces of instances as processes")
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}; python -m tests.setup installs them")
    made = subprocess.run(["unshare", "-m", "-p", "-f", "true"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"this machine makes no namespaces: {made.stderr.strip()}")


@pytest.fixture
def stack(namespaces: None) -> Iterator[Stack]:
    # Not pytest's own folder: Apache's user must be able to enter it.
    with tempfile.TemporaryDirectory(prefix="devenv-test-") as folder:
        Path(folder).chmod(0o755)
        with open_stack(Path(folder)) as it:
            yield it


class Load:
    """Writers at work for as long as the block lasts; the report is there afterwards."""

    report: ProbeReport


@pytest.fixture
def load(stack: Stack) -> Callable[..., contextlib.AbstractContextManager[Load]]:
    @contextlib.contextmanager
    def writing(writers: int = 8) -> Iterator[Load]:
        result = Load()
        probe = Probe(SECOND_APP, stack.url, writers)
        asyncio.run(probe.start())
        try:
            yield result
        finally:
            result.report = asyncio.run(probe.stop())

    return writing
