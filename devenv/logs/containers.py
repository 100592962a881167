"""The logs of a compose project's containers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from devenv.errors import NotFit
from devenv.model.instance import Instance
from devenv.tools import docker, process


class Containers:
    own = ""

    def __init__(self, project: str, here: Callable[[], Awaitable[list[Instance]]]) -> None:
        self._project = project
        self._here = here

    async def here(self) -> list[Instance]:
        return await self._here()

    async def starts(self) -> AsyncGenerator[str, None]:
        argv = ["docker", "events", "--format", "{{.ID}}", "--filter", "event=start"]
        argv += ["--filter", f"label={docker.PROJECT_LABEL}={self._project}"]
        with docker.engine_errors():
            async with aclosing(process.stream(argv, follows=True)) as lines:
                async for line in lines:
                    yield line.text
        # An engine that is stopped in good order ends it without an error.
        raise NotFit(
            "the container engine does not answer",
            "it has ended its events",
            "start it, or run: devenv doctor --fix",
        )

    def argv(self, one: Instance, *, follow: bool, tail: int | None, since: str | None) -> list[str]:
        options = ["--follow"] if follow else []
        options += ["--tail", str(tail)] if tail is not None else []
        options += ["--since", since] if since is not None else []
        return ["docker", "logs", "--timestamps", *options, one.id]

    def argv_of_previous(self, one: Instance, *, tail: int | None, since: str | None) -> list[str]:
        return []
