"""The one place where the pieces are put together."""

from __future__ import annotations

from devenv.backends.compose import Compose
from devenv.cli.session import Session, state_folder
from devenv.engine.context import Context
from devenv.engine.store import Store
from devenv.model.events import Emit
from devenv.model.stack import Stack


class BuiltImages:
    """Images built on this machine. Imported when they are asked for: most commands build nothing."""

    def __init__(self, session: Session) -> None:
        self._stack: Stack = session.stack
        self._root = session.root

    async def ensure_base(self, emit: Emit) -> bool:
        from devenv import images

        return await images.ensure_base(emit)

    async def build(self, service: str, release: str, emit: Emit) -> bool:
        from devenv import images

        return await images.build(service, release, emit)


def context(session: Session) -> Context:
    """What the use cases work with, for this command."""
    from devenv import assets

    stack = session.stack
    store = Store(state_folder(stack))
    compose = assets.compose_file()
    # In a checkout the settings lie beside the compose file, so that it works by hand as well.
    env_file = compose.parent / ".env" if assets.in_checkout() else store.folder / "compose.env"
    return Context(stack, Compose(stack, compose, env_file), BuiltImages(session), store, session.emit)
