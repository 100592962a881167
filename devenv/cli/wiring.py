"""The one place where the pieces are put together."""

from __future__ import annotations

from devenv.backends.compose import Compose
from devenv.cli.session import Session, state_folder
from devenv.engine.context import Context
from devenv.engine.store import Store
from devenv.images import BuiltImages
from devenv.model.stack import Stack


def context(session: Session) -> Context:
    """What the use cases work with, for this command."""
    from devenv import assets

    stack = session.stack
    store = Store(state_folder(stack))
    compose = assets.compose_file()
    # The settings of a checkout's own stack lie beside the compose file, so that it works by hand as well.
    beside = assets.in_checkout() and stack.stack.name == Stack().stack.name
    env_file = compose.parent / ".env" if beside else store.folder / "compose.env"
    images = BuiltImages(stack, session.root, assets.docker_context(), store.folder / "builds")
    return Context(stack, Compose(stack, compose, env_file), images, store, session.emit)
