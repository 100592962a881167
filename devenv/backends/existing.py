"""The stack in one namespace of a cluster that is there already, and that others may use as well."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from devenv import portforward
from devenv.backends import namespace
from devenv.backends.kubernetes import Kubernetes
from devenv.backends.manifests import OURS
from devenv.backends.protocol import SERVICES
from devenv.errors import DevenvError, OtherContent, UsageError, WrongPlatform
from devenv.model import rights
from devenv.model.contexts import refusal
from devenv.model.events import LogLine, Note, unnoted
from devenv.model.instance import Instance
from devenv.model.registry import Pushed, reference, release
from devenv.model.stack import Stack
from devenv.tools import kubeconfig, programs
from devenv.tools.kubeconfig import Endpoint
from devenv.tools.kubectl import RIGHTS, Cluster, Forbidden, Object, name_of
from devenv.tools.programs import KUBECTL

_PIN = "cluster.json"
_AUTHORITY = "ca.crt"
_NOWHERE = ("--server", "https://127.0.0.1:1")
"""Until it is known which cluster it is, none is reached."""
_POD_SECURITY = "pod-security.kubernetes.io/enforce"


class Images(Protocol):
    """Those of this machine, and of registries."""

    def here(self, service: str, release: str) -> Awaitable[tuple[str, ...]]:
        """The platforms that this machine has it for; the engine's own is an empty one."""

    def own_platform(self) -> Awaitable[str]: ...

    def find(self, reference: str) -> Awaitable[Pushed | None]:
        """What a registry has."""

    def push(
        self, service: str, release: str, platforms: Sequence[str], reference: str, note: Note, *, force: bool
    ) -> Awaitable[Pushed]: ...


class ExistingCluster(Kubernetes):
    """`destination` says where images are pushed to; `role` is k8s/rbac/role.json.

    A context says who one is there. Which cluster it is, is written down when it is first used: its server
    and certificate authority are named at each call, whatever the kubeconfig says by then.
    """

    def __init__(
        self,
        stack: Stack,
        overlay: Path,
        folder: Path,
        *,
        images: Images,
        destination: Callable[[], Awaitable[str]],
        role: Path,
    ) -> None:
        self._images = images
        self._destination = destination
        self._role = role
        self._found: dict[tuple[str, str], Pushed] = {}
        """What the registry has of each service's release."""
        self._replaced: str | None = None
        """The service whose Deployment gets the registry's image now."""
        self._checking = asyncio.Lock()
        self._pinning = asyncio.Lock()
        self._pinned = False
        cluster = Cluster(None, stack.cluster.context, stack.cluster.namespace, pin=_NOWHERE)
        super().__init__(stack, cluster, overlay, folder)
        # The namespace may have another stack, which is another's.
        self.ours = f"{OURS},{namespace.STACK}={stack.stack.name}"
        # What is served to the world is not for us to say.
        self.kinds = self.kinds.replace("ingresses,", "")

    # Which cluster

    async def check(self) -> None:
        # Whoever asks at the same time waits: all that is missing is to be told, not the first of it.
        async with self._checking:
            self._found.clear()
            await self._must_be_pinned(anew=True)
            await super().check()
            await self._must_be_allowed()

    async def instances(self, *, ask_gates: bool = True) -> list[Instance]:
        async with self._checking:
            await self._must_be_pinned()
        return await super().instances(ask_gates=ask_gates)

    async def logs(
        self, service: str | None, *, follow: bool, tail: int | None, since: str | None
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        await self._must_be_pinned()
        async with aclosing(super().logs(service, follow=follow, tail=tail, since=since)) as read:
            async for lines in read:
                yield lines

    async def changes(self) -> AsyncGenerator[None, None]:
        await self._must_be_pinned()
        async with aclosing(super().changes()) as told:
            async for one in told:
                yield one

    async def _must_be_pinned(self, *, anew: bool = False) -> None:
        async with self._pinning:
            if anew or not self._pinned:
                program = await programs.path(KUBECTL)
                pin = await self._pin(anew)
                self._cluster = replace(self._cluster, program=program, pin=pin)
                self._pinned = True

    async def _pin(self, anew: bool) -> tuple[str, ...]:
        name = self._stack.cluster.context
        names = await kubeconfig.contexts()
        if not name:
            raise UsageError(
                "no context is named",
                "devenv does not take the current one: that can change at any time",
                f"name one: devenv up --backend cluster --context NAME; {_choice(names)}",
            )
        if name not in names:
            raise await self._gone(name, names)
        found = await kubeconfig.endpoint(name)
        if why := refusal(name, found.server, self._stack.cluster.allow):
            raise UsageError(
                f"the context {name} is not allowed",
                f"{why}; devenv changes what runs there",
                f'if that is meant, allow it in devenv.toml: [cluster] allow = ["{name}"]',
            )
        if found.unchecked or not found.authority or not found.server.startswith("https://"):
            raise UsageError(
                f"nothing in the context {name} says whose certificate its server must have",
                "without that, nobody can tell that it is the same cluster each time",
                "give its cluster an https server and certificate-authority-data in the kubeconfig, and no"
                " insecure-skip-tls-verify",
            )
        if anew:
            await self._adopt(found, names)
        return self._keep(name, found)

    async def _adopt(self, found: Endpoint, names: Sequence[str]) -> None:
        """What is known of this cluster by another name, if there is no context of that name any more."""
        used = (self._settings.name, self._restore.name)
        if any((self._folder / name).exists() for name in used):
            return
        for path in self._folder.parent.glob(f"*/{_PIN}"):
            known = _read(path)
            same = _identity(known) == found.identity and known.get("namespace") == self._cluster.namespace
            was_used = any((path.parent / name).exists() for name in used)
            if same and was_used and known.get("context") not in names:
                await portforward.stop(path.parent / portforward.FOLDER)
                # Ours may be there, from when somebody only looked. Nothing goes before it is copied.
                shutil.copytree(path.parent, self._folder, dirs_exist_ok=True)
                (self._folder / _PIN).unlink()
                shutil.rmtree(path.parent)
                return

    def _keep(self, name: str, found: Endpoint) -> tuple[str, ...]:
        path, authority = self._folder / _PIN, self._folder / _AUTHORITY
        pinned = _read(path)
        if pinned and _identity(pinned) != found.identity:
            changed = ", ".join(what for what, value in found.identity.items() if pinned.get(what) != value)
            raise DevenvError(
                f"the context {name} leads to another cluster than before",
                f"changed since: {changed}; it was {pinned.get('server')}, and is {found.server}",
                f"nothing in it is touched. If that is meant: rm {path}; what was saved is in"
                " devenv snapshot list",
            )
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not pinned:
            authority.write_bytes(found.authority)
            about = {"context": name, "namespace": self._cluster.namespace}
            path.write_text(json.dumps(about | found.identity, indent=1) + "\n")
        pin = ("--server", found.server, "--certificate-authority", str(authority))
        return (*pin, "--tls-server-name", found.server_name) if found.server_name else pin

    async def _gone(self, name: str, names: Sequence[str]) -> DevenvError:
        """It may only have got another name."""
        next_step = _choice(names)
        if pinned := _read(self._folder / _PIN):
            known = await asyncio.gather(*map(kubeconfig.endpoint, names), return_exceptions=True)
            same = [
                other
                for other, one in zip(names, known, strict=True)
                if isinstance(one, Endpoint) and one.identity == _identity(pinned)
            ]
            if same:
                next_step = f"{same[0]} leads to the same cluster: devenv up --context {same[0]}"
        return UsageError(f"there is no context {name}", "your kubeconfig has none of that name", next_step)

    # What one may do

    async def _must_be_allowed(self) -> None:
        """All that is needed is told at once, before anything is begun."""
        wanted = list(rights.of(json.loads(self._role.read_text(encoding="utf-8"))["rules"]))
        reviews = [right.review(self._cluster.namespace) for right in wanted]
        allowed = await self._cluster.review(reviews)
        lacking = [str(right) for right, may in zip(wanted, allowed, strict=True) if not may]
        if lacking:
            raise Forbidden(
                f"you may not do in {self._cluster.namespace} what devenv does there",
                f"the context {self._cluster.context} lacks: {', '.join(lacking)}",
                RIGHTS,
            )

    async def provide(self) -> bool:
        """The namespace, where it is missing and we may make it. It is never removed."""
        name = self._cluster.namespace
        if await self.staying("namespace", name):
            return False
        made = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {_POD_SECURITY: "restricted", namespace.PART_OF: namespace.DEVENV},
            },
        }
        try:
            await self._cluster.create(made)
        except Forbidden as error:
            raise DevenvError(
                f"there is no namespace {name}",
                f"and you may not make it: {error.what}",
                f"ask who administers the cluster: kubectl create namespace {name}; or name another in"
                " devenv.toml: [cluster] namespace",
            ) from error
        return True

    # Images

    async def image(self, service: str, release: str) -> str:
        """By digest: a name can come to mean something else."""
        found = await self._in_registry(service, release)
        if found is None:
            raise DevenvError(
                f"there is no {service}:{release} in the registry",
                "the nodes pull from it",
                f"push it: devenv push --release {release}",
            )
        return f"{found.reference}@{found.digest}"

    async def applied(self, service: str, wanted: str) -> str:
        """What runs of this release stays, whatever the registry has by now, unless it is to be replaced."""
        if service != self._replaced:
            for one in await self._cluster.get("deployments", "--selector", self.ours):
                image = str(one["spec"]["template"]["spec"]["containers"][0]["image"])
                if name_of(one) == service and release(image, service) == wanted:
                    return image
        return await self.image(service, wanted)

    async def start(self, *, replace: str | None = None, note: Note = unnoted) -> None:
        self._replaced = replace
        try:
            await super().start(replace=replace, note=note)
        finally:
            self._replaced = None

    async def images(self, release: str) -> dict[str, str]:
        """As the registry has them: nodes call them the same. None where it does not answer."""
        try:
            found = await asyncio.gather(*(self._in_registry(one, release) for one in SERVICES))
        except DevenvError:
            return {}
        return {one: its.digest for one, its in zip(SERVICES, found, strict=True) if its}

    async def _in_registry(self, service: str, release: str) -> Pushed | None:
        if found := self._found.get((service, release)):
            return found
        found = await self._images.find(await self._name(service, release))
        if found:
            self._found[service, release] = found
        return found

    async def _name(self, service: str, release: str) -> str:
        return reference(await self._destination(), self._stack.registry.naming, service, release)

    async def bring(self, releases: Mapping[str, str], note: Note = unnoted) -> list[str]:
        """To the registry."""
        self._found.clear()
        nodes = await self._nodes()
        # Each to its end: that there is other content of one is no reason to do without the other.
        ends = await asyncio.gather(
            *(self._bring(*one, nodes, note) for one in releases.items()), return_exceptions=True
        )
        failures = [one for one in ends if isinstance(one, BaseException)]
        for one in sorted(failures, key=lambda one: isinstance(one, OtherContent)):
            raise one
        return [one.reference for one in ends if isinstance(one, Pushed) and one.new]

    async def _bring(self, service: str, release: str, nodes: Mapping[str, str], note: Note) -> Pushed:
        name, here, own = await asyncio.gather(
            self._name(service, release), self._images.here(service, release), self._images.own_platform()
        )
        platforms = {one or own: one for one in here}
        wanted = set(nodes.values()) or {own, *self._stack.build.platforms}
        # What no node needs is not sent; but where nothing fits, what there is goes to be told of.
        sent = [one for platform, one in platforms.items() if platform in wanted] or list(here)
        if sent:
            try:
                pushed = await self._images.push(service, release, sent, name, note, force=False)
            except OtherContent:
                self._must_fit(service, release, await self._images.find(name), nodes)
                raise
        else:
            found = await self._images.find(name)
            if found is None:
                raise DevenvError(
                    f"there is no image {self._stack.image(service, release)}",
                    f"neither on this machine nor as {name}",
                    f"build it: devenv build --release {release}",
                )
            pushed = found
        self._found[service, release] = pushed
        self._must_fit(service, release, pushed, nodes)
        return pushed

    def _must_fit(self, service: str, release: str, found: Pushed | None, nodes: Mapping[str, str]) -> None:
        """Any node may get the pod."""
        if found is None or not found.platforms:
            return
        for node, platform in nodes.items():
            if platform not in found.platforms:
                all_of_them = ",".join(sorted({*found.platforms, *nodes.values()}))
                has = ", ".join(found.platforms)
                raise WrongPlatform(
                    f"{service}:{release} is for {has}, and the node {node} is {platform}",
                    "its programs would end with: exec format error",
                    f"build and push it for all: devenv push --platform {all_of_them} --release {release}"
                    "; or let devenv do it: --build-missing",
                    missing=sorted({*nodes.values()} - {*found.platforms}),
                )

    async def _nodes(self) -> dict[str, str]:
        """The platform of each node that takes pods; empty where one may not know."""
        try:
            found = await self._cluster.get("nodes")
        except Forbidden:
            return {}
        return {name_of(one): _platform(one) for one in found if _takes_pods(one)}


def _takes_pods(node: Object) -> bool:
    """Ours, that is. What Kubernetes itself says of a node that is away passes."""
    taints = node["spec"].get("taints") or ()
    kept_free = any(
        one["effect"] != "PreferNoSchedule" and not one["key"].startswith("node.kubernetes.io/")
        for one in taints
    )
    linux = node["status"]["nodeInfo"]["operatingSystem"] == "linux"
    return linux and not kept_free and not node["spec"].get("unschedulable")


def _platform(node: Object) -> str:
    about = node["status"]["nodeInfo"]
    return f"{about['operatingSystem']}/{about['architecture']}"


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        # Not taken for one that says nothing: then any cluster would do.
        return {"server": f"unknown, {path} cannot be read"}


def _identity(pinned: Mapping[str, str]) -> dict[str, str]:
    return {what: pinned.get(what, "") for what in ("server", "authority", "server_name")}


def _choice(names: Sequence[str]) -> str:
    return f"there are: {', '.join(names)}" if names else "your kubeconfig has no context at all"
