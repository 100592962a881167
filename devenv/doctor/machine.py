"""Changing files of this machine, as root, with a record of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devenv.doctor import record as records
from devenv.doctor.record import Before, Record
from devenv.tools import process

# Beside its place and then over it, so that nobody finds a half.
_PART = ".devenv-part"
_PUT = (
    f'set -e; mkdir -p "$(dirname "$2")"; part="$2{_PART}"; trap \'rm -f "$part"\' EXIT; '
    'install -m "$3" "$1" "$part"; sync "$part"; mv -fT "$part" "$2"; sync "$(dirname "$2")"'
)


@dataclass(frozen=True, slots=True)
class Machine:
    become: Sequence[str] = ()
    """What to put before a command that needs root."""
    root: Path = Path("/")
    owner: int = 0
    """Whose the record must be."""

    def at(self, path: str | Path) -> Path:
        return self.root / Path(path).relative_to("/")

    @property
    def _record(self) -> Path:
        return self.at(records.PLACE)

    def recorded(self) -> Record:
        """Raises DevenvError for a record that cannot be used."""
        return records.load(self._record, self.owner)

    async def keep(self, record: Record) -> None:
        """Nothing is left of a record of nothing."""
        if record.empty:
            if self._record.exists():
                await self.remove(records.PLACE)
                folder = str(self._record.parent)
                await process.run([*self.become, "rmdir", "--ignore-fail-on-non-empty", folder])
            return
        await self.put(records.PLACE, records.text(record).encode())

    async def put(self, path: str | Path, content: bytes, mode: int = 0o644) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            await process.run(
                [*self.become, "sh", "-c", _PUT, "sh", file.name, str(self.at(path)), f"{mode:o}"]
            )

    async def remove(self, path: str | Path) -> None:
        place = self.at(path)
        await process.run([*self.become, "rm", "-f", str(place), f"{place}{_PART}"])

    def content(self, path: str | Path) -> bytes | None:
        try:
            return self.at(path).read_bytes()
        except OSError:
            return None

    def before(self, path: str | Path) -> Before:
        content = self.content(path)
        return Before(content) if content is None else Before(content, self.at(path).stat().st_mode & 0o777)

    async def restore(self, files: Mapping[str, Before]) -> None:
        """As they were, byte for byte."""
        for path, before in files.items():
            if before.content is None:
                await self.remove(path)
            elif self.content(path) != before.content:
                await self.put(path, before.content, before.mode)
