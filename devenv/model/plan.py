"""A plan is a graph of steps, as data: it can be shown, checked and tested without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from devenv.model.platform import architecture
from devenv.model.stack import BackendName


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    title: str
    after: tuple[str, ...] = ()
    """Names of the steps that must have ended well before this one starts."""


@dataclass(frozen=True, slots=True)
class Plan:
    action: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        order(self.steps)


def order(steps: Iterable[Step]) -> list[Step]:
    """The steps in an order in which each comes after what it waits for. ValueError if there is none."""
    pending = {step.name: step for step in steps}
    names = set(pending)
    for step in pending.values():
        if unknown := [name for name in step.after if name not in names]:
            raise ValueError(f"step {step.name} waits for {', '.join(unknown)}, which is not in the plan")
    ordered: list[Step] = []
    done: set[str] = set()
    while pending:
        free = [step for step in pending.values() if done.issuperset(step.after)]
        if not free:
            raise ValueError(f"these steps wait for each other: {', '.join(pending)}")
        for step in free:
            ordered.append(step)
            done.add(step.name)
            del pending[step.name]
    return ordered


def up(backend: BackendName = "compose") -> Plan:
    """Images are built side by side while what is left of an earlier run is looked at, and a cluster of our
    own is made. Its images are read out of the engine meanwhile.
    """
    built = ("build httpd", "build php-fpm")
    places: dict[BackendName, tuple[Step, ...]] = {
        "compose": (),
        "kind": (
            Step("node", "node image", after=("engine",)),
            Step("cluster", "kind cluster", after=("node",)),
            Step("load", "images on its nodes", after=("node", *built)),
        ),
        "cluster": (
            Step("cluster", "namespace of the cluster", after=("engine",)),
            Step("load", "images in the registry", after=built),
        ),
    }
    place = places[backend]
    return Plan(
        "up",
        (
            Step("engine", "container engine answers"),
            *place,
            Step("settings", "settings and secrets", after=("engine",)),
            Step("base", "base image", after=("engine",)),
            Step("build httpd", "image httpd", after=("base", "settings")),
            Step("build php-fpm", "image php-fpm", after=("base", "settings")),
            Step("httpd", "httpd on its port", after=("load",) if place else built),
            Step("start", "containers", after=("httpd", "cluster") if place else ("httpd",)),
        ),
    )


def build(release: str, platforms: Sequence[str] = ("",)) -> Plan:
    """For each of these platforms; an empty one is the engine's own."""
    return Plan("build", tuple(step for one in platforms for step in _build(release, one)))


def _build(release: str, platform: str) -> Iterator[Step]:
    base, words = on("base", platform), f" for {platform}" if platform else ""
    yield Step(base, f"base image{words}")
    for service in ("httpd", "php-fpm"):
        yield Step(on(f"build {service}", platform), f"image {service}:{release}{words}", after=(base,))


def push(release: str, platforms: Sequence[str]) -> Plan:
    """A service goes as soon as its images for all platforms are there."""
    built = tuple(step for one in platforms for step in _build(release, one))
    sent = (
        Step(
            f"push {service}",
            f"push {service}:{release}",
            tuple(on(f"build {service}", p) for p in platforms),
        )
        for service in ("httpd", "php-fpm")
    )
    return Plan("push", (*built, *sent))


def registry_up() -> Plan:
    return Plan(
        "registry up",
        (
            Step("image", "image of the registry"),
            Step("registry", "registry", after=("image",)),
            Step("nodes", "nodes of the kind cluster", after=("registry",)),
        ),
    )


def registry_down() -> Plan:
    return Plan("registry down", (Step("registry", "registry removed"),))


def on(step: str, platform: str) -> str:
    """The name of a step that is done for another platform than the engine's own."""
    return f"{step}-{architecture(platform)}" if platform else step


def node_image() -> Plan:
    """One after the other: both can come of the same long compilation."""
    return Plan(
        "node-image build",
        (Step("node", "node image"), Step("programs", "kind and kubectl", after=("node",))),
    )


def upgrade(release: str) -> Plan:
    """Nothing is removed before its successor is proven to own the content."""
    return Plan(
        "upgrade",
        (
            Step("engine", "exactly one instance owns the content"),
            Step("image", f"image of {release}", after=("engine",)),
            Step("snapshot", "snapshot of the content", after=("engine",)),
            Step("handover", f"hand-over to {release}", after=("image", "snapshot")),
            Step("verify", "fingerprints compared", after=("handover",)),
            Step("retire", "old instance stopped and removed", after=("verify",)),
            Step("receipt", "receipt", after=("retire",)),
        ),
    )


def down(*, cluster: bool = False) -> Plan:
    place = (Step("cluster", "kind cluster removed", after=("remove",)),)
    return Plan(
        "down",
        (
            Step("engine", "what runs"),
            Step("stop", "containers stopped, content saved", after=("engine",)),
            Step("snapshot", "snapshot kept", after=("stop",)),
            Step("remove", "containers and network removed", after=("snapshot",)),
            *(place if cluster else ()),
        ),
    )


def reset() -> Plan:
    return Plan(
        "reset",
        (
            Step("engine", "what is there"),
            Step("snapshot", "snapshot kept", after=("engine",)),
            Step("remove", "containers, network and saved content removed", after=("snapshot",)),
        ),
    )
