"""The stack on a kind cluster of its own, which is made here and goes when a person says so."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from devenv import portforward
from devenv.backends.kubernetes import Kubernetes
from devenv.backends.manifests import NAMESPACE
from devenv.backends.pods import moment
from devenv.errors import DevenvError, NotFit
from devenv.model.events import Note, unnoted
from devenv.model.instance import Instance
from devenv.model.stack import Stack
from devenv.tools import apiserver, docker, kind, programs
from devenv.tools.kubectl import Cluster, Object, condition, holds, name_of
from devenv.tools.programs import KIND, KUBECTL
from devenv.tools.registry import Registry

NODE_LABEL = "io.x-k8s.kind.cluster"
_READY = 120.0
"""Seconds in which the nodes of a new cluster must be ready, or those that were stopped answer again."""
_MADE = 480.0
"""Seconds until a cluster is not waited for any more: more than its making gets, whose failure says why."""
_PODS = 60.0
"""Seconds in which what ran in nodes that have just started runs again."""
_BACK = 15.0
"""Seconds in which one that runs must answer, before anything is begun."""
_ANSWER = 5.0
"""The same where somebody only looks. A busy machine takes its time, too."""
_PINNED = {"node": "its node", "server": "its address", "authority": "its certificate authority"}


@dataclass(frozen=True, slots=True)
class _Node:
    """A container."""

    id: str
    name: str
    state: str
    since: str
    """`Up 3 seconds (Paused)`, as the engine has it."""

    @property
    def is_young(self) -> bool:
        """It has run for less than two minutes."""
        return "second" in self.since or ("minute" in self.since and not re.search(r"\d", self.since))


class Kind(Kubernetes):
    """The cluster has the stack's name; its kubeconfig lies in `folder`: the user's own is not touched.

    `config` is k8s/kind.yaml.
    """

    def __init__(self, stack: Stack, overlay: Path, folder: Path, *, config: Path) -> None:
        self._name = stack.stack.name
        self._main = f"{self._name}-control-plane"
        """The node that every kind cluster has."""
        self._config = config
        self._kubeconfig = folder / "kubeconfig"
        self._pin = folder / "cluster.json"
        self._making = folder / "making"
        """There while kind makes the cluster."""
        self._registry = Registry(self._name, stack.registry.port)
        self._waking = asyncio.Lock()
        cluster = Cluster(self._kubeconfig, f"kind-{self._name}", NAMESPACE)
        super().__init__(stack, cluster, overlay, folder)

    async def check(self) -> None:
        """Also wakes the cluster: its nodes are started where they are stopped."""
        # Before anything is waited for, so that `instances`, asked at the same time, comes after it.
        async with self._waking:
            await docker.call("version", "--format", "{{.Server.Version}}")
            nodes = await self._nodes()
            asleep = [node for node in nodes if node.state != "running"]
            if paused := [node.id for node in asleep if node.state == "paused"]:
                await docker.call("unpause", *paused)
            if stopped := [node.id for node in asleep if node.state != "paused"]:
                await docker.call("start", *stopped)
            if nodes:
                await self._until_it_answers(nodes, _READY if asleep else _BACK)
            if asleep or any(node.is_young for node in nodes):
                await self._until_its_pods_are_back(nodes)

    async def provide(self) -> bool:
        if await self._nodes():
            return False
        await self._find_kubectl()
        await self._remove_half_made()
        config = self._folder / "kind.yaml"
        config.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        config.write_text(with_workers(self._config.read_text(), self._stack.kind.workers))
        self._pin.unlink(missing_ok=True)
        self._making.touch()
        try:
            # Its node becomes ready while images are brought into it, and the stack is applied.
            await kind.create(self._name, config, self._stack.images.node, self._kubeconfig, 0)
        finally:
            # kind has cleared up, and so have we where we were cancelled.
            self._making.unlink(missing_ok=True)
        await self._nodes()
        if await self._registry.runs():
            await self.join_registry()
        return True

    async def _remove_half_made(self) -> None:
        """What a devenv that was killed meanwhile has left; another's cluster of this name stays."""
        if not await self._listed():
            self._making.unlink(missing_ok=True)
        elif self._making.exists():
            await kind.delete(self._name, self._kubeconfig)
            self._making.unlink(missing_ok=True)
        else:
            program = await programs.path(KIND)
            raise DevenvError(
                f"there is a kind cluster {self._name} that this devenv has not made",
                f"there is no kubeconfig of it in {self._folder}",
                "give the stack another [stack] name in devenv.toml; or, if nobody needs that cluster:"
                f" {program} delete cluster --name {self._name}",
            )

    async def instances(self, *, ask_gates: bool = True) -> list[Instance]:
        async with self._waking:
            nodes = await self._nodes()
            if not nodes:
                return []
            if asleep := [node for node in nodes if node.state != "running"]:
                raise NotFit(
                    f"the cluster {self._name} does not run",
                    ", ".join(f"its node {node.name} is {node.state}" for node in asleep),
                    "devenv up starts it, with all that is in it",
                )
            await self._answers(nodes, _ANSWER)
        return await super().instances(ask_gates=ask_gates)

    async def _nodes(self) -> list[_Node]:
        """Of the cluster that we have made; none where there is none."""
        if not self._kubeconfig.exists():
            return []
        await self._find_kubectl()
        nodes = await self._listed()
        if not nodes:
            # It was deleted by hand; what the files say is of a cluster that is gone.
            self._kubeconfig.unlink(missing_ok=True)
            self._pin.unlink(missing_ok=True)
            return []
        await self._must_be_ours(nodes)
        return nodes

    async def _listed(self) -> list[_Node]:
        mine = ("--all", "--no-trunc", "--filter", f"label={NODE_LABEL}={self._name}")
        listed = await docker.call("ps", *mine, "--format", "{{.ID}} {{.Names}} {{.State}} {{.Status}}")
        return [_Node(*line.split(maxsplit=3)) for line in listed.stdout.splitlines()]

    async def _must_be_ours(self, nodes: Sequence[_Node]) -> None:
        """What is called like our cluster must be the one that we have made, before anything is asked of it.

        This guards against one that was deleted and made again by hand under the same name, and against a
        kubeconfig that was written anew and leads elsewhere: the node, the API server's address and its
        certificate authority are those of the first time. At each call that follows, kubectl holds the API
        server to that authority, which no two clusters share.
        """
        server = apiserver.of(self._kubeconfig)
        main = next((node.id for node in nodes if node.name == self._main), "")
        now = {"node": main, "server": str(server or ""), "authority": server.authority if server else ""}
        try:
            pinned = json.loads(self._pin.read_text())
        except FileNotFoundError:
            self._pin.write_text(json.dumps(now, indent=1) + "\n")
            return
        except ValueError:
            pinned = {}
        other = [what for key, what in _PINNED.items() if pinned.get(key) != now[key]]
        if not other:
            return
        program = await programs.path(KIND)
        raise DevenvError(
            f"the cluster {self._name} is not the one that devenv has made",
            f"changed since: {', '.join(other)}; it was made anew by hand, or {self._kubeconfig} was",
            "nothing in it is touched. If nobody needs it:"
            f" {program} delete cluster --name {self._name} --kubeconfig {self._kubeconfig};"
            " then devenv up makes another one, and devenv snapshot list has what was saved",
        )

    async def _find_kubectl(self) -> None:
        """It may be one that devenv has made, which is not on PATH."""
        if self._cluster.program == KUBECTL.name:
            self._cluster = replace(self._cluster, program=await programs.path(KUBECTL))

    async def _until_it_answers(self, nodes: Sequence[_Node], patience: float) -> None:
        deadline = time.monotonic() + patience
        await self._answers(nodes, patience)
        while True:
            try:
                return await super().check()
            except NotFit:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    async def _until_its_pods_are_back(self, nodes: Sequence[_Node]) -> None:
        """A node that has just started tells for a while what was before. Who never comes, others tell of."""
        since = max(await asyncio.gather(*(docker.started(node.id) for node in nodes)))
        deadline = time.monotonic() + _PODS
        while time.monotonic() < deadline:
            if all(is_back(pod, since) for pod in await self._pods()):
                return
            await asyncio.sleep(0.5)

    async def _answers(self, nodes: Sequence[_Node], patience: float) -> None:
        """NotFit where its API server does not, known sooner than from kubectl."""
        server = apiserver.of(self._kubeconfig)
        if server is not None and (why := await server.silent(patience)):
            names = " ".join(node.name for node in nodes)
            raise NotFit(
                f"the cluster {self._name} does not answer",
                f"its API server does not, for {patience:g} s: {why}",
                f"try again in a moment; if it stays so: docker restart {names}, which keeps the content",
            )

    async def secrets_there(self) -> dict[str, str]:
        """kind writes the kubeconfig last: before that, nobody can have made any."""
        return await super().secrets_there() if self._kubeconfig.exists() else {}

    async def remove_place(self) -> bool:
        if not self._kubeconfig.exists():
            return False
        await portforward.stop(self._forward)
        await kind.delete(self._name, self._kubeconfig)
        self._kubeconfig.unlink(missing_ok=True)
        self._pin.unlink(missing_ok=True)
        return True

    async def images(self, release: str) -> dict[str, str]:
        """As Kubernetes calls what its nodes have: the engine may know the same image by another digest."""
        here = await super().images(release)
        held = await asyncio.gather(*(kind.held(self._main, self._stack.image(one, release)) for one in here))
        return {
            service: known[:2][-1] if digest in known else digest
            for (service, digest), known in zip(here.items(), held, strict=True)
        }

    async def bring(self, releases: Mapping[str, str], note: Note = unnoted) -> list[str]:
        images = [self._stack.image(*one) for one in releases.items()]
        await docker.must_run(images, f"the node {self._main}")
        if self._kubeconfig.exists() or await self._registry.runs():
            await self._until_it_is_made(note)
            return await self._load(images)
        # Not before Kubernetes runs: both write as much as the disk takes, and the cluster would come later
        # by more than the images come sooner. But they are read while it is made; it has none of them yet.
        async with kind.archive(images) as file:
            await self._until_it_is_made(note)
            await kind.load_archive(self._name, file, await kind.nodes(self._name))
        return images

    async def _until_it_is_made(self, note: Note) -> None:
        """kind writes the kubeconfig last."""
        deadline = time.monotonic() + _MADE
        if not self._kubeconfig.exists():
            note("waits for the cluster")
        while not self._kubeconfig.exists():
            if time.monotonic() > deadline:
                raise DevenvError(
                    f"the cluster {self._name} is not there",
                    f"kind has not made it after {_MADE:g} s",
                    f"see: docker logs {self._main}",
                )
            await asyncio.sleep(0.2)
        note("")

    async def start(self, *, replace: str | None = None, note: Note = unnoted) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                # Beside each other: what is applied meanwhile, the node begins with at once.
                group.create_task(self._until_its_nodes_are_ready())
                group.create_task(super().start(replace=replace, note=note))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _load(self, images: Sequence[str]) -> list[str]:
        """Through the stack's own registry where that runs, which is faster."""
        brought: list[str] = []
        if await self._registry.runs():
            with suppress(DevenvError):
                await self._registry.join(await kind.nodes(self._name))
                if await self._registry.answers():
                    brought = await kind.pull(self._name, images, self._registry.host)
        # A cluster that was made before nodes knew of it, a registry that has no room: then as without it.
        return brought + await kind.load(self._name, images)

    async def join_registry(self) -> bool:
        nodes = [node.name for node in await self._nodes() if node.state == "running"]
        await self._registry.join(nodes)
        if nodes:
            await self._cluster.apply(self._registry.hosting())
        return bool(nodes)

    async def _until_its_nodes_are_ready(self) -> None:
        """As `kind create cluster --wait` does."""
        wait = ("wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={_READY:g}s")
        await self._cluster.call(*wait, timeout=_READY + _ANSWER, check=False)
        if waiting := [one for one in await self._cluster.get("nodes") if not holds(one, "Ready")]:
            why = condition(waiting[0], "Ready") or {}
            raise DevenvError(
                f"the node {name_of(waiting[0])} does not become ready",
                why.get("message", "") or f"it is not after {_READY:g} s",
                f"see: {self._cluster.by_hand('describe', 'node', name_of(waiting[0]))}",
            )


def is_back(pod: Object, since: float) -> bool:
    """Whether what ran in it before has started again since then, and is ready."""
    status: Object = next(iter(pod.get("status", {}).get("containerStatuses") or ()), {})
    if "deletionTimestamp" in pod["metadata"] or not status.get("containerID"):
        return True
    started = status.get("state", {}).get("running", {}).get("startedAt")
    # Kubernetes has whole seconds.
    return bool(started) and moment(started) >= since - 1 and holds(pod, "Ready")


def with_workers(config: str, workers: int) -> str:
    """k8s/kind.yaml, whose last list is that of the nodes, with so many more."""
    return config.rstrip("\n") + "\n" + "  - role: worker\n" * workers
