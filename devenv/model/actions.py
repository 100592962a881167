"""What one can do, declared once. Command line, keys, palette, help and docs derive from this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from devenv.model.state import State

WhyNot = Callable[[State], str]
"""Why an action is not available now; empty when it is."""

Scope = Literal["stack", "view", "logs", "move"]
"""What an action is about, as the help groups it: the stack, what is shown, the log lines, the cursor."""

SCOPES: dict[Scope, str] = {
    "stack": "The stack",
    "view": "What is shown",
    "logs": "Logs",
    "move": "Moving about",
}


def _always(state: State) -> str:
    return ""


def _when_idle(state: State) -> str:
    return f"{state.action} is at work" if state.busy else ""


def _when_running(state: State) -> str:
    if state.busy:
        return f"{state.action} is at work"
    if state.lost:
        return "the container engine does not answer"
    if state.seen and state.owner is None:
        return "the stack does not run: up starts it"
    return ""


def _when_probing(state: State) -> str:
    """The probe can join an upgrade that is at work."""
    return "" if state.busy and state.action in ("upgrade", "rollback", "probe") else _when_running(state)


def _when_there(state: State) -> str:
    if state.busy:
        return f"{state.action} is at work"
    if state.seen and not state.instances:
        return "nothing is there"
    return ""


def _when_served(state: State) -> str:
    return "the site does not answer yet" if state.seen and state.owner is None else ""


def _when_failed(state: State) -> str:
    return "" if state.failure else "there was no error since the last action began"


def _when_busy(state: State) -> str:
    return "" if state.busy else "nothing is at work"


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    """Also the words of its command."""
    title: str
    """In the terminal interface: a button's words."""
    keys: str
    """In the terminal interface, by Textual's names, separated by commas; empty: by palette only."""
    help: str
    example: str = ""
    """Of its command; empty: it has none, since it only means something in the terminal interface."""
    why_not: WhyNot = _always
    destroys: str = ""
    """What goes for good, where something does: such an action asks first."""
    locks: bool = False
    """Changes the stack: one at a time, over all processes."""
    scope: Scope = "stack"


ACTIONS: tuple[Action, ...] = (
    Action(
        "up",
        "Up",
        "U",
        "Build what is missing, start the stack, wait until it is healthy.",
        "devenv up --no-tui",
        _when_idle,
        locks=True,
    ),
    Action(
        "upgrade",
        "Upgrade",
        "u",
        "Bring the application to a release by a hand-over; no write is lost.",
        "devenv upgrade --to v2 --probe 8",
        _when_running,
        locks=True,
    ),
    Action(
        "rollback",
        "Rollback",
        "b",
        "Bring back the release that ran before, by a hand-over with today's content.",
        "devenv rollback",
        _when_running,
        locks=True,
    ),
    Action(
        "verify",
        "Verify",
        "v",
        "Compare the content with the last receipt.",
        "devenv verify",
        _when_running,
        locks=True,
    ),
    Action(
        "probe",
        "Probe",
        "p",
        "Write through the site for some seconds, then count every write.",
        "devenv probe --writers 8 --seconds 10",
        _when_probing,
        locks=True,
    ),
    Action("open", "Open", "o", "Open the site in a browser.", "devenv open", _when_served),
    Action(
        "snapshot save",
        "Snapshot",
        "s",
        "Save the content to a file on this machine.",
        "devenv snapshot save",
        _when_running,
        locks=True,
    ),
    Action(
        "snapshot restore",
        "Restore",
        "r",
        "Put a snapshot in place of the content, which is saved first.",
        "devenv snapshot restore latest",
        _when_running,
        destroys="the present content, which is saved on this machine first",
        locks=True,
    ),
    Action(
        "snapshot list",
        "Snapshots",
        "",
        "Tell which snapshots are on this machine.",
        "devenv snapshot list",
    ),
    Action(
        "receipt show",
        "Receipt",
        "",
        "Show the evidence of one upgrade, the last where none is named.",
        "devenv receipt show",
    ),
    Action(
        "receipt list", "Receipts", "", "Tell of which upgrades there is a receipt.", "devenv receipt list"
    ),
    Action(
        "status", "Status", "", "Tell what runs, as the engine and the gates say now.", "devenv status --json"
    ),
    Action(
        "build",
        "Build",
        "B",
        "Build the images of a release.",
        "devenv build --release v2 --platform linux/arm64,linux/amd64",
        _when_idle,
        locks=True,
    ),
    Action(
        "push",
        "Push",
        "",
        "Bring the images of a release to a registry; only layers that are missing are sent.",
        "devenv push --registry registry.example.com/team/application --platform linux/arm64,linux/amd64",
        _when_idle,
        locks=True,
    ),
    Action(
        "registry up",
        "Registry up",
        "",
        "Start a registry on this machine, which the nodes of a kind cluster pull from.",
        "devenv registry up",
        _when_idle,
        locks=True,
    ),
    Action(
        "registry down",
        "Registry down",
        "",
        "Remove the registry of this machine; what it stores stays.",
        "devenv registry down",
        _when_idle,
        locks=True,
    ),
    Action(
        "node-image build",
        "Node image",
        "",
        "Make ready what a kind cluster is made with: its node image, kind, kubectl.",
        "devenv node-image build",
        _when_idle,
        locks=True,
    ),
    Action(
        "doctor",
        "Doctor",
        "D",
        "Check this machine, and mend what can be mended.",
        "devenv doctor --fix --yes",
    ),
    Action(
        "down",
        "Down",
        "d",
        "Save the content, then stop and remove the containers; up restores it.",
        "devenv down",
        _when_there,
        locks=True,
    ),
    Action(
        "reset",
        "Reset",
        "R",
        "Remove the containers and all saved content of the stack; up begins anew.",
        "devenv reset --yes",
        _when_idle,
        destroys="the containers, the network and the snapshot volume of the stack",
        locks=True,
    ),
    Action(
        "recover",
        "Recover",
        "",
        "When an owner is gone for good: go on with what its predecessor has, or with the newest snapshot.",
        "devenv recover --from devenv-php-fpm-1",
        _when_there,
        destroys="every write since that instance handed its content over, or since the newest snapshot",
        locks=True,
    ),
    Action("cancel", "Cancel", "X", "Cancel what is at work; it is put in order.", why_not=_when_busy),
    Action("config show", "Configuration", "C", "Tell the configuration in effect.", "devenv config show"),
    Action(
        "config schema",
        "Schema",
        "",
        "Print the JSON schema of devenv.toml.",
        "devenv config schema > devenv.schema.json",
    ),
    Action(
        "config path",
        "Paths",
        "",
        "Tell which devenv.toml counts, and where state is kept.",
        "devenv config path",
    ),
    Action("view stack", "Stack", "1", "Show the steps and the instances.", scope="view"),
    Action("view upgrade", "Hand-over", "2", "Show the last hand-over.", scope="view"),
    Action("view commands", "Commands", "3", "Show every command that devenv ran.", scope="view"),
    Action("view receipts", "Receipts", "4", "Show the receipts of past upgrades.", scope="view"),
    Action(
        "logs",
        "Logs",
        "5,L",
        "Show the logs of all services, or of one.",
        "devenv logs php-fpm --follow --tail 100",
        scope="view",
    ),
    Action("view back", "Back", "escape", "Back out one level, at last to the steps.", scope="view"),
    Action("reads", "Reading commands", "e", "Show also the commands that only read.", scope="view"),
    Action(
        "failure",
        "Last error",
        "E",
        "Show the last error once more, whole.",
        why_not=_when_failed,
        scope="view",
    ),
    Action("copy command", "Copy command", "Y", "Copy the chosen command.", scope="view"),
    Action("help", "Help", "question_mark,f1", "Show all keys.", scope="view"),
    Action("palette", "Palette", "ctrl+p", "Find any action by its name.", scope="view"),
    Action("theme", "Theme", "", "Choose the colours.", scope="view"),
    Action("suspend", "Suspend", "ctrl+z", "Go to the shell; fg comes back.", scope="view"),
    Action("quit", "Quit", "q,ctrl+q", "Leave; the stack goes on.", scope="view"),
    Action("log follow", "Follow", "f", "Follow the newest lines, or stay.", scope="logs"),
    Action("log search", "Search", "slash", "Search; matches are marked and counted.", scope="logs"),
    Action("log filter", "Filter", "ampersand", "Show only lines that match, or that do not.", scope="logs"),
    Action("log next match", "Next", "n", "Go to the next match.", scope="logs"),
    Action("log previous match", "Previous", "N", "Go to the match before.", scope="logs"),
    Action("log source", "Source", "i", "Show the lines of one instance, of the next, of all.", scope="logs"),
    Action("log wrap", "Wrap", "w", "Wrap long lines, or cut them.", scope="logs"),
    Action("log timestamps", "Times", "t", "Show the time of each line.", scope="logs"),
    Action("log mark", "Mark", "m", "Draw a line here and now.", scope="logs"),
    Action("log clear", "Clear", "c", "Hide the lines until now; they stay on the disk.", scope="logs"),
    Action("log copy", "Copy", "y", "Copy the selection, or the line.", scope="logs"),
    Action("log copy visible", "Copy all", "ctrl+y", "Copy the lines on the screen.", scope="logs"),
    Action("log save", "Save", "ctrl+s", "Save the lines that pass the filter to a file.", scope="logs"),
    Action("move down", "Down", "j,down", "One down.", scope="move"),
    Action("move up", "Up", "k,up", "One up.", scope="move"),
    Action("move left", "Left", "h,left", "To the left.", scope="move"),
    Action("move right", "Right", "l,right", "To the right.", scope="move"),
    Action("move half down", "Half down", "ctrl+d", "Half a page down.", scope="move"),
    Action("move half up", "Half up", "ctrl+u", "Half a page up.", scope="move"),
    Action("move page down", "Page down", "pagedown", "A page down.", scope="move"),
    Action("move page up", "Page up", "pageup", "A page up.", scope="move"),
    Action("move top", "Top", "g,home", "To the first.", scope="move"),
    Action("move bottom", "Bottom", "G,end", "To the last; logs follow again.", scope="move"),
    Action("move next", "Next part", "tab", "To the next part of the screen.", scope="move"),
    Action("move previous", "Part before", "shift+tab", "To the part before.", scope="move"),
    Action("move in", "Choose", "enter", "Choose what the cursor is on.", scope="move"),
)

COMMANDS: tuple[Action, ...] = tuple(one for one in ACTIONS if one.example)
"""Those that the command line has."""


def action(name: str) -> Action:
    """By name; a KeyError is a mistake of ours."""
    return _BY_NAME[name]


_BY_NAME = {one.name: one for one in ACTIONS}

_SHOWN = {
    "question_mark": "?",
    "slash": "/",
    "ampersand": "&",
    "escape": "esc",
    "pagedown": "page down",
    "pageup": "page up",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
}


def shown(keys: str) -> str:
    """Keys as a person reads them: `?`, not `question_mark`."""
    return " ".join(_SHOWN.get(key, key.replace("ctrl+", "^")) for key in keys.split(",") if key)


def key_table() -> str:
    """All keys as a Markdown table, for the docs."""
    lines = ["| key | what it does |", "|---|---|"]
    for scope, words in SCOPES.items():
        lines.append(f"| | **{words}** |")
        for one in ACTIONS:
            if one.scope == scope and one.keys:
                keys = " ".join(f"`{shown(key)}`" for key in one.keys.split(","))
                lines.append(f"| {keys} | {one.help} |")
    return "\n".join(lines) + "\n"
