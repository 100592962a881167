"""Every action by its name, also those that have no key and those that cannot be had now."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from devenv.logs import harmless
from devenv.model.actions import ACTIONS, Action, shown

if TYPE_CHECKING:
    from devenv.tui.app import DevenvApp

_FIRST = ("upgrade", "rollback", "verify", "probe", "open", "snapshot save", "logs", "help")


class Actions(Provider):
    @property
    def _devenv(self) -> DevenvApp:
        return cast("DevenvApp", self.app)

    async def discover(self) -> Hits:
        for one in sorted(ACTIONS, key=lambda one: one.name not in _FIRST):
            if one.scope != "move":
                yield DiscoveryHit(self._words(one), partial(self._devenv.act, one.name), help=one.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for one in ACTIONS:
            words = self._words(one)
            score = max(matcher.match(words), matcher.match(f"{one.name} {one.help}") * 0.8)
            if one.scope != "move" and score > 0:
                act = partial(self._devenv.act, one.name)
                yield Hit(score, matcher.highlight(words), act, text=words, help=one.help)

    def _words(self, one: Action) -> str:
        keys = shown(self._devenv.keys[one.name])
        why = one.why_not(self._devenv.state)
        return harmless.line(
            f"{one.name}{f'  ({keys})' if keys else ''}{f'  — not now: {why}' if why else ''}"
        )
