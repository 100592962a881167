"""The logs of pods. While a pod's postStart hook runs, Kubernetes refuses its log; it comes after it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

from devenv.model.instance import Instance
from devenv.tools.kubectl import Cluster

_MICROSECONDS = re.compile(r"(\.\d{6})\d+")
"""Kubernetes gives nanoseconds, more than Python reads."""


def _since(text: str) -> str:
    """kubectl's option for what docker takes as one: a duration, a time, or seconds since 1970."""
    if "T" in text:
        # Without a zone it is this machine's own time.
        moment = datetime.fromisoformat(_MICROSECONDS.sub(r"\1", text))
        return f"--since-time={text if moment.tzinfo else moment.astimezone().isoformat()}"
    try:
        moment = datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        return f"--since={text}"
    return f"--since-time={moment.isoformat()}"


class Pods:
    """`here` lists those that the selector chooses."""

    own = "stderr"

    def __init__(
        self, cluster: Cluster, selector: str, here: Callable[[], Awaitable[list[Instance]]]
    ) -> None:
        self._cluster = cluster
        self._selector = selector
        self._here = here

    async def here(self) -> list[Instance]:
        return await self._here()

    async def starts(self) -> AsyncGenerator[str, None]:
        """Any change may be the start of a container, also of one that was restarted."""
        async with aclosing(self._cluster.watch("pods", self._selector)) as changes:
            async for _ in changes:
                for one in await self._here():
                    if one.running:
                        yield one.id

    def argv(self, one: Instance, *, follow: bool, tail: int | None, since: str | None) -> list[str]:
        options = ["--follow"] if follow else []
        options += [f"--tail={tail}"] if tail is not None else []
        options += [_since(since)] if since is not None else []
        return self._cluster.argv("logs", one.name, "--timestamps", *options)

    def argv_of_previous(self, one: Instance, *, tail: int | None, since: str | None) -> list[str]:
        return [*self.argv(one, follow=False, tail=tail, since=since), "--previous"] if one.restarts else []
