"""What each action of the table does here: it asks where something goes, then tells the desk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.content import Content

from devenv.engine.store import Saved
from devenv.engine.upgrade import next_release
from devenv.errors import UsageError
from devenv.logs import harmless
from devenv.model import plan, recovery
from devenv.model.actions import ACTIONS, SCOPES, action, shown
from devenv.model.receipt import Receipt
from devenv.model.stack import schema
from devenv.model.words import age, name, quoted, size
from devenv.tui import dialogs
from devenv.tui.handover import verdict
from devenv.tui.lines import Lines
from devenv.tui.main import View

if TYPE_CHECKING:
    from devenv.tui.app import DevenvApp

Intent = Callable[["DevenvApp"], None]

INTENTS: dict[str, Intent] = {}
"""By the name of the action."""


def _does(name: str) -> Callable[[Intent], Intent]:
    action(name)

    def keep(intent: Intent) -> Intent:
        INTENTS[name] = intent
        return intent

    return keep


def _begin(app: DevenvApp, name: str) -> None:
    app.begin(name)


def _ask(app: DevenvApp, name: str) -> None:
    app.desk.ask(name)


def _show(app: DevenvApp, view: View) -> None:
    app.show_view(view)


_PLAIN = ("up", "verify", "snapshot save", "node-image build", "registry up", "registry down")
INTENTS |= {name: partial(_begin, name=name) for name in _PLAIN}
INTENTS |= {name: partial(_ask, name=name) for name in ("open", "status", "doctor", "snapshot list")}
_VIEWS: dict[str, View] = {
    "view stack": "stack",
    "view upgrade": "upgrade",
    "view commands": "commands",
    "view receipts": "receipts",
    "receipt list": "receipts",
    "logs": "logs",
}
INTENTS |= {name: partial(_show, view=view) for name, view in _VIEWS.items()}


@_does("upgrade")
def _upgrade(app: DevenvApp) -> None:
    owner = app.state.owner
    current = owner.release if owner else ""
    _ask_upgrade(app, "upgrade", current, _next(current))


@_does("rollback")
def _rollback(app: DevenvApp) -> None:
    owner = app.state.owner
    current = owner.release if owner else ""
    previous = app.desk.previous_release(current)
    if previous is None:
        app.tell(
            f"Rollback: no receipt tells which release ran before {current}; u upgrades to any", wrong=True
        )
        return
    _ask_upgrade(app, "rollback", current, previous)


def _ask_upgrade(app: DevenvApp, name: str, current: str, release: str) -> None:
    def answered(wanted: dialogs.Wanted | None) -> None:
        if wanted is not None:
            app.begin(name if wanted.release == release else "upgrade", **_options(name, wanted, release))

    dialog = dialogs.Upgrade(
        plan.upgrade(release), current, release, app.preferences.writers, back=name == "rollback"
    )
    app.push_screen(dialog, answered)


def _options(name: str, wanted: dialogs.Wanted, release: str) -> dict[str, object]:
    options: dict[str, object] = {"writers": wanted.writers}
    if name == "upgrade" or wanted.release != release:
        options["to"] = wanted.release
    return options


@_does("probe")
def _probe(app: DevenvApp) -> None:
    if not app.state.busy:
        app.begin("probe", writers=app.preferences.writers)
    elif not app.desk.toggle_probe():
        app.tell("Probe: it has counted already, once for each upgrade", wrong=True)


@_does("build")
def _build(app: DevenvApp) -> None:
    owner = app.state.owner
    release = owner.release if owner else app.desk.stack.stack.release
    options = [(one, name(one)) for one in dict.fromkeys((release, _next(release)))]

    def answered(chosen: str | None) -> None:
        if chosen:
            app.begin("build", release=chosen)

    app.push_screen(dialogs.Choose("Build which release?", options), answered)


@_does("push")
def _push(app: DevenvApp) -> None:
    owner = app.state.owner
    app.begin("push", release=owner.release if owner else None)


def _next(release: str) -> str:
    """The same one where its name tells of none after it: a person knows."""
    try:
        return next_release(release)
    except UsageError:
        return release


@_does("down")
def _down(app: DevenvApp) -> None:
    text = [
        "The content is saved first, then these containers and the stack's network go:",
        *([f"  {quoted(one.name)}" for one in app.state.instances] or ["  (none)"]),
        "",
        "The next up restores the content.",
    ]
    _sure(app, "Down", text, "Yes, down", "down")


@_does("reset")
def _reset(app: DevenvApp) -> None:
    stack = app.desk.stack.stack.name
    text = [
        "This goes for good:",
        *(f"  container  {one.name}" for one in app.state.instances),
        f"  network    {stack}_default",
        f"  volume     {stack}_snapshots",
        "",
        "The site's content is in them. A last snapshot is kept on this machine if one can be had.",
    ]
    _sure(app, "Reset", text, "Yes, remove all of it", "reset")


@_does("cancel")
def _cancel(app: DevenvApp) -> None:
    text = f"{app.state.action} is cancelled; what it began is undone, or finished where it cannot be."

    def answered(sure: bool | None) -> None:
        if sure and not app.desk.cancel():
            app.tell("Nothing is at work any more")

    app.push_screen(dialogs.Confirm("Cancel", [text], "Yes, cancel it", no="No, go on"), answered)


def _sure(app: DevenvApp, title: str, text: Lines, yes: str, action_: str, /, **options: object) -> None:
    def answered(sure: bool | None) -> None:
        if sure:
            app.begin(action_, **options)

    app.push_screen(dialogs.Confirm(title, text, yes), answered)


@_does("snapshot restore")
def _restore(app: DevenvApp) -> None:
    saved = app.desk.snapshots()[::-1]
    if not saved:
        app.tell("Restore: there is no snapshot yet; s saves one", wrong=True)
        return
    options = [(str(one.path), _words(one)) for one in saved]

    def answered(path: str | None) -> None:
        if path:
            text = [
                "The content is replaced by that of",
                f"  {quoted(path)}",
                "",
                "What is there now is saved here first.",
            ]
            _sure(app, "Restore", text, "Yes, restore it", "snapshot restore", name=path)

    app.push_screen(dialogs.Choose("Restore which snapshot?", options), answered)


def _words(one: Saved) -> str:
    return f"{age(time.time() - one.time):>5} old  {name(one.release):8} {one.reason:15} {size(one.bytes):>9}"


@_does("recover")
def _recover(app: DevenvApp) -> None:
    there = [one for one in app.state.instances if recovery.can_be_recovered(one)]
    if not there:
        app.tell("Recover: no instance here waits for an owner that is gone, or has moved", wrong=True)
        return

    def answered(name: str | None) -> None:
        for chosen in (one for one in there if one.name == name):
            php_fpm = [one for one in app.state.instances if one.service == chosen.service]
            if against := recovery.objections(php_fpm, chosen):
                app.tell(f"Recover: {against[0].what}; {against[0].why(chosen)}", wrong=True)
                return
            lost = f"Lost is {action('recover').destroys}."
            text = f"{quoted(chosen.name)} goes on with {recovery.content_of(chosen)}. {lost}"
            _sure(app, "Recover", [text], "Yes, recover", "recover", from_=chosen.name)

    options = [(one.name, f"{quoted(one.name)}  {name(one.release)}") for one in there]
    app.push_screen(dialogs.Choose("Recover from which instance?", options), answered)


@_does("receipt show")
def _receipt(app: DevenvApp) -> None:
    kept = app.desk.receipts()
    if not kept:
        app.tell("Receipt: there is none yet; an upgrade leaves one", wrong=True)
        return
    show_receipt(app, *kept[-1])


def show_receipt(app: DevenvApp, path: object, receipt: Receipt) -> None:
    """The verdict, the tables, the phases, the probe, and where it lies."""
    old, new = receipt.old, receipt.new
    way = f"{name(old.release)} → {name(new.release)}"
    lines = [
        Content.styled(f"{way}   epoch {old.epoch} → {new.epoch}", "bold"),
        Content(f"old  {old.instance}  {old.digest.removeprefix('sha256:')[:12]}"),
        Content(f"new  {new.instance}  {new.digest.removeprefix('sha256:')[:12]}"),
        Content(""),
        *verdict(receipt),
        Content(""),
        Content(
            f"closed {'?' if receipt.closed_ms is None else receipt.closed_ms} ms   held {receipt.held}"
            f"   relayed {receipt.relayed}"
        ),
    ]
    if receipt.probe:
        names = {"writers": "writers", "acknowledged": "acknowledged", "failed": "failed", "lost": "lost"}
        names["duplicated"] = "twice"
        counts = (f"{word} {receipt.probe.get(name)}" for name, word in names.items())
        lines.append(Content("probe  " + "   ".join(counts)))
    lines.append(Content("ms since the new one began to look for the old one:"))
    lines += [Content(f"{ms:9.1f}  {side:9} {phase}") for side, phase, ms in receipt.phases]
    lines += [Content(""), Content.styled(quoted(str(path)), "dim")]
    app.show_text("Receipt", lines)


@_does("config show")
def _config(app: DevenvApp) -> None:
    app.show_text("Configuration in effect", _pretty(app.desk.stack.model_dump(mode="json")))


@_does("config schema")
def _schema(app: DevenvApp) -> None:
    app.show_text("JSON schema of devenv.toml", _pretty(schema()))


def _pretty(data: object) -> list[str]:
    return json.dumps(data, indent=2).split("\n")


@_does("config path")
def _path(app: DevenvApp) -> None:
    app.show_text("Paths", [f"{name:12} {value}" for name, value in app.paths.items()])


@_does("view back")
def _back(app: DevenvApp) -> None:
    if app.main.logs.prompt.is_open:
        app.main.logs.prompt.take_back()
    else:
        app.show_view("stack")


@_does("failure")
def _failure(app: DevenvApp) -> None:
    failed = app.state.failure
    if failed is None:
        return
    text = [f"✗ {failed.what}", f"  why:  {failed.why}"]
    if failed.instance_says:
        text.append(f"  the instance says: {failed.instance_says}")
    text.append(f"  next: {failed.next}")
    if tail := harmless.tail(failed.log_tail):
        text += ["", *tail]
    app.show_text("Last error", text)


@_does("help")
def _help(app: DevenvApp) -> None:
    lines: list[Content] = []
    for scope, words in SCOPES.items():
        lines.append(Content.styled(words, "bold"))
        for one in ACTIONS:
            if one.scope == scope:
                why = one.why_not(app.state)
                not_now = (f"  (not now: {why})", "$warning") if why else ("", "")
                keys = shown(app.keys[one.name]) or "palette"
                lines.append(Content.assemble((f"  {keys:10} ", "bold"), one.help, not_now))
        lines.append(Content(""))
    lines.append(Content("Drag marks text, ^c copies it; with shift the terminal itself marks."))
    app.show_text("Keys", lines)


@_does("reads")
def _reads(app: DevenvApp) -> None:
    app.show_view("commands")
    app.main.commands.toggle_reads(app.state)


@_does("copy command")
def _copy_command(app: DevenvApp) -> None:
    if chosen := app.main.commands.chosen:
        app.copy(chosen, "command")
    else:
        app.tell("Copy command: 3 shows the commands, the cursor chooses one", wrong=True)


@_does("palette")
def _palette(app: DevenvApp) -> None:
    app.action_command_palette()


@_does("theme")
def _theme(app: DevenvApp) -> None:
    app.search_themes()


@_does("suspend")
def _suspend(app: DevenvApp) -> None:
    app.action_suspend_process()


@_does("quit")
def _quit(app: DevenvApp) -> None:
    app.leave()


_LOGS = {
    "log follow": "follow",
    "log search": "search",
    "log filter": "filter",
    "log next match": "next_match",
    "log previous match": "previous_match",
    "log source": "source",
    "log wrap": "wrap",
    "log timestamps": "timestamps",
    "log mark": "mark",
    "log clear": "clear",
    "log copy": "copy",
    "log copy visible": "copy_visible",
    "log save": "save",
}


def _log(app: DevenvApp, how: str) -> None:
    getattr(app.main.logs, f"action_{how}")()


INTENTS |= {name: partial(_log, how=how) for name, how in _LOGS.items()}

_MOVES: dict[str, tuple[str, ...]] = {
    "move down": ("cursor_down", "line_down", "scroll_down"),
    "move up": ("cursor_up", "line_up", "scroll_up"),
    "move left": ("cursor_left", "left", "scroll_left"),
    "move right": ("cursor_right", "right", "scroll_right"),
    "move half down": ("half_page_down", "page_down"),
    "move half up": ("half_page_up", "page_up"),
    "move page down": ("page_down",),
    "move page up": ("page_up",),
    "move top": ("scroll_top", "top", "scroll_home"),
    "move bottom": ("scroll_bottom", "bottom", "scroll_end"),
    "move in": ("select_cursor",),
}


def _move(app: DevenvApp, ways: tuple[str, ...]) -> None:
    """What has the focus moves, in its own way; else the logs do."""
    for target in (*app.focused_chain(), app.main.logs):
        for way in ways:
            if hasattr(target, f"action_{way}"):
                # Not called as it is: it may say that it has nowhere to go.
                app.call_later(app.run_action, way, target)
                return


INTENTS |= {name: partial(_move, ways=ways) for name, ways in _MOVES.items()}


@_does("move next")
def _next_part(app: DevenvApp) -> None:
    _close_prompt(app)
    app.action_focus_next()


@_does("move previous")
def _part_before(app: DevenvApp) -> None:
    _close_prompt(app)
    app.action_focus_previous()


def _close_prompt(app: DevenvApp) -> None:
    """One cannot be left open behind one's back."""
    if app.main.logs.prompt.is_open:
        app.main.logs.prompt.take_back()
