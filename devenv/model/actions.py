"""What one can do, declared once. Command line, keys, palette, help and docs derive from this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devenv.model.state import State

WhyNot = Callable[[State], str]
"""Why an action is not available now; empty when it is."""


def _always(state: State) -> str:
    return ""


def _when_idle(state: State) -> str:
    return f"{state.action} is at work" if state.busy else ""


def _when_running(state: State) -> str:
    if state.busy:
        return f"{state.action} is at work"
    if state.seen and state.owner is None:
        return "the stack does not run: up starts it"
    return ""


def _when_there(state: State) -> str:
    if state.busy:
        return f"{state.action} is at work"
    if state.seen and not state.instances:
        return "nothing is there"
    return ""


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    """Also the words of its command."""
    key: str
    """In the terminal interface; empty: by its command only."""
    help: str
    example: str
    why_not: WhyNot = _always
    destroys: str = ""
    """What goes for good, where something does: such an action asks first."""


ACTIONS: tuple[Action, ...] = (
    Action(
        "up",
        "u",
        "Build what is missing, start the stack, wait until it is healthy.",
        "devenv up --no-tui",
        _when_idle,
    ),
    Action(
        "down",
        "d",
        "Save the content, then stop and remove the containers; up restores it.",
        "devenv down",
        _when_there,
    ),
    Action(
        "reset",
        "R",
        "Remove the containers and all saved content of the stack; up begins anew.",
        "devenv reset --yes",
        _when_idle,
        destroys="the containers, the network and the snapshot volume of the stack",
    ),
    Action("status", "s", "Tell what runs, as the engine and the gates say now.", "devenv status --json"),
    Action(
        "logs",
        "l",
        "Show the logs of all services, or of one.",
        "devenv logs php-fpm --follow --tail 100",
        _when_there,
    ),
    Action("build", "b", "Build the images of a release.", "devenv build --release v2", _when_idle),
    Action(
        "upgrade",
        "U",
        "Bring the application to a release by a hand-over; no write is lost.",
        "devenv upgrade --to v2 --probe 8",
        _when_running,
    ),
    Action(
        "rollback",
        "B",
        "Bring back the release that ran before, by a hand-over with today's content.",
        "devenv rollback",
        _when_running,
    ),
    Action("verify", "v", "Compare the content with the last receipt.", "devenv verify", _when_running),
    Action(
        "probe",
        "p",
        "Write through the site for some seconds, then count every write.",
        "devenv probe --writers 8 --seconds 10",
        _when_running,
    ),
    Action(
        "snapshot save",
        "S",
        "Save the content to a file on this machine.",
        "devenv snapshot save",
        _when_running,
    ),
    Action("snapshot list", "", "Tell which snapshots are on this machine.", "devenv snapshot list"),
    Action(
        "snapshot restore",
        "",
        "Put a snapshot in place of the content, which is saved first.",
        "devenv snapshot restore latest",
        _when_running,
        destroys="the present content, which is saved on this machine first",
    ),
    Action(
        "recover",
        "",
        "Let an instance own again what it handed over, when its successor is gone for good.",
        "devenv recover --from devenv-php-fpm-1",
        _when_there,
        destroys="every write since that instance handed its content over",
    ),
    Action("doctor", "D", "Check this machine, and mend what can be mended.", "devenv doctor --fix --yes"),
    Action("config show", "c", "Tell the configuration in effect.", "devenv config show"),
    Action(
        "config schema",
        "",
        "Print the JSON schema of devenv.toml.",
        "devenv config schema > devenv.schema.json",
    ),
    Action(
        "config path", "", "Tell which devenv.toml counts, and where state is kept.", "devenv config path"
    ),
)


def action(name: str) -> Action:
    """By name; a KeyError is a mistake of ours."""
    return _BY_NAME[name]


_BY_NAME = {one.name: one for one in ACTIONS}
