"""The one place where the pieces are put together."""

from __future__ import annotations

from devenv.backends.protocol import Backend
from devenv.cli.session import Session, state_folder
from devenv.engine.context import Context
from devenv.engine.store import Store
from devenv.images import BuiltImages, OwnRegistry
from devenv.model.stack import Stack


def context(session: Session) -> Context:
    """What the use cases work with, for this command."""
    from devenv import assets

    stack = session.stack
    store = Store(state_folder(stack))
    images = BuiltImages(stack, session.root, assets.docker_context(), store.folder / "builds")
    registry = OwnRegistry(stack, assets.docker_context())
    match stack.stack.backend:
        case "compose":
            backend = _compose(stack, store)
        case "kind":
            backend = _kind(stack, store)
        case "cluster":
            backend = _existing(stack, store, images, registry)
    return Context(stack, backend, images, registry, store, session.emit)


def _kind(stack: Stack, store: Store) -> Backend:
    from devenv import assets
    from devenv.backends.kind import Kind

    k8s = assets.k8s_folder()
    return Kind(stack, k8s / "overlays" / "kind", store.cluster(stack.place), config=k8s / "kind.yaml")


def _existing(stack: Stack, store: Store, images: BuiltImages, registry: OwnRegistry) -> Backend:
    from devenv import assets
    from devenv.backends.existing import ExistingCluster

    k8s = assets.k8s_folder()
    return ExistingCluster(
        stack,
        k8s / "overlays" / "cluster",
        store.cluster(stack.place),
        images=images,
        destination=registry.destination,
        role=k8s / "rbac" / "role.json",
    )


def _compose(stack: Stack, store: Store) -> Backend:
    from devenv import assets
    from devenv.backends.compose import Compose

    compose = assets.compose_file()
    # The settings of a checkout's own stack lie beside the compose file, so that it works by hand as well.
    beside = assets.in_checkout() and stack.stack.name == Stack().stack.name
    env_file = compose.parent / ".env" if beside else store.folder / "compose.env"
    return Compose(stack, compose, env_file)
