"""The stack in one namespace of a Kubernetes cluster. The manifests of k8s/ are used as they stand."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from devenv import portforward
from devenv.backends import gates, mark, namespace, pods, settings, snapshots
from devenv.backends.manifests import OURS, SECRET, kustomization, rolled_out, rollout, undone
from devenv.backends.protocol import HTTPD, PHP_FPM, RESTORE, SERVICES, By, Kept
from devenv.errors import CommandFailed, DevenvError
from devenv.logs import sources
from devenv.logs.pods import Pods
from devenv.model.events import LogLine, Note, unnoted
from devenv.model.instance import Gate, Instance, is_failure
from devenv.model.platform import did_not_come_up
from devenv.model.stack import Stack
from devenv.tools import docker, http, process
from devenv.tools.kubectl import Cluster, Object, holds, name_of

GRACE = 200
"""`terminationGracePeriodSeconds` of the manifests: an end is a hand-over, never cut short by us."""
_MANAGER = "--field-manager=devenv"
_HOLD = 240
"""`minReadySeconds` during an upgrade: so long the old pod stays beside a new one that is ready, to be
compared with it. Should devenv be gone meanwhile, the rollout goes on by itself then."""
_ROLLOUT = 300.0
"""Seconds in which pods must be ready, images there."""
_TERMINATES = 15.0
"""Seconds in which a namespace that is being deleted is gone."""
_SEEN = 30.0
"""Seconds in which a node has seen that an image has come that a pod waits for."""
_REFUSED = 5.0
"""Seconds in which a pod that was refused is taken, once it is tried again."""
_TRIED = "devenv.io/tried"
"""Annotation of a ReplicaSet: when it was made to try again."""
_STARTS = 60.0
"""Seconds in which the container of a pod starts, image there."""
_SERVES = 30.0
"""Seconds in which a site whose pods are all ready is reached."""
_AGAIN = 20.0
"""Seconds in which a container that has ended is started again, the first time."""
_BACK = 330.0
"""The same for one that has ended often: Kubernetes waits for longer each time, five minutes at most."""
_BEGINS = 120.0
"""Seconds after which nobody begins anew any more because of a look that found nobody. Longer than pods need
to start, most often; one that comes later looks by itself, and takes longer."""
_RETIRED = 30.0
"""Seconds after which an owner is told again that no successor comes, well before it forgets that."""
_TICK = 2.0
"""Seconds after which pods are looked at again, though nothing was told of them."""
_HTTPD_REPLICAS = 2


class Kubernetes:
    """`overlay` is one of k8s/overlays; `folder` is ours, for what is derived from it and the stack."""

    def __init__(self, stack: Stack, cluster: Cluster, overlay: Path, folder: Path) -> None:
        self._stack = stack
        self._cluster = cluster
        self._overlay = overlay
        self._folder = folder
        self._settings = folder / "settings.env"
        self._forward = folder / portforward.FOLDER
        self._restore = folder / RESTORE
        """Holds the path of the snapshot that the next start begins with."""
        self.ours = OURS
        """Selects what belongs to the stack."""
        self.kinds = "deployments,services,ingresses,networkpolicies,poddisruptionbudgets"
        """Of it, but for pods and its Secret."""
        self._failures: dict[str, Mapping[str, Any]] = {}
        """What instances have last failed of, as far as their journals were read."""
        self._ended: dict[str, list[Mapping[str, Any]]] = {}
        """Journals of instances that we have ended: they are gone with their pods."""

    async def check(self) -> None:
        await self._cluster.call("version", "--output=json", "--request-timeout=10s")

    async def provide(self) -> bool:
        """The cluster is another's."""
        return False

    async def remove_place(self) -> bool:
        return False

    # What is there

    async def instances(self, *, ask_gates: bool = True) -> list[Instance]:
        found = [self._instance(pod) for pod in await self._pods()]
        found.sort(key=lambda one: one.created)
        if not ask_gates:
            return found
        return list(await asyncio.gather(*(self._asked(one) for one in found)))

    async def _pods(self, service: str = "") -> list[Object]:
        """Not those that have ended as a whole: an evicted one is still listed, and holds nothing."""
        selector = f"{pods.NAME_LABEL}={service},{self.ours}" if service else self.ours
        return [pod for pod in await self._cluster.get("pods", "--selector", selector) if pods.lives(pod)]

    def _instance(self, pod: Object) -> Instance:
        return pods.instance(pod, self._port())

    def _port(self) -> int:
        """Where requests arrive now; where nobody listens yet, the next start does at the stack's port."""
        running = portforward.state(self._forward)
        return running.port if running else self._stack.stack.port

    async def _asked(self, instance: Instance) -> Instance:
        """With its gate's word. Kubernetes calls a container started only when its hook has ended."""
        if instance.service != PHP_FPM:
            return instance
        gate = await self.gate(instance)
        return replace(instance, gate=gate, state="running" if gate else instance.state)

    async def gate(self, instance: Instance) -> Gate | None:
        answer = await self._exec(instance, "gate", "status", check=False, timeout=20)
        if answer.code != 0:
            return None
        return gates.status(instance.name, self.by_hand("log", instance), answer.stdout)

    def releases(self) -> dict[str, str]:
        values = settings.read(self._settings)
        return {one: values[key] for one in SERVICES if (key := settings.release_key(one)) in values}

    async def images(self, release: str) -> dict[str, str]:
        names = {self._stack.image(service, release): service for service in SERVICES}
        found = await docker.inspect_images(list(names))
        return {names[name]: image.digest for name, image in found.items()}

    # Settings

    async def prepare(self, releases: Mapping[str, str]) -> bool:
        lost = {} if settings.has_secrets(self._settings) else await self.secrets_there()
        return settings.write(
            self._settings,
            {**lost, **{settings.release_key(service): release for service, release in releases.items()}},
        )

    async def secrets_there(self) -> dict[str, str]:
        """Of a cluster whose settings were removed: a successor with new secrets would be refused."""
        for secret in await self._cluster.get("secret", SECRET):
            data = secret.get("data", {})
            with docker.readable("the cluster", f"remove the secret {SECRET}"):
                return {
                    variable: base64.b64decode(data[name]).decode().strip()
                    for variable, name in settings.SECRETS.items()
                    if name in data
                }
        return {}

    async def image(self, service: str, release: str) -> str:
        """What a new pod of it runs."""
        return self._stack.image(service, release)

    async def applied(self, service: str, release: str) -> str:
        """What its Deployment is to name. An instance is never replaced by that."""
        return await self.image(service, release)

    async def _write(self, httpd: int, told: Mapping[str, str] | None) -> None:
        """The kustomization that `kubectl apply -k` reads: the overlay, with this stack's values."""
        images = {one: await self.applied(one, release) for one, release in self.releases().items()}
        values = settings.read(self._settings)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for variable, name in settings.SECRETS.items():
            path = self._folder / name
            path.touch(0o600)
            path.write_text(values[variable])
        overlay = os.path.relpath(self._overlay.resolve(), self._folder.resolve())
        where = self._cluster.namespace
        if told:
            manifest = mark.manifest(self._stack, where, told)
            (self._folder / mark.FILE).write_text(json.dumps(manifest, indent=2) + "\n")
        more = [mark.FILE] if told else []
        made = kustomization(self._stack, images, overlay, httpd=httpd, namespace=where, more=more)
        (self._folder / "kustomization.yaml").write_text(json.dumps(made, indent=2) + "\n")

    # From nothing to a stack that serves

    async def start(self, *, replace: str | None = None, note: Note = unnoted) -> None:
        if replace is None:
            restores = await self._to_restore()
            nobody = await self._nobody(saved=restores)
            if restores:
                # Nobody writes before the content is there.
                await self._apply(httpd=0, told=nobody)
                await self._ready([PHP_FPM], note)
                await self._restore_last()
                nobody = None
            await self._apply(httpd=_HTTPD_REPLICAS, told=nobody)
            await self._ready(SERVICES, note)
            await self._mark()
        elif replace == HTTPD:
            await self._apply(httpd=_HTTPD_REPLICAS)
            await self._ready([HTTPD], note)
        await self._listen()

    async def _nobody(self, *, saved: bool) -> dict[str, str] | None:
        """What to tell the first pod where no instance has content, so that it need not look for long itself.

        `saved`: what the last one had is in a file here. Else a mark stays: who it names is missing.
        """
        there = await self._cluster.get("pods", "--selector", f"{pods.NAME_LABEL}={PHP_FPM},{self.ours}")
        instances = [self._instance(pod) for pod in there]
        if any(one.state != "created" for one in instances):
            return None
        # Kubernetes calls one so until its hook has ended: it can have begun already.
        if any(await asyncio.gather(*(self.gate(one) for one in instances))):
            return None
        if not saved and await self._cluster.get("configmap", mark.NAME):
            return None
        return mark.of_nobody(time.time() + _BEGINS)

    async def _mark(self) -> None:
        """Tell pods to come who has the content, where that is settled."""
        there = [self._instance(pod) for pod in await self._pods(PHP_FPM)]
        asked = await asyncio.gather(*(self._asked(one) for one in there))
        told = [mark.of_owner(one, one.gate) for one in asked if one.gate and one.owner and not one.leaving]
        if len(told) != 1:
            return
        known = await self._cluster.get("configmap", mark.NAME)
        self._must_not_be_foreign(known)
        if [one.get("data") for one in known] != told:
            manifest = mark.manifest(self._stack, self._cluster.namespace, told[0])
            await self._cluster.apply(json.dumps(manifest), _MANAGER)

    async def _mark_again(self) -> None:
        """What was done is done: an older mark is right as well that there is content."""
        with suppress(DevenvError):
            await self._mark()

    async def _listen(self) -> None:
        """On the stack's port of this machine, from now on, also when devenv has ended."""
        at = self._cluster
        kubectl = (at.program, *at.pin)
        target = portforward.Target(at.kubeconfig, at.context, at.namespace, kubectl=kubectl)
        try:
            await portforward.start(self._forward, self._stack.stack.port, target)
        except OSError as error:
            raise DevenvError(
                f"{self._forward} cannot be used",
                str(error),
                "make it yours, and see that the disk is not full",
            ) from error
        # A pod that is ready is not yet known to each node.
        await http.until_it_serves(self._stack.stack.port, self._stack.app.warmup, _SERVES)

    async def join_registry(self) -> bool:
        return False

    async def _apply(self, *, httpd: int, told: Mapping[str, str] | None = None) -> None:
        await self._write(httpd, told)
        await self._must_have_room()
        argv = ["apply", "--server-side", "--force-conflicts", _MANAGER, "--kustomize", str(self._folder)]
        await self._cluster.call(*argv, timeout=120)

    async def _must_have_room(self) -> None:
        """Of all that is to be applied, what is there already must be ours, in a namespace that stays."""
        self._must_not_be_foreign(await self.staying("--kustomize", str(self._folder)))

    def _must_not_be_foreign(self, there: Sequence[Object]) -> None:
        if others := namespace.foreign(there):
            names = ", ".join(map(namespace.called, others))
            raise DevenvError(
                f"the namespace {self._cluster.namespace} has objects that are not devenv's: {names}",
                f"they are called as devenv's own would be, and have no label {self.ours}",
                "nothing was changed. Rename them or delete them, if nobody needs them; to see one:"
                f" {self._cluster.by_hand('describe', others[0]['kind'].lower(), name_of(others[0]))}",
            )
        if stacks := namespace.of_others(there, self._stack.stack.name):
            raise DevenvError(
                f"the namespace {self._cluster.namespace} has another stack: {', '.join(stacks)}",
                "two stacks in one namespace would be one",
                "nothing was changed. Give this one another [cluster] namespace, or end the other one there",
            )

    async def staying(self, *arguments: str) -> list[Object]:
        """What `kubectl get` finds, once the namespace is not among it that is about to go."""
        deadline = time.monotonic() + _TERMINATES
        while True:
            there = await self._cluster.get(*arguments)
            going = namespace.terminating(there)
            if going is None:
                return there
            if time.monotonic() > deadline:
                raise await self._stuck(going)
            await asyncio.sleep(0.5)

    async def _stuck(self, going: Object) -> DevenvError:
        words, kinds = namespace.kept_by(going)
        left = [one for kind in kinds for one in await self._cluster.get(kind)]
        held = namespace.finalizers(left)
        if not held:
            look = self._cluster.by_hand("get", "namespace", self._cluster.namespace)
            next_step = f"wait until it is gone, see: {look}"
        else:
            kind = f"{left[0]['kind'].lower()}/NAME"
            patch = ("patch", kind, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
            next_step = (
                "let whoever has set the finalizers do their work; if they are gone for good, remove each:"
                f" {self._cluster.by_hand(*patch)}; then devenv up"
            )
        return DevenvError(
            f"the namespace {self._cluster.namespace} is being deleted, and does not go",
            f"held by {', '.join(held)}" if held else words or "Kubernetes does not say why",
            next_step,
        )

    async def _try_again(self, service: str) -> None:
        """Its ReplicaSets wait for longer after each refused pod; one that is touched tries at once."""
        touch = ["annotate", "replicasets", "--overwrite", f"{_TRIED}={time.time():.0f}"]
        await self._cluster.call(*touch, "--selector", f"{pods.NAME_LABEL}={service},{self.ours}")

    def _refused(self, service: str, why: str) -> DevenvError:
        quota = "quota" in why
        look = self._cluster.by_hand("describe", "resourcequotas" if quota else "replicasets")
        next_step = f"raise the quota, then try again; to see it: {look}" if quota else f"see: {look}"
        return DevenvError(f"a pod of {service} is refused", why, next_step)

    async def _to_restore(self) -> bool:
        """Whether to begin with what the last `down` saved. Not once anybody may have written since."""
        if not self._restore.exists():
            return False
        found = {name_of(one): one for one in await self._cluster.get("deployments", "--selector", self.ours)}
        served = HTTPD in found and found[HTTPD]["spec"].get("replicas", 1) > 0
        if PHP_FPM in found and served:
            self._restore.unlink()
            return False
        return True

    async def _restore_last(self) -> None:
        snapshot = Path(self._restore.read_text().strip())
        if not snapshot.exists():
            raise DevenvError(
                "the content that the last down saved is not there any more",
                f"{snapshot} was removed",
                "put it back; or begin anew: devenv reset, then devenv snapshot restore NAME",
            )
        [owner] = [one for one in await self.instances() if one.owner and not one.leaving]
        await self.restore(owner, snapshot)
        self._restore.unlink()

    async def _ready(self, services: Sequence[str], note: Note) -> None:
        """Wait until all pods of these deployments are ready, and no others are there; or tell why not."""
        waiting = _Waiting(note)
        async with aclosing(self._looks(services)) as looks:
            async for found, there in looks:
                late = [one for one in services if not rolled_out(found.get(one))]
                if not late:
                    return
                await self._wait_on([pod for pod in there if pods.service(pod) in late], waiting)
        raise AssertionError("looks do not end")

    async def _looks(
        self, services: Sequence[str]
    ) -> AsyncGenerator[tuple[dict[str, Object], list[Object]], None]:
        """Deployments by name, and their pods, at once and whenever something has changed."""
        changed = asyncio.Event()
        refused: dict[str, float] = {}
        selector = f"{pods.NAME_LABEL} in ({','.join(services)}),{self.ours}"

        async def listen() -> None:
            async with aclosing(self._cluster.watch("pods", selector)) as changes:
                async for _ in changes:
                    changed.set()

        listening = asyncio.create_task(listen())
        try:
            while True:
                changed.clear()
                # One command for all: each costs a tenth of a second of a core, which pods that start need.
                there = await self._cluster.get("deployments,pods", "--selector", selector)
                found = {name_of(one): one for one in there if one["kind"] == "Deployment"}
                for service, one in found.items():
                    if not (why := namespace.refusal(one)):
                        refused.pop(service, None)
                    elif service not in refused:
                        refused[service] = time.monotonic()
                        await self._try_again(service)
                    elif time.monotonic() - refused[service] > _REFUSED:
                        raise self._refused(service, why)
                yield found, [one for one in there if one["kind"] == "Pod" and pods.lives(one)]
                with suppress(TimeoutError):
                    # Also without a word: a deployment counts its pods a little later than they change.
                    async with asyncio.timeout(0.5 if changed.is_set() else _TICK):
                        await changed.wait()
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _wait_on(self, there: Sequence[Object], waiting: _Waiting) -> None:
        """Say what keeps these pods; raise it where it will not come right, or has kept them for too long."""
        causes = list(pods.causes(there))
        if causes:
            causes = list(pods.causes(there, await self._events()))
        waiting.tell(causes)
        for cause in causes:
            brought = cause.reason == pods.ABSENT and waiting.seconds < _SEEN
            if (cause.final and not brought and not await self._begins_again(cause)) or waiting.is_over:
                raise await self._explain(cause)
        if waiting.is_over:
            raise DevenvError(
                "the rollout did not end",
                f"not all pods were replaced within {_ROLLOUT:g} s",
                f"see: {self._cluster.by_hand('get', 'pods')}",
            )

    async def _events(self) -> list[Object]:
        return await self._cluster.get("events", "--field-selector", "involvedObject.kind=Pod")

    async def _begins_again(self, cause: pods.Cause) -> bool:
        """Whether a hook was only cut off as its container ended: it runs again in the next one."""
        if cause.reason != pods.HOOK:
            return False
        late = time.monotonic() + _AGAIN
        while time.monotonic() < late:
            for one in await self.instances():
                if one.name == cause.pod and one.gate is not None:
                    return await self._failed(one) is None
            await asyncio.sleep(0.5)
        return False

    async def _failed(self, instance: Instance) -> Mapping[str, Any] | None:
        """What its gate has failed of, in this container or an earlier one."""
        if told := (instance.gate and instance.gate.failed) or instance.failed:
            return told
        async for _ in self._follow(instance, follow=False):
            pass
        return self._failures.get(instance.id)

    async def _explain(self, cause: pods.Cause) -> DevenvError:
        """What the gate says is closer to the cause than what Kubernetes says."""
        for one in await self.instances():
            if one.name != cause.pod:
                continue
            tail = await self.log_tail(one)
            look = f"see: {self.by_hand('look', one)}"
            if failed := await self._failed(one):
                return gates.failed(one.name, failed, look, tail)
            why = ": ".join(filter(None, (cause.reason, cause.message)))
            return did_not_come_up(one.name, one.image, one.tag, why, look, tail)
        return DevenvError(f"{cause.pod} did not come up", cause.reason, "it is gone; try again")

    # A release beside another

    async def start_beside(
        self, release: str, seen: Callable[[Instance], None], note: Note = unnoted
    ) -> None:
        image = await self.image(PHP_FPM, release)
        there = await self._pods(PHP_FPM)
        try:
            await self._patch(rollout(_HOLD, image, time.time(), self._stack.app.writable))
            await self._until_ready(there, seen, note)
        except BaseException:
            if not pods.newcomers(await self._pods(PHP_FPM), there):
                # Nobody has come whom another could send away, and nobody shall come later.
                await self._undo(there[-1])
            raise

    async def _until_ready(
        self, before: Sequence[Object], seen: Callable[[Instance], None], note: Note
    ) -> None:
        """Until a pod of the new template is ready."""
        waiting = _Waiting(note)
        async with aclosing(self._looks([PHP_FPM])) as looks:
            async for _, there in looks:
                new = pods.newcomers(there, before)
                if not new:
                    await self._wait_on([], waiting)
                    continue
                seen(self._instance(new[0]))
                if holds(new[0], "Ready"):
                    return
                await self._wait_on(new, waiting)

    async def _patch(self, spec: Mapping[str, Any]) -> None:
        patch = json.dumps({"spec": spec})
        await self._cluster.call("patch", "deployment", PHP_FPM, _MANAGER, "--patch", patch)

    async def stop_one(self, instance: Instance) -> None:
        """One of an older template goes when the rollout goes on, one of the newest when it is undone."""
        # That of an earlier end, which was interrupted: it has served on since.
        self._saved(instance).unlink(missing_ok=True)
        gate = await self.gate(instance)
        if gate is not None and gate.role == "owner":
            # It may have no one to hand over to, and there is no volume that its content could stay in.
            await self.snapshot(instance, self._saved(instance))
        keeping = asyncio.create_task(self._keep_journal(instance))
        try:
            there = await self._pods(PHP_FPM)
            mine = [pod for pod in there if pod["metadata"]["uid"] == instance.id]
            others = [pod for pod in there if pod["metadata"]["uid"] != instance.id and _stays(pod)]
            if mine and _stays(mine[0]) and others:
                if pods.template(mine[0]) == await self._newest_template():
                    await self._undo(others[-1])
                    if not holds(others[-1], "Ready"):
                        # Its Deployment keeps both for as long as that.
                        await self._scale_away(mine[0])
                else:
                    await self._patch(rollout(hold=0))
            elif mine and _stays(mine[0]):
                await self._cluster.call("delete", "pod", instance.name, "--wait=false")
            await self._until_gone(instance)
        finally:
            await asyncio.wait([keeping], timeout=5)
            keeping.cancel()
        await self._mark_again()

    async def _newest_template(self) -> str:
        """The one that a rollout leads to. The newest pod can have an older one, for one that is lost."""
        selector = f"{pods.NAME_LABEL}={PHP_FPM},{self.ours}"
        found = await self._cluster.get("replicasets", "--selector", selector)
        return pods.template(max(found, key=pods.revision)) if found else ""

    async def _undo(self, old: Object) -> None:
        """The template of the pod that stays, whole and at once: one that is ready must not outlast it."""
        [replicas] = await self._cluster.get("replicaset", pods.made_by(old))
        patch = json.dumps(undone(replicas))
        await self._cluster.call("patch", "deployment", PHP_FPM, _MANAGER, "--type=json", "--patch", patch)

    async def _scale_away(self, pod: Object) -> None:
        """With its ReplicaSet, which is none that its Deployment wants any more."""
        patch = json.dumps({"spec": {"replicas": 0}})
        await self._cluster.call("patch", "replicaset", pods.made_by(pod), _MANAGER, "--patch", patch)

    async def _keep_journal(self, instance: Instance) -> None:
        kept = self._ended.setdefault(instance.id, [])
        async with aclosing(self._follow(instance, follow=True)) as events:
            async for event in events:
                kept.append(event)

    async def _until_gone(self, instance: Instance) -> None:
        argv = ["wait", "--for=delete", f"pod/{instance.name}", f"--timeout={GRACE + 30}s"]
        await self._cluster.call(*argv, timeout=GRACE + 60)

    async def remove_one(self, instance: Instance) -> None:
        """It went with its end."""

    async def revive(self, instance: Instance) -> None:
        """Kubernetes starts what has ended by itself: that is waited for, while the pod is there."""
        deadline = time.monotonic() + _BACK
        while time.monotonic() < deadline and await self._is_there(instance):
            gate = await self.gate(instance)
            if gate is not None and not gate.terminating:
                return
            await asyncio.sleep(0.5)

    async def _is_there(self, instance: Instance) -> bool:
        return any(pod["metadata"]["uid"] == instance.id for pod in await self._pods(PHP_FPM))

    # Its gate

    async def hook(self, instance: Instance) -> None:
        await self._ask(instance, "hook", timeout=GRACE)

    async def gate_events(
        self, instance: Instance, *, follow: bool
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        if instance.id in self._ended:
            for event in self._ended[instance.id]:
                yield event
            return
        async with aclosing(self._follow(instance, follow=follow)) as events:
            async for event in events:
                yield event

    async def _follow(self, instance: Instance, *, follow: bool) -> AsyncGenerator[Mapping[str, Any], None]:
        verb = ["timeout", str(GRACE * 3), "gate", "events", "--follow"] if follow else ["gate", "events"]
        deadline = time.monotonic() + _STARTS
        while True:
            heard = False
            argv = self._exec_argv(instance, *verb)
            async with aclosing(process.stream(argv, check=False, follows=follow)) as lines:
                async for line in lines:
                    if line.stream == "stdout" and (told := gates.event(line.text)):
                        heard = True
                        if is_failure(told):
                            self._failures[instance.id] = told
                        yield told
            if heard or not follow or time.monotonic() > deadline:
                return
            # Its container has not started yet.
            await asyncio.sleep(0.2)

    async def fingerprint(self, instance: Instance) -> Mapping[str, Any]:
        said = await self._ask(instance, "fingerprint", timeout=600)
        return gates.fingerprint(instance.name, self.by_hand("log", instance), said)

    async def snapshot(self, instance: Instance, into: Path) -> Mapping[str, Any]:
        argv = self._exec_argv(instance, "gate", "snapshot", "-o", "-")
        return await snapshots.receive(
            into, lambda file: self._gate_errors(process.run(argv, stdout=file, timeout=600), instance)
        )

    async def restore(self, instance: Instance, file: Path) -> None:
        """It is another database from then on, and pods to come are told so at once."""
        argv = self._exec_argv(instance, "gate", "restore", "-", stdin=True)
        with file.open("rb") as content:
            await self._gate_errors(process.run(argv, stdin=content, timeout=600), instance)
        await self._mark_again()

    async def retire(self, instance: Instance) -> None:
        await self._ask(instance, "retire", timeout=30)

    async def recover(self, instance: Instance, *, force: bool = False) -> Mapping[str, Any]:
        """Kubernetes ends the container of one that waits in vain, then starts it again, later each time."""
        deadline = time.monotonic() + _BACK
        while True:
            try:
                recovered = await gates.recover(
                    lambda *words: self._ask(instance, *words, timeout=120), force=force
                )
                break
            except DevenvError:
                gate = await self.gate(instance)
                answers = gate is not None and not gate.terminating
                if answers or time.monotonic() > deadline or not await self._is_there(instance):
                    raise
            await self.revive(instance)
        await self._mark_again()
        return recovered

    def _exec_argv(self, instance: Instance, *command: str, stdin: bool = False) -> list[str]:
        options = ["--stdin"] if stdin else []
        return self._cluster.argv("exec", *options, instance.name, f"--container={PHP_FPM}", "--", *command)

    async def _exec(
        self, instance: Instance, *command: str, timeout: float, check: bool = True
    ) -> process.Completed:
        return await process.run(self._exec_argv(instance, *command), timeout=timeout, check=check)

    async def _ask(self, instance: Instance, *words: str, timeout: float) -> Mapping[str, Any]:
        answer = await self._gate_errors(self._exec(instance, "gate", *words, timeout=timeout), instance)
        return gates.answer(instance.name, self.by_hand("log", instance), answer.stdout)

    async def _gate_errors(self, asked: Any, instance: Instance) -> process.Completed:
        with self._cluster.errors():
            try:
                answer: process.Completed = await asked
            except CommandFailed as error:
                raise gates.failure(instance.name, self.by_hand("log", instance), error) from error
            return answer

    # The end

    async def stop(self) -> None:
        """No request comes in any more: then what the owner has is the last."""
        await portforward.stop(self._forward)
        if not await self._cluster.get("deployment", "--selector", f"{pods.NAME_LABEL}={HTTPD},{self.ours}"):
            return
        await self._cluster.call("scale", "deployment", HTTPD, "--replicas=0")
        argv = ["wait", "--for=delete", "pods", "--selector", f"{pods.NAME_LABEL}={HTTPD},{self.ours}"]
        await self._cluster.call(*argv, f"--timeout={GRACE}s", timeout=GRACE + 30)

    def _saved(self, instance: Instance) -> Path:
        return self._folder / f"ended-{instance.id}.tar"

    async def last_snapshot(self, instance: Instance, into: Path) -> bool:
        """`stop_one` has taken that of a pod that is gone; one that is there can have served on since."""
        saved = self._saved(instance)
        if not await self._is_there(instance):
            if saved.exists():
                saved.replace(into)
                return True
            return False
        saved.unlink(missing_ok=True)
        await self.snapshot(instance, into)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._restore.write_text(f"{into}\n")
        return True

    async def remove_all(self, *, content: bool) -> Sequence[Kept]:
        await portforward.stop(self._forward)
        if content:
            self._restore.unlink(missing_ok=True)
        await self._retire_owners()
        retired = time.monotonic()
        # Before the pods: what it tells of is saved, or not wanted any more, and nobody shall wait for it.
        await self._remove("configmap", mark.NAME)
        argv = ["delete", self.kinds, "--selector", self.ours, "--ignore-not-found", "--wait"]
        await self._cluster.call(*argv, timeout=120)
        if time.monotonic() - retired > _RETIRED:
            await self._retire_owners()
        argv = ["delete", "pods", "--selector", self.ours, "--ignore-not-found", "--wait", "--now"]
        await self._cluster.call(*argv, timeout=GRACE)
        await self._remove("secret", SECRET)
        return ()

    async def _retire_owners(self) -> None:
        """They would wait for a successor. One that cannot be asked goes as well."""
        for one in await self.instances():
            if one.owner:
                with suppress(DevenvError):
                    await self.retire(one)

    async def _remove(self, kind: str, name: str) -> None:
        """By its name: who may see and delete all of a kind in a namespace may do more than we need."""
        there = await self._cluster.get(kind, name)
        if there and not namespace.foreign(there) and not namespace.of_others(there, self._stack.stack.name):
            await self._cluster.call("delete", kind, name, "--ignore-not-found", "--wait=false")

    # What is told

    async def logs(
        self, service: str | None, *, follow: bool, tail: int | None, since: str | None
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        origin = Pods(self._cluster, self.ours, self._here)
        async with aclosing(sources.merged(origin, service, follow, tail, since)) as read:
            async for lines in read:
                yield lines

    async def _here(self) -> list[Instance]:
        return await self.instances(ask_gates=False)

    async def changes(self) -> AsyncGenerator[None, None]:
        yield
        async with aclosing(self._cluster.watch("pods", self.ours)) as changes:
            async for _ in changes:
                yield

    async def log_tail(self, instance: Instance, lines: int = 20) -> str:
        argv = ["logs", instance.name, "--tail", str(lines)]
        said = await self._cluster.call(*argv, check=False)
        return (said.stdout + said.stderr).strip()

    def by_hand(self, verb: By, instance: Instance) -> str:
        gate = ("exec", instance.name, "--", "gate")
        argv = {
            "log": ("logs", instance.name),
            "look": ("describe", "pod", instance.name),
            # Its pod would take its content along.
            "restart": ("exec", instance.name, "--", "sh", "-c", "kill 1"),
            "stop": ("delete", "pod", instance.name),
            "fingerprint": (*gate, "fingerprint"),
            "snapshot": (*gate, "snapshot", "-o", "-"),
        }[verb]
        return self._cluster.by_hand(*argv)


class _Waiting:
    """For pods to be ready: how long yet, and what was said of it."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._said = ""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        return self.seconds > _ROLLOUT

    def tell(self, causes: Sequence[pods.Cause]) -> None:
        """The one cause that a person can do something about."""
        words = next((cause.words for cause in causes if not cause.usual), "")
        if words != self._said:
            self._said = words
            self._note(words)


def _stays(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"]
