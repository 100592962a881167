"""The site as whoever opens it finds it: asked on this machine, for the page that devenv.toml names."""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from devenv.engine.context import Context
from devenv.errors import DevenvError
from devenv.model.events import Notice
from devenv.model.instance import Instance
from devenv.tools.http import ask

PATIENCE = 20.0
"""Seconds until a site whose containers are healthy is reached."""
_AGAIN = 0.1
_NOT_REACHED = (502, 503, 504)
"""What httpd answers as long as it does not reach php-fpm."""
_INSTALLS = re.compile(r"install|setup|wizard", re.IGNORECASE)


async def require(ctx: Context, owner: Instance | None) -> None:
    """Raise a DevenvError unless the page is there, as an upgrade asks of a release: 2xx, or a redirect."""
    deadline = time.monotonic() + PATIENCE
    wrong = await _wrong(ctx)
    while wrong and wrong.passes and time.monotonic() < deadline:
        await asyncio.sleep(_AGAIN)
        wrong = await _wrong(ctx)
    if wrong:
        tail = await ctx.backend.log_tail(owner) if owner else ""
        raise DevenvError(f"the site does not work: {wrong.words}", wrong.why, wrong.next_step, tail)


async def problem(ctx: Context) -> str:
    """What is wrong with it at this moment, in words; empty where it answers."""
    wrong = await _wrong(ctx, tell=False)
    return wrong.words if wrong else ""


@dataclass(frozen=True, slots=True)
class _Wrong:
    words: str
    why: str
    next_step: str
    passes: bool = False
    """It may only be too early to ask."""


async def _wrong(ctx: Context, *, tell: bool = True) -> _Wrong | None:
    path, page = ctx.stack.app.warmup, f"{ctx.stack.url}{ctx.stack.app.warmup}"
    try:
        answer = await ask(ctx.stack.stack.port, path)
    except (OSError, TimeoutError) as error:
        return _Wrong(f"nobody answers at {page}", _silence(error), _ELSEWHERE, passes=True)
    words, why = f"it answers {answer.code}", f"{page} answers {answer.code}"
    if answer.code in _NOT_REACHED:
        return _Wrong(words, f"{why}: httpd does not reach php-fpm", "see: devenv logs", passes=True)
    if answer.code >= 500:
        return _Wrong(words, why, "see its log below, or: devenv logs")
    if answer.code >= 400:
        return _Wrong(words, why, "name a page that anybody can open: [app] warmup in devenv.toml")
    if tell and _INSTALLS.search(answer.location):
        words = f"{page} leads to {answer.location}: the application wants to be installed"
        ctx.emit(Notice(words, "warning"))
    return None


_ELSEWHERE = "see: devenv logs httpd; and whether the engine is on this machine: docker context ls"


def _silence(error: Exception) -> str:
    why = str(error) or type(error).__name__
    host = os.environ.get("DOCKER_HOST", "")
    if urlsplit(host).hostname not in (None, "localhost", "127.0.0.1", "::1"):
        return f"{why}; the engine is at {host} (DOCKER_HOST), and its ports are there, not here"
    return why
