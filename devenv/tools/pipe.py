"""What a program writes, taken as it comes: who takes it says when it is enough."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import IO, Any, TypeVar

Taken = TypeVar("Taken")
Send = Callable[[IO[bytes]], Coroutine[Any, Any, object]]
"""Runs a program that writes to the file."""
Take = Callable[[IO[bytes]], Taken]

_CHUNK = 1 << 20


async def through(send: Send, take: Take[Taken]) -> Taken:
    """What `take` makes of what `send` writes; it is called in a thread.

    An error that it raises while more is to come ends the program, which has nobody to write to then, and is
    the one that is raised here.
    """
    reading, writing = os.pipe()
    source, sink = os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0)
    refused: list[Exception] = []

    def taken() -> Taken:
        # Closed at last: from then on the program gets an error for each byte.
        with source:
            try:
                made = take(source)
                while source.read(_CHUNK):  # padding
                    pass
            except Exception as error:
                refused.append(error)
                raise
        return made

    taking = asyncio.ensure_future(asyncio.to_thread(taken))
    try:
        await send(sink)
    except Exception:
        if refused:
            raise refused[0] from None
        raise
    finally:
        # Only now there is an end to what is taken.
        sink.close()
        await asyncio.wait([taking])
        taking.exception()
    return taking.result()
