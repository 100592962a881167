"""Lines of several containers as one stream, as docker gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from devenv.model.events import LogLine
from devenv.model.instance import Instance
from devenv.tools import docker, process


async def merged(
    project: str, service: str | None, follow: bool, tail: int | None, since: str | None
) -> AsyncGenerator[LogLine, None]:
    """In the order of their times; with `follow` as they come, also of containers that start later."""
    here = [one for one in await docker.containers(project) if service in (None, one.service)]
    if not follow:
        lines = [line for one in here for line in await _all(one, tail, since)]
        for _, line in sorted(lines, key=lambda pair: pair[0]):
            yield line
        return
    queue: asyncio.Queue[LogLine] = asyncio.Queue(maxsize=1000)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_follow(one, tail, since, queue)) for one in here]
        tasks.append(group.create_task(_later(project, service, {one.id for one in here}, queue, group)))
        try:
            while True:
                yield await queue.get()
        finally:
            for task in tasks:
                task.cancel()


def _argv(one: Instance, tail: int | None, since: str | None, *options: str) -> list[str]:
    argv = ["docker", "logs", *options]
    if tail is not None:
        argv += ["--tail", str(tail)]
    if since is not None:
        argv += ["--since", since]
    return [*argv, one.id]


async def _all(one: Instance, tail: int | None, since: str | None) -> list[tuple[str, LogLine]]:
    found: list[tuple[str, LogLine]] = []
    async with aclosing(process.stream(_argv(one, tail, since, "--timestamps"), check=False)) as lines:
        async for line in lines:
            moment, _, text = line.text.partition(" ")
            found.append((moment, LogLine(one.name, text)))
    return found


async def _follow(one: Instance, tail: int | None, since: str | None, queue: asyncio.Queue[LogLine]) -> None:
    async with aclosing(process.stream(_argv(one, tail, since, "--follow"), check=False)) as lines:
        async for line in lines:
            await queue.put(LogLine(one.name, line.text))


async def _later(
    project: str,
    service: str | None,
    known: set[str],
    queue: asyncio.Queue[LogLine],
    group: asyncio.TaskGroup,
) -> None:
    """Follow what starts from now on; a restarted container ends its log, so it is followed again."""
    argv = ["docker", "events", "--format", "{{.ID}}", "--filter", "event=start"]
    argv += ["--filter", f"label={docker.PROJECT_LABEL}={project}"]
    async with aclosing(process.stream(argv)) as lines:
        async for line in lines:
            tail = 0 if line.text in known else None
            for one in await docker.containers(project):
                if one.id == line.text and service in (None, one.service):
                    known.add(one.id)
                    group.create_task(_follow(one, tail, None, queue))
