"""`[app]`: what devenv must know of an application. All of it is checked when it is read, on any backend."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_DATABASE = "data/database.sqlite"
_SIDE_FILES = ("-wal", "-shm", "-journal")
_OURS = (".gate", "seed")
"""The gate's own folder beside the database, and where the content of a first start lies."""


def _below(text: str) -> str:
    """A path below the application's folder, in its shortest form."""
    path = PurePosixPath(text)
    if not text or not text.isprintable() or set(text) & set("\\:"):
        raise ValueError(f"{text!r} is no path: it is empty, or has a character that none of ours may have")
    if path.is_absolute() or text.startswith("~"):
        raise ValueError(f"{text!r} is absolute: name it from the application's folder on")
    if ".." in path.parts:
        raise ValueError(f"{text!r} leads out of the application's folder")
    return str(path)


def _warmup(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(text) & set(" #"):
        raise ValueError(f"{text!r} is no path of the site: it begins with /, and is written as in a link")
    return text


Below = Annotated[str, AfterValidator(_below)]


class AppSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    source: str = ""
    """Folder of a PHP application, relative to devenv.toml. Empty: the demo site."""
    document_root: Below = "public"
    """Below the application's folder; its index.php answers what is not a static file."""
    database: Below = _DATABASE
    """Below the application's folder, in a folder of its own; the SQLite file that travels from instance to
    instance."""
    travel: tuple[Below, ...] = Field(
        default=("data/sessions",), description="Left out: `sessions`, beside the database."
    )
    """Folders that travel with it, beside it: sessions, uploads."""
    warmup: Annotated[str, AfterValidator(_warmup)] = "/healthz"
    """A path that a new release must answer before it gets the content."""

    @model_validator(mode="before")
    @classmethod
    def _beside_the_database(cls, given: Any) -> Any:
        """Sessions lie where the database does, wherever that is."""
        if isinstance(given, dict) and "travel" not in given and isinstance(given.get("database"), str):
            return {**given, "travel": (str(PurePosixPath(given["database"]).parent / "sessions"),)}
        return given

    @model_validator(mode="after")
    def _fit(self) -> AppSection:
        if wrong := next(_unfit(self), None):
            raise ValueError(wrong)
        return self


def _unfit(app: AppSection) -> Iterator[str]:
    """Why these paths do not go together, in words."""
    database, root = PurePosixPath(app.database), PurePosixPath(app.document_root)
    home = database.parent
    if home == PurePosixPath():
        yield (
            f"database: {app.database!r} lies in the application's own folder, which would become the"
            f" instance's: give it one of its own, as data/{database.name}"
        )
    if root.is_relative_to(home):
        yield (
            f"database: its folder {str(home)!r} holds the document root {app.document_root!r}, which would"
            " become the instance's: give the database a folder of its own"
        )
    if home.parts[:1] == ("seed",) or ".gate" in database.parts:
        yield f"database: {' and '.join(_OURS)} are folders of devenv's own: choose another one"
    folders = [PurePosixPath(one) for one in app.travel]
    for folder in folders:
        inside = f"name what is in it, as {home / 'uploads'}"
        if database.is_relative_to(folder):
            yield f"travel: {str(folder)!r} holds the database, which travels by itself: {inside}"
        if not folder.is_relative_to(home):
            yield f"travel: {str(folder)!r} is not in {str(home)!r}, the folder of the database: {inside}"
        if ".gate" in folder.parts:
            yield f"travel: {str(folder)!r} is in a folder of devenv's own"
        if str(folder) in {f"{app.database}{suffix}" for suffix in _SIDE_FILES}:
            yield f"travel: {str(folder)!r} is a file of SQLite's, which goes with the database"
    for one, other in combinations(folders, 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            yield f"travel: {str(one)!r} and {str(other)!r} are in one another: name the outer one, once"
