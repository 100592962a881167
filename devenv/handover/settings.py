"""What an instance is told by its environment. Every value has a default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .database import SIDE_FILES
from .deadlines import Deadlines
from .problem import Problem

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Writable:
    """A folder in which the application may write. What the gate has in it is on the same file system: it is
    put in place by renaming."""

    path: Path
    key: str
    """From the application's folder on, as in "wp-content/uploads": the same in each release."""
    own: Path
    """The gate's own folder in it."""
    pristine: Path
    """What the image has there."""
    untouched: frozenset[Path] = frozenset()
    """What else in it is not the application's doing: the database, which travels by itself."""

    @property
    def staged(self) -> Path:
        """Changes that are about to be put in place."""
        return self.own / "incoming/changes"

    @property
    def aside(self) -> Path:
        """What was in the place of what has been put there, for as long as that may be undone."""
        return self.own / "aside"

    def is_own(self, path: Path) -> bool:
        return path == self.own or path in self.untouched

    def key_of(self, path: Path) -> str:
        return f"{self.key}/{path.relative_to(self.path)}"

    def holds_own(self, path: Path) -> bool:
        """Whether what is not the application's doing is in it, or is it."""
        return any(one.is_relative_to(path) for one in (self.own, *self.untouched))

    def path_of(self, key: str) -> Path:
        return self.path / PurePosixPath(key).relative_to(self.key)

    def pristine_of(self, key: str) -> Path:
        return self.pristine / PurePosixPath(key).relative_to(self.key)


@dataclass(frozen=True, slots=True)
class Settings:
    release: str
    database: Path
    seed: Path | None
    """The content of a first deployment; None: the first server start creates it."""
    root: Path
    """The application's folder."""
    writable: tuple[Writable, ...]
    """Folders in which the application may write, the database's among them. What it has changed in them
    travels with the database: sessions, uploads."""
    leave: tuple[str, ...]
    """What in them need not: caches. From the application's folder on."""
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
        """What is about to be put in place: `staged`, what has changed beside it, and what that is."""
        return self.state / "incoming"

    @property
    def staged(self) -> Path:
        return self.staging / "database.sqlite"

    @property
    def staged_changes(self) -> Path:
        """The list of the changes that are staged, which lie in the folders themselves."""
        return self.staging / "changes.json"

    @property
    def staged_carried(self) -> Path:
        return self.staging / "carried.json"

    @property
    def carried(self) -> Path:
        """Which changes of earlier instances the image does not show."""
        return self.state / "carried.json"

    @property
    def populated(self) -> Path:
        """Is there once the folders have what the image has there; as old as the instance."""
        return self.state / "populated"

    @property
    def absent(self) -> Path:
        """Is there while an empty file stands for a database that the application has not made yet."""
        return self.state / "absent"

    @property
    def sessions(self) -> Path:
        """Where PHP keeps them, unless the application says otherwise."""
        return self.database.parent / "sessions"

    def key_of(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def is_left(self, key: str) -> bool:
        return any(PurePosixPath(key).is_relative_to(one) for one in self.leave)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        database = Path(env.get("GATE_DATABASE", "/app/data/database.sqlite"))
        seed = env.get("GATE_SEED", "/app/seed/database.sqlite")
        snapshots = env.get("GATE_SNAPSHOTS", "/snapshots")
        mark = env.get("GATE_MARK")
        state = Path(env.get("GATE_STATE", str(database.parent / ".gate")))
        root = Path(env.get("GATE_ROOT") or _root(database))
        pristine = Path(env.get("GATE_PRISTINE", "/opt/gate/pristine"))
        writable = tuple(
            writable_folder(path, root, pristine, database, state)
            for path in _paths(env.get("GATE_WRITABLE") or str(database.parent), root)
        )
        if not any(database.is_relative_to(folder.path) for folder in writable):
            raise Problem(
                "the database lies in no writable folder",
                f"it is {database}, and GATE_WRITABLE names {', '.join(str(one.path) for one in writable)}",
                "name its folder there as well",
            )
        return cls(
            release=env.get("GATE_RELEASE", "unknown"),
            database=database,
            seed=Path(seed) if seed else None,
            root=root,
            writable=writable,
            leave=tuple(_key(path, root, "GATE_LEAVE") for path in _paths(env.get("GATE_LEAVE", ""), root)),
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


def _root(database: Path) -> Path:
    app = Path("/app")
    return app if database.is_relative_to(app) else database.parent.parent


def _paths(text: str, root: Path) -> list[Path]:
    """From the application's folder on, where they do not say otherwise."""
    return [root / path for path in text.split(":") if path]


def _key(path: Path, root: Path, name: str) -> str:
    if not path.is_relative_to(root) or path == root:
        raise Problem(
            "a folder is not the application's",
            f"{name} names {path}, which is not in {root}",
            "name one in it; GATE_ROOT says where the application is",
        )
    return str(path.relative_to(root))


def writable_folder(path: Path, root: Path, pristine: Path, database: Path, state: Path) -> Writable:
    """The one at `path`, of an application in `root`."""
    key = _key(path, root, "GATE_WRITABLE")
    if path.exists() and not path.is_dir():
        raise Problem(
            "a writable folder is a file", f"GATE_WRITABLE names {path}", "name the folder that it is in"
        )
    if not database.is_relative_to(path):
        return Writable(path, key, path / state.name, pristine / key)
    files = (database, *(Path(f"{database}{suffix}") for suffix in SIDE_FILES))
    return Writable(path, key, state, pristine / key, frozenset(files))


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
