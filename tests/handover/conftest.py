from __future__ import annotations

import asyncio
import contextlib
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


@pytest.fixture
def stack() -> Iterator[Stack]:
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
