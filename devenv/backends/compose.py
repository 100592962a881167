"""The stack on docker compose. Containers are known by id and label, and no command is hidden."""

from __future__ import annotations

import asyncio
import json
import tarfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from devenv.backends import gates, settings, snapshots
from devenv.backends.protocol import HTTPD, PHP_FPM, SERVICES, By, Kept
from devenv.errors import CommandFailed, DevenvError, NotFit
from devenv.logs import sources
from devenv.logs.containers import Containers
from devenv.model.events import LogLine, Note, unnoted
from devenv.model.instance import Gate, Instance
from devenv.model.platform import did_not_come_up
from devenv.model.stack import Stack
from devenv.tools import docker, ports, process

GRACE = 180
"""`stop_grace_period` of compose.yaml: a stop is a hand-over or a snapshot, never cut short by us."""
_SNAPSHOTS = "/snapshots"
"""Where compose.yaml mounts the volume that an instance saves its content to."""
_VOLUME = "_snapshots"
"""What compose calls that volume, after the project."""
_SIGNATURE = f"{_SNAPSHOTS}/owner.json"
"""See devenv/handover/mark.py."""
_ENDS = ("running", "restarting", "paused")
"""States from which a container can be stopped."""
_RECORD, _JOURNAL = 1 << 20, 64 << 20
"""Bytes of these files that are read of a stopped instance. A journal of 64 MiB has some 300,000 events."""
_PORT_TAKEN = ("port is already allocated", "address already in use")
_CHANGES = ("start", "die", "destroy", "health_status", "pause", "unpause", "rename")
_FOLLOW = "600"
"""A journal is followed so many seconds at most: docker leaves the follower behind when we go."""


class Compose:
    """The stack of one compose project. `file` is used as it stands; `env_file` holds its values."""

    def __init__(self, stack: Stack, file: Path, env_file: Path) -> None:
        self._stack = stack
        self._env_file = env_file
        self._app = Path("/app")
        self._record = self._app / Path(stack.app.database).parent / ".gate"
        self._file = file

    @property
    def _project(self) -> str:
        return self._stack.stack.name

    async def _containers(self) -> list[Instance]:
        return [one.instance for one in await docker.containers(self._project) if self._is_ours(one)]

    def _is_ours(self, one: docker.Container) -> bool:
        """Made from an image of devenv's, or by our compose file: a project's name is anybody's."""
        made_by = one.labels.get(docker.FILES_LABEL, "").split(",")
        of_ours = docker.IMAGE_LABEL in one.labels or str(self._file) in made_by
        return of_ours and one.instance.service in SERVICES

    async def _alone(self) -> list[Instance]:
        """Ours, where there are no others: compose takes all containers of a name for one project, and
        replaces and removes them as such.
        """
        found = await docker.containers(self._project)
        if others := [one.instance.name for one in found if not self._is_ours(one)]:
            raise NotFit(
                f"another compose project is called {self._project}",
                f"{', '.join(others)} is not of this stack",
                "set another [stack] name in devenv.toml; or end the other one, with its own compose file",
            )
        return [one.instance for one in found]

    async def _compose(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        argv = ["docker", "compose", "-f", str(self._file)]
        # The command is one that a person can repeat; but a file that was removed must not stop a `down`.
        if self._env_file != self._file.parent / ".env" and self._env_file.exists():
            argv += ["--env-file", str(self._env_file)]
        with docker.engine_errors():
            await process.run(
                [*argv, *arguments], env={**self._environment(), **(env or {})}, timeout=timeout
            )

    def _environment(self) -> dict[str, str]:
        """What a shell happens to export (PORT, APP_SECRET, …) wins over the file of the settings: so they
        are given in both places. The secrets as well: an environment is private, unlike an argv.
        """
        return {
            "COMPOSE_ENV_FILES": "",
            "COMPOSE_PROFILES": "",
            **self._values(),
            **settings.read(self._env_file),
            # Also where there are no settings yet: never another stack than this one.
            "COMPOSE_PROJECT_NAME": self._project,
        }

    def _values(self) -> dict[str, str]:
        """What devenv.toml has to say to the compose file."""
        app = self._stack.app
        return {
            "COMPOSE_PROJECT_NAME": self._project,
            "IMAGE_PREFIX": self._stack.image_prefix,
            "PORT": str(self._stack.stack.port),
            "GATE_DATABASE": str(self._app / app.database),
            "GATE_DOCUMENT_ROOT": str(self._app / app.document_root),
            "GATE_WARMUP": app.warmup,
        }

    async def check(self) -> None:
        await docker.check_compose()

    async def provide(self) -> bool:
        """The engine is the place."""
        return False

    async def remove_place(self) -> bool:
        return False

    def by_hand(self, verb: By, instance: Instance) -> str:
        return {
            "log": f"docker logs {instance.name}",
            "look": f"docker inspect {instance.name}",
            "restart": f"docker restart {instance.name}",
            "stop": f"docker stop {instance.name}",
            "fingerprint": f"docker exec {instance.name} gate fingerprint",
            "snapshot": f"docker exec {instance.name} gate snapshot -o -",
        }[verb]

    async def instances(self, *, ask_gates: bool = True) -> list[Instance]:
        found = await self._containers()
        if not ask_gates:
            return found
        gates = await asyncio.gather(*(self._gate_of(instance) for instance in found))
        return [replace(instance, gate=gate) for instance, gate in zip(found, gates, strict=True)]

    async def _gate_of(self, instance: Instance) -> Gate | None:
        if instance.service != PHP_FPM or instance.state == "created":
            return None
        return await self.gate(instance)

    async def gate(self, instance: Instance) -> Gate | None:
        if not instance.running:
            return await self._gate_from_record(instance)
        answer = await docker.call("exec", instance.id, "gate", "status", check=False, timeout=20)
        if answer.code != 0:
            return None
        with _readable(instance):
            return Gate.from_json(json.loads(answer.stdout))

    async def _gate_from_record(self, instance: Instance) -> Gate | None:
        """A stopped instance still holds its record, which is what it would go on from."""
        raw = await self._read(instance, self._record / "record.json", _RECORD)
        if raw is None:
            return None
        with _readable(instance):
            record = json.loads(raw)
            kept = {name: record[name] for name in ("uid", "role", "epoch")}
            now = {"release": instance.tag, "lineage": record["lineage"] or None}
            now |= {name: record[name] for name in ("served", "staged", "successor") if name in record}
            return Gate.from_json({**kept, **now, "state": "stopped", "ready": False})

    def releases(self) -> dict[str, str]:
        values = settings.read(self._env_file)
        return {
            service: values[key] for service in SERVICES if (key := settings.release_key(service)) in values
        }

    async def prepare(self, releases: Mapping[str, str]) -> bool:
        lost = {} if settings.has_secrets(self._env_file) else await self._secrets_of_running()
        return settings.write(
            self._env_file,
            {
                **lost,
                **self._values(),
                **{settings.release_key(service): release for service, release in releases.items()},
            },
        )

    async def _secrets_of_running(self) -> dict[str, str]:
        """Settings that were removed while instances run: a successor with new secrets would be refused."""
        found = await self._containers()
        for one in (one for one in found if one.service == PHP_FPM and one.running):
            files = [f"/run/secrets/{name}" for name in settings.SECRETS.values()]
            said = await docker.call("exec", one.id, "cat", *files, check=False)
            size = settings.SECRET_LENGTH
            if said.code == 0 and len(said.stdout) == size * len(files):
                values = (said.stdout[start : start + size] for start in range(0, size * len(files), size))
                return dict(zip(settings.SECRETS, values, strict=True))
        return {}

    async def images(self, release: str) -> dict[str, str]:
        names = {self._stack.image(service, release): service for service in SERVICES}
        found = await docker.inspect_images(list(names))
        return {names[name]: image.digest for name, image in found.items()}

    async def join_registry(self) -> bool:
        return False

    async def bring(self, releases: Mapping[str, str], note: Note = unnoted) -> list[str]:
        await docker.must_run([self._stack.image(*one) for one in releases.items()])
        return []

    async def start(self, *, replace: str | None = None, note: Note = unnoted) -> None:
        await asyncio.gather(self.bring(self.releases()), self._alone())
        one = ["--no-deps", replace] if replace else ["--no-recreate"]
        await self._up(["--wait", *one])

    async def start_beside(
        self, release: str, seen: Callable[[Instance], None], note: Note = unnoted
    ) -> None:
        before = [one for one in await self._alone() if one.service == PHP_FPM]
        watch = asyncio.create_task(self._watch_for_new({one.id for one in before}, time.time(), seen))
        try:
            await self._up(
                ["--no-recreate", "--no-deps", "--scale", f"{PHP_FPM}={len(before) + 1}", PHP_FPM],
                {settings.release_key(PHP_FPM): release},
            )
            # The hook can be over before the news of the start has come through.
            await asyncio.wait_for(watch, 10)
        finally:
            watch.cancel()

    async def _watch_for_new(self, known: set[str], since: float, seen: Callable[[Instance], None]) -> None:
        filters = ("event=start", f"label={docker.PROJECT_LABEL}={self._project}")
        argv = ["docker", "events", "--since", f"{since:.3f}", "--format", "{{.ID}}"]
        argv += [word for text in filters for word in ("--filter", text)]
        async with aclosing(process.stream(argv, follows=True)) as lines:
            async for line in lines:
                if line.stream == "stdout" and line.text.strip() not in known:
                    for instance in await self._containers():
                        if instance.id == line.text.strip() and instance.service == PHP_FPM:
                            seen(instance)
                            return

    async def revive(self, instance: Instance) -> None:
        await docker.call("start", instance.id)

    async def hook(self, instance: Instance) -> None:
        await self._ask(instance, "hook", timeout=GRACE)

    async def gate_events(
        self, instance: Instance, *, follow: bool
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        if not instance.running:
            for event in await self._journal(instance):
                yield event
            return
        argv = ["docker", "exec", instance.id, "gate", "events"]
        if follow:
            argv[3:] = ["timeout", _FOLLOW, "gate", "events", "--follow"]
        async with aclosing(process.stream(argv, check=False, follows=follow)) as lines:
            async for line in lines:
                if line.stream == "stdout" and (told := gates.event(line.text)):
                    yield told

    async def fingerprint(self, instance: Instance) -> Mapping[str, Any]:
        said = await self._ask(instance, "fingerprint", timeout=600)
        return gates.fingerprint(instance.name, self.by_hand("log", instance), said)

    async def snapshot(self, instance: Instance, into: Path) -> Mapping[str, Any]:
        argv = ["docker", "exec", instance.id, "gate", "snapshot", "-o", "-"]
        with docker.engine_errors():
            return await snapshots.receive(
                into, lambda file: self._gate_errors(process.run(argv, stdout=file, timeout=600), instance)
            )

    async def restore(self, instance: Instance, file: Path) -> None:
        argv = ["docker", "exec", "-i", instance.id, "gate", "restore", "-"]
        with file.open("rb") as content, docker.engine_errors():
            await self._gate_errors(process.run(argv, stdin=content, timeout=600), instance)

    async def retire(self, instance: Instance) -> None:
        await self._ask(instance, "retire", timeout=30)

    async def recover(self, instance: Instance, *, force: bool = False) -> Mapping[str, Any]:
        return await gates.recover(lambda *words: self._ask(instance, *words, timeout=120), force=force)

    async def stop(self) -> None:
        async with asyncio.TaskGroup() as group:
            owners = group.create_task(self._owners())
            group.create_task(self._stop(HTTPD))
        # As late as can be: who is interrupted before it leaves an owner that waits for a successor.
        for owner in owners.result():
            with suppress(DevenvError):
                await self.retire(owner)
        await self._stop(PHP_FPM)

    async def _stop(self, *services: str) -> None:
        """Those that run. Side by side, and each as long as it needs: the end of a grace is a SIGKILL."""
        found = await self._containers()
        if ids := [one.id for one in found if one.service in services and one.state in _ENDS]:
            await docker.call("stop", "--time", str(GRACE), *ids, timeout=GRACE + 60)

    async def _owners(self) -> list[Instance]:
        """Those that run. One that cannot be asked is none: at its end it only waits a little longer."""
        with suppress(DevenvError):
            return [one for one in await self.instances() if one.owner and one.running]
        return []

    async def last_snapshot(self, instance: Instance, into: Path) -> bool:
        record, journal = await self._gate_from_record(instance), await self._journal(instance)
        with _readable(instance):
            signature = await docker.read_file(instance.id, _SIGNATURE, _RECORD)
            saved = gates.saved_at_the_end(journal, record.uid if record else "", signature)
        if not saved:
            return False
        if not gates.is_snapshot(saved):
            raise _not_taken(instance, f"its journal names {saved[:200]!r}, which is no file of ours")
        argv = ["docker", "cp", f"{instance.id}:{_SNAPSHOTS}/{saved}", "-"]
        try:
            with docker.engine_errors():
                await snapshots.receive(
                    into, lambda sink: process.run(argv, stdout=sink, timeout=600), docker.only_file
                )
        except (ValueError, tarfile.TarError) as error:
            raise _not_taken(instance, f"{_SNAPSHOTS}/{saved} in it: {error}") from error
        return True

    async def stop_one(self, instance: Instance) -> None:
        await docker.call("stop", "--time", str(GRACE), instance.id, timeout=GRACE + 30)

    async def remove_one(self, instance: Instance) -> None:
        await docker.call("rm", instance.id)

    async def remove_all(self, *, content: bool) -> Sequence[Kept]:
        await self._stop(*SERVICES)
        found = await docker.containers(self._project, one_off=True)
        if ours := [one.instance.id for one in found if self._is_ours(one)]:
            await docker.call("rm", "--force", *ours)
        if len(ours) == len(found):
            await self._compose("down", *(["--volumes"] if content else []), timeout=GRACE + 60)
        elif content:
            # `down` would take the others along.
            await docker.call("volume", "rm", f"{self._project}{_VOLUME}", check=False)
        return await self._kept(content=content)

    async def _kept(self, *, content: bool) -> list[Kept]:
        """What is there yet of what was to be gone."""
        networks, volumes = await asyncio.gather(
            docker.of_project("network", self._project), docker.of_project("volume", self._project)
        )
        kept = [
            Kept(f"the network {name}", ", ".join(await docker.users_of_network(name)), content=False)
            for name in networks
        ]
        if content:
            kept += [
                Kept(f"the volume {name}", ", ".join(await docker.users_of_volume(name)), content=True)
                for name in volumes
                if name == f"{self._project}{_VOLUME}"
            ]
        return kept

    async def logs(
        self, service: str | None, *, follow: bool, tail: int | None, since: str | None
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        of = Containers(self._project, self._containers)
        async with aclosing(sources.merged(of, service, follow, tail, since)) as read:
            async for lines in read:
                yield lines

    async def changes(self) -> AsyncGenerator[None, None]:
        filters = [f"label={docker.PROJECT_LABEL}={self._project}", *(f"event={one}" for one in _CHANGES)]
        argv = ["docker", "events", "--format", "{{.Action}}"]
        argv += [word for text in filters for word in ("--filter", text)]
        with docker.engine_errors():
            async with aclosing(process.batches(argv, follows=True)) as read:
                yield
                async for _ in read:
                    yield

    async def log_tail(self, instance: Instance, lines: int = 20) -> str:
        said = await docker.call("logs", "--tail", str(lines), instance.id, check=False)
        return (said.stdout + said.stderr).strip()

    async def _up(self, arguments: list[str], env: Mapping[str, str] | None = None) -> None:
        try:
            await self._compose("up", "--detach", *arguments, env=env)
        except CommandFailed as error:
            raise await self._explain(error) from error

    async def _explain(self, error: CommandFailed) -> DevenvError:
        """A start that failed: what the gate says is closer to the cause than what compose says."""
        if any(words in error.log_tail for words in _PORT_TAKEN):
            return await self._port_taken(error)
        for instance in reversed(await self.instances()):
            if instance.gate is not None and instance.gate.failed:
                tail = await self.log_tail(instance)
                return gates.failed(instance.name, instance.gate.failed, "see its log below", tail)
            # Its restart policy starts it again and again: it may run at this very moment.
            named = instance.id in error.log_tail
            if named or not instance.running or instance.health == "unhealthy":
                tail = await self.log_tail(instance)
                name, image, tag = instance.name, instance.image, instance.tag
                return did_not_come_up(name, image, tag, error.why, "see its log below", tail)
        return error

    async def _port_taken(self, error: CommandFailed) -> DevenvError:
        port = self._stack.stack.port
        published = await docker.call(
            "ps", "--filter", f"publish={port}", "--format", "{{.Names}}", check=False
        )
        container = published.stdout.strip()
        who = f"container {container}" if container else ports.holder(port) or "another program"
        return DevenvError(
            f"port {port} is taken",
            f"{who} listens on it",
            "end it, or set another [stack] port in devenv.toml",
            error.log_tail,
            exit_code=NotFit.default_exit_code,
        )

    async def _ask(self, instance: Instance, *words: str, timeout: float) -> Mapping[str, Any]:
        with docker.engine_errors():
            asked = process.run(["docker", "exec", instance.id, "gate", *words], timeout=timeout)
            answer = await self._gate_errors(asked, instance)
        with _readable(instance):
            return dict(json.loads(answer.stdout)) if answer.stdout.strip() else {}

    async def _gate_errors(self, asked: Any, instance: Instance) -> process.Completed:
        """The gate says what failed, why and what next: pass that on, not the exit code of docker."""
        try:
            answer: process.Completed = await asked
        except CommandFailed as error:
            if "is not running" in error.log_tail or "is restarting" in error.log_tail:
                raise DevenvError(
                    f"{instance.name} does not run",
                    "it was stopped, or has crashed",
                    f"see why: docker logs {instance.name}; devenv up starts it again",
                ) from error
            raise gates.failure(instance.name, f"docker logs {instance.name}", error) from error
        return answer

    async def _journal(self, instance: Instance) -> list[Mapping[str, Any]]:
        # One that is full goes on in a new file; see devenv/handover/journal.py.
        files = [
            await self._read(instance, self._record / f"events.jsonl{of}", _JOURNAL) for of in (".1", "")
        ]
        lines = [line for raw in files for line in (raw or b"").decode(errors="replace").splitlines()]
        return [event for text in lines if (event := gates.event(text))]

    async def _read(self, instance: Instance, path: Path, limit: int) -> bytes | None:
        """A file of a container, running or not; None where there is none."""
        with _readable(instance):
            return await docker.read_file(instance.id, str(path), limit)


def _not_taken(instance: Instance, why: str) -> DevenvError:
    return DevenvError(
        f"what {instance.name} saved at its end cannot be taken",
        why,
        f"its container is kept, with the content in it; see its log: docker logs {instance.name}",
    )


def _readable(instance: Instance) -> AbstractContextManager[None]:
    return docker.readable(
        instance.name, f"see its log: docker logs {instance.name}; or is it of another devenv than this one?"
    )
