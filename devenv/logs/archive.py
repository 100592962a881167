"""All log lines on the disk, whole: the screen keeps only as many as fit its memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from devenv.model.events import LogLine

KEPT = 5
"""Files of earlier runs."""
LIMIT = 64 << 20
"""Bytes of one file; the one before it is kept as well."""
KEPT_SHOWN = 20
"""Files of what was shown, which the terminal interface saves here on request: `shown-….txt`."""


class Archive:
    """A file of its own for each run. Whatever the disk says, what is shown goes on."""

    def __init__(self, folder: Path, *, limit: int = LIMIT) -> None:
        self.path = folder / time.strftime("%Y%m%dT%H%M%S.log")
        self._limit = limit
        self._written = 0
        self._file: TextIO | None = None
        self.failed = ""
        """Why no more lines are kept."""

    def write(self, lines: Iterable[LogLine]) -> None:
        if self.failed:
            return
        try:
            file = self._file or self._open()
            for line in lines:
                self._written += file.write(f"{_second(int(line.time))} {line.source} | {line.text}\n")
            file.flush()
            if self._written > self._limit:
                self.close()
                self.path.replace(self.path.with_suffix(".1.log"))
        except OSError as error:
            self.failed = error.strerror or str(error)

    def _open(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for names, kept in (("*T*.log", KEPT), ("shown-*.txt", KEPT_SHOWN)):
            for old in sorted(self.path.parent.glob(names))[:-kept]:
                old.unlink(missing_ok=True)
        self._written = 0
        self._file = self.path.open("a", encoding="utf-8", errors="replace")
        return self._file

    def close(self) -> None:
        file, self._file = self._file, None
        # What a full disk did not take is still in the file's buffer, and refused once more; that was told.
        with suppress(OSError):
            if file is not None:
                file.close()


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Most lines share theirs with the one before."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
