"""`[app]`: what devenv must know of an application. All of it is checked when it is read, on any backend."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_DATABASE = "data/database.sqlite"
_OURS = (".gate", "seed")
"""The gate's own folder in each writable one, and where the content of a first start lies."""
CACHES = (
    "var/cache", "var/log",
    "storage/framework/cache", "storage/framework/views", "storage/logs", "bootstrap/cache",
    "wp-content/cache", "wp-content/upgrade",
)  # fmt: skip
"""What Symfony, Laravel and WordPress make anew by themselves."""


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
    writable: tuple[Below, ...] = Field(
        default=("data",), description="Left out: the folder of the database."
    )
    """Folders in which the application may write; one of them holds the database. What an instance makes,
    changes or removes there is content, which the next one gets: sessions, uploads, further databases."""
    leave: tuple[Below, ...] = Field(
        default=(), description="Left out: caches of Symfony, Laravel, WordPress."
    )
    """What in them need not: caches, logs."""
    warmup: Annotated[str, AfterValidator(_warmup)] = "/healthz"
    """A path that a new release must answer before it gets the content."""

    @model_validator(mode="before")
    @classmethod
    def _by_default(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if "travel" in given:
            raise ValueError(
                "travel: there is no such key any more: all that changes in `writable` travels; remove it"
            )
        database = given.get("database", _DATABASE)
        if "writable" not in given and isinstance(database, str):
            given = {**given, "writable": (str(PurePosixPath(database).parent),)}
        writable = given.get("writable", ())
        if "leave" not in given and isinstance(writable, list | tuple):
            tops = [PurePosixPath(one) for one in writable if isinstance(one, str)]
            caches = (one for one in CACHES if any(top in PurePosixPath(one).parents for top in tops))
            given = {**given, "leave": tuple(caches)}
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
    elif root.is_relative_to(home):
        yield (
            f"database: its folder {str(home)!r} holds the document root {app.document_root!r}, which would"
            " become the instance's: give the database a folder of its own"
        )
    if home.parts[:1] == ("seed",) or ".gate" in database.parts:
        yield f"database: {' and '.join(_OURS)} are folders of devenv's own: choose another one"
    folders = [PurePosixPath(one) for one in app.writable]
    for folder in folders:
        if folder == PurePosixPath():
            if home != folder:
                yield "writable: '.' is all of the application: name the folders in it that change"
        elif root.is_relative_to(folder):
            yield (
                f"writable: {str(folder)!r} holds the document root {app.document_root!r}, which would become"
                " the instance's: name what changes in it"
            )
        if folder.parts[:1] == ("seed",) or ".gate" in folder.parts:
            yield f"writable: {' and '.join(_OURS)} are folders of devenv's own: choose another one"
    if home != PurePosixPath() and not any(database.is_relative_to(folder) for folder in folders):
        yield f"writable: none of these folders holds the database {app.database!r}: add {str(home)!r}"
    for one, other in combinations(folders, 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            yield f"writable: {str(one)!r} and {str(other)!r} are in one another: name the outer one, once"
    for one in map(PurePosixPath, app.leave):
        if not any(folder in one.parents for folder in folders):
            yield f"leave: {str(one)!r} is in no writable folder, so there is nothing to leave"
        if database.is_relative_to(one):
            yield f"leave: {str(one)!r} holds the database, which never stays behind"
