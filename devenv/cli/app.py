"""The command line, derived from the table of actions. Usage errors exit 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from devenv import __version__
from devenv.cli import commands
from devenv.cli.output import write
from devenv.model.actions import COMMANDS, Action

USAGE = 2

_GROUPS = {
    "receipt": "The evidence of past upgrades.",
    "snapshot": "Save, list and restore the content.",
    "registry": "A registry on this machine.",
    "node-image": "What a kind cluster is made with.",
    "config": "The configuration in effect.",
}

_COMMANDS: dict[str, Callable[..., int]] = {
    "up": commands.up,
    "down": commands.down,
    "reset": commands.reset,
    "status": commands.status,
    "logs": commands.logs,
    "build": commands.build,
    "push": commands.push,
    "registry up": commands.registry_up,
    "registry down": commands.registry_down,
    "node-image build": commands.node_image_build,
    "upgrade": commands.upgrade,
    "rollback": commands.rollback,
    "verify": commands.verify,
    "probe": commands.probe,
    "open": commands.open_site,
    "receipt list": commands.receipt_list,
    "receipt show": commands.receipt_show,
    "snapshot save": commands.snapshot_save,
    "snapshot list": commands.snapshot_list,
    "snapshot restore": commands.snapshot_restore,
    "recover": commands.recover,
    "doctor": commands.doctor,
    "config show": commands.config_show,
    "config schema": commands.config_schema,
    "config path": commands.config_path,
}


def build() -> App:
    """Every action of the table as a command, in the table's order."""
    app = App(
        name="devenv",
        version=__version__,
        help="A PHP application behind httpd, whose SQLite content survives every upgrade.",
        help_format="markdown",
        result_action="return_value",
    )
    groups: dict[str, App] = {}
    for action in COMMANDS:
        parent, _, name = action.name.rpartition(" ")
        if parent and parent not in groups:
            groups[parent] = App(name=parent, help=_GROUPS[parent])
            app.command(groups[parent])
        target = groups[parent] if parent else app
        target.command(_COMMANDS[action.name], name=name, help=_help(action))
    return app


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result: Any = build()(list(argv), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        write(sys.stderr, f"devenv: {error}", f"  next: devenv {_named(argv)}--help")
        return USAGE
    return result if isinstance(result, int) else 0


def _help(action: Action) -> str:
    return f"{action.help}\n\nExample: `{action.example}`"


def _named(argv: Sequence[str]) -> str:
    """The command that was meant, for its help."""
    words = " ".join(argv[:2])
    for name in sorted(_COMMANDS, key=len, reverse=True):
        if words == name or words.startswith(f"{name} "):
            return f"{name} "
    return ""
