"""The kubectl command, always at one named cluster, typed where its answers are read."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devenv.errors import CommandFailed, DevenvError, NotFit
from devenv.model.commands import REVIEW
from devenv.tools import docker, process

Object = Mapping[str, Any]
"""A Kubernetes object as JSON."""

_UNREACHABLE = re.compile(
    r"unable to connect to the server|was refused - did you specify the right host|connection refused"
    r"|context deadline exceeded|i/o timeout|tls handshake timeout|no route to host"
    r"|http2: client connection lost|the server is currently unable to handle the request|etcdserver: "
    # An API server that has just started does not know yet who may do what: it names nothing then.
    r"|\(forbidden\): unknown"
    # What is said so is of the connection, and not of the API server.
    r"|(?:get|post|put|patch|delete) \"https?://[^\"]*\": ",
    re.IGNORECASE,
)
_REQUEST = "--request-timeout=20s"
_ABSENT = "(notfound)"
_FORBIDDEN = re.compile(r'cannot (\w+) resource "([^"]+)"(?: in API group "([^"]*)")?')


RIGHTS = "ask who administers it for the Role of k8s/rbac/role.json, see docs/cluster.md"


class Forbidden(DevenvError):
    pass


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of one cluster. Each command names context and namespace: whatever else the user's
    kubectl points at is never touched.
    """

    kubeconfig: Path | None
    """None: the user's own."""
    context: str
    namespace: str
    program: str = "kubectl"
    pin: tuple[str, ...] = ()
    """Options that say which cluster it is, whatever the kubeconfig says by now."""

    def argv(self, *arguments: str) -> list[str]:
        return [self.program, *self._where(), *self.pin, "--namespace", self.namespace, *arguments]

    def by_hand(self, *arguments: str) -> str:
        """The same command, for a person to type."""
        return shlex.join(["kubectl", *self._where(), "--namespace", self.namespace, *arguments])

    def _where(self) -> list[str]:
        named = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        return [*named, "--context", self.context]

    async def call(self, *arguments: str, timeout: float = 60, check: bool = True) -> process.Completed:
        """A short command."""
        with self.errors():
            return await process.run(self.argv(*arguments), timeout=timeout, check=check)

    async def apply(self, manifest: str, *options: str) -> None:
        """Of any namespace; it is no secret."""
        await self._send(manifest, "apply", "--server-side", "--force-conflicts", *options, "--filename=-")

    async def create(self, manifest: Object) -> None:
        """The same of an object that is new."""
        await self._send(json.dumps(manifest), "create", "--filename=-", "--validate=false")

    async def review(self, reviews: Sequence[Object]) -> list[bool]:
        """Whether each of these SelfSubjectAccessReviews is answered with yes."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
        said = await self._send(manifest, "create", "--filename=-", "--validate=false", REVIEW)
        with docker.readable("the cluster", self.by_hand("auth", "can-i", "--list")):
            allowed = [one == "true" for one in said.stdout.split()]
            if len(allowed) != len(reviews):
                raise ValueError(f"{len(allowed)} answers to {len(reviews)} questions")
            return allowed

    async def _send(self, manifest: str, *arguments: str) -> process.Completed:
        with tempfile.TemporaryFile() as file, self.errors():
            file.write(manifest.encode())
            file.seek(0)
            argv = self.argv(*arguments)
            # The namespace is the manifest's.
            place = argv.index("--namespace")
            return await process.run([*argv[:place], *argv[place + 2 :]], stdin=file, timeout=60)

    async def get(self, kind: str, *arguments: str) -> list[Object]:
        """Objects of a kind, or of several (`pods,services`), by name or by selector; none where none are."""
        try:
            said = await self.call("get", kind, *arguments, "--output=json", "--ignore-not-found", _REQUEST)
        except CommandFailed as error:
            if _ABSENT in error.log_tail.lower():
                return []
            raise
        if not said.stdout.strip():
            return []
        with docker.readable("the cluster", self.by_hand("get", kind, *arguments)):
            found = json.loads(said.stdout)
            return list(found["items"]) if found["kind"] == "List" else [found]

    async def watch(self, kind: str, selector: str) -> AsyncGenerator[None, None]:
        """Comes once for each object that is there, then whenever one of them has changed."""
        argv = self.argv(
            "get", kind, "--selector", selector, "--watch", "--output-watch-events",
            "--output=jsonpath={.type} {.object.metadata.name}{\"\\n\"}",
        )  # fmt: skip
        with self.errors():
            async with aclosing(process.batches(argv, follows=True)) as read:
                async for _ in read:
                    yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns a command's failure that is really the cluster's absence into a NotFit."""
        try:
            yield
        except CommandFailed as error:
            if _UNREACHABLE.search(f"{error.why}\n{error.log_tail}"):
                starts = "" if self.kubeconfig is None else "; devenv up starts it"
                raise NotFit(
                    f"the cluster {self.context} does not answer",
                    error.why,
                    f"see whether it runs{starts}",
                    error.log_tail,
                ) from error
            if found := _FORBIDDEN.search(error.log_tail):
                verb, resource, group = found.groups()
                raise Forbidden(
                    f"you may not {verb} {resource}{f'.{group}' if group else ''} in {self.namespace}",
                    f"the cluster {self.context} says so",
                    RIGHTS,
                    error.log_tail,
                ) from error
            raise


def name_of(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def condition(thing: Object, kind: str) -> Object | None:
    """A condition of an object's status, by its type."""
    found = thing.get("status", {}).get("conditions") or ()
    return next((one for one in found if one["type"] == kind), None)


def holds(thing: Object, kind: str) -> bool:
    found = condition(thing, kind)
    return found is not None and found["status"] == "True"
