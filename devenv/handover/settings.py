"""What an instance is told by its environment. Every value has a default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .deadlines import Deadlines
from .problem import Problem

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    release: str
    database: Path
    seed: Path | None
    """The content of a first deployment; None: the first server start creates it."""
    travel: tuple[Path, ...]
    """Folders that move together with the database: sessions, uploads."""
    peers: tuple[str, ...]
    """Names or addresses under which the instances of this application are found."""
    control_name: str | None
    """A name that must resolve before "no instance found" is believed."""
    secret_file: Path
    snapshots: Path | None
    mark: Path | None
    """Where devenv tells who has the content; see told.py. None where the volume of snapshots does."""
    warmup: str
    document_root: str
    listen: Address
    control: Address
    neighbours_only: bool
    """Whether only those on our own networks may connect, not their host: see `neighbours`."""
    state: Path
    deadlines: Deadlines = field(default_factory=Deadlines)

    @property
    def staging(self) -> Path:
        """What is about to be put in place: `staged`, and the travelling folders below `staged_travel`."""
        return self.state / "incoming"

    @property
    def aside(self) -> Path:
        """What was in the place of what has been put there, for as long as that may be undone."""
        return self.state / "aside"

    @property
    def staged(self) -> Path:
        return self.staging / "database.sqlite"

    @property
    def staged_travel(self) -> Path:
        return self.staging / "travel"

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        database = Path(env.get("GATE_DATABASE", "/app/data/database.sqlite"))
        travel = env.get("GATE_TRAVEL", str(database.parent / "sessions"))
        seed = env.get("GATE_SEED", "/app/seed/database.sqlite")
        snapshots = env.get("GATE_SNAPSHOTS", "/snapshots")
        mark = env.get("GATE_MARK")
        state = Path(env.get("GATE_STATE", str(database.parent / ".gate")))
        folders = tuple(Path(path) for path in travel.split(":") if path)
        for folder in folders:
            _require_apart(folder, database, state)
        return cls(
            release=env.get("GATE_RELEASE", "unknown"),
            database=database,
            seed=Path(seed) if seed else None,
            travel=folders,
            peers=tuple(name.strip() for name in env.get("GATE_PEERS", "php-fpm").split(",")),
            control_name=env.get("GATE_CONTROL_NAME") or None,
            secret_file=Path(env.get("GATE_SECRET_FILE", "/run/secrets/handover")),
            snapshots=Path(snapshots) if snapshots and Path(snapshots).is_dir() else None,
            mark=Path(mark) if mark else None,
            warmup=env.get("GATE_WARMUP", "/"),
            document_root=env.get("GATE_DOCUMENT_ROOT", "/app/public"),
            listen=_address(env.get("GATE_LISTEN", "0.0.0.0:9000")),
            control=_address(env.get("GATE_CONTROL", "0.0.0.0:9010")),
            neighbours_only=_clients(env.get("GATE_CLIENTS", "")),
            state=state,
            deadlines=Deadlines.from_env(env),
        )

    def secret(self) -> bytes:
        try:
            secret = self.secret_file.read_bytes().strip()
        except OSError as error:
            raise Problem(
                "the hand-over has no secret",
                f"{self.secret_file}: {error.strerror}",
                "give the stack its secret: HANDOVER_SECRET in compose/.env, at least 32 characters",
            ) from error
        if len(secret) < 32:
            raise Problem(
                "the secret of the hand-over is too short",
                f"{self.secret_file} holds {len(secret)} characters, 32 are the least",
                "make a new one, for instance with: openssl rand -hex 32",
            )
        return secret


def _require_apart(folder: Path, database: Path, state: Path) -> None:
    """It is replaced as a whole, and what is in it with it."""
    why = ""
    if database.is_relative_to(folder) or state.is_relative_to(folder) or folder.is_relative_to(state):
        why = f"it holds what the gate itself looks after: {database} and {state}"
    elif folder.exists() and not folder.is_dir():
        why = "it is a file"
    if why:
        raise Problem(
            "a travelling folder cannot be one",
            f"GATE_TRAVEL names {folder}, and {why}",
            f"name a folder beside the database, as {database.parent / 'uploads'}",
        )


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _clients(text: str) -> bool:
    if text not in ("", "all", "neighbours"):
        raise Problem(
            "who may connect is not known",
            f"GATE_CLIENTS is {text!r}",
            "set it to neighbours, or to all, which is the default",
        )
    return text == "neighbours"
