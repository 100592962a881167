"""Any action by its name and options: what the command line and the terminal interface both call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from devenv.engine.context import Context
from devenv.model.actions import action

UseCase = Callable[..., Awaitable[int | None]]

_USE_CASES = {
    "up": ("lifecycle", "up"),
    "down": ("lifecycle", "down"),
    "reset": ("lifecycle", "reset"),
    "build": ("building", "build"),
    "push": ("pushing", "push"),
    "registry up": ("pushing", "registry_up"),
    "registry down": ("pushing", "registry_down"),
    "node-image build": ("building", "node_image"),
    "upgrade": ("upgrade", "upgrade"),
    "rollback": ("upgrade", "rollback"),
    "status": ("content", "status"),
    "verify": ("content", "verify"),
    "probe": ("content", "probe"),
    "open": ("content", "open_site"),
    "snapshot save": ("content", "save"),
    "snapshot list": ("content", "snapshots"),
    "snapshot restore": ("content", "restore"),
    "receipt list": ("content", "receipts"),
    "receipt show": ("content", "receipt"),
    "recover": ("recovery", "recover"),
    "doctor": ("examine", "doctor"),
}
"""Module and function. Imported when it is used: a command pays for no other."""


async def perform(ctx: Context, name: str, /, **options: Any) -> int | None:
    """Run the use case of the action `name`; an exit code, where it is not simply 0.

    Raises KeyError for what is no action of the stack, TypeError for options that it does not have.
    """
    module, function = _USE_CASES[name]
    use_case: UseCase = getattr(import_module(f"devenv.engine.{module}"), function)
    with ctx.store.locked(name) if action(name).locks else nullcontext():
        return await use_case(ctx, **options)
