"""What devenv.toml describes. Every value has a default, so no file is a valid one."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devenv.errors import ConfigError
from devenv.model.probe import ProbeConfig

FILE_NAME = "devenv.toml"

Release = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class StackSection(_Section):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] = "devenv"
    """Of the compose project; containers, networks and volumes carry it."""
    backend: Literal["compose"] = "compose"
    """Where the stack runs."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """On 127.0.0.1, where the site answers."""
    release: Release = "v1"
    """What a first `up` starts. Later the running instance's release counts."""


class AppSection(_Section):
    source: str = ""
    """Folder of a PHP application, relative to devenv.toml. Empty: the demo site."""
    document_root: str = "public"
    """Below the application's folder; its index.php answers what is not a static file."""
    database: str = "data/database.sqlite"
    """Below the application's folder; the SQLite file that travels from instance to instance."""
    travel: tuple[str, ...] = ("data/sessions",)
    """Folders that travel with it: sessions, uploads."""
    warmup: str = "/healthz"
    """A path that a new release must answer before it gets the content."""


class ImagesSection(_Section):
    base: str = "debian:bookworm-slim"
    """Pulled from its registry; without one, made by mmdebstrap on Debian."""


class Stack(_Section):
    stack: StackSection = StackSection()
    app: AppSection = AppSection()
    images: ImagesSection = ImagesSection()
    probe: ProbeConfig = ProbeConfig()

    @property
    def image_prefix(self) -> str:
        """Stacks of other names have images of their own; the default one's are httpd:v1 and php-fpm:v1."""
        return "" if self.stack.name == StackSection().name else f"{self.stack.name}/"

    def image(self, service: str, release: str) -> str:
        return f"{self.image_prefix}{service}:{release}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stack.port}"


def find(start: Path) -> Path | None:
    """The devenv.toml that counts in `start`: there, or in the nearest folder above."""
    for folder in (start, *start.parents):
        if (candidate := folder / FILE_NAME).is_file():
            return candidate
    return None


def load(path: Path | None) -> Stack:
    """Read devenv.toml; None gives the defaults. A ConfigError says where and what is wrong."""
    if path is None:
        return Stack()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", str(error), "mend the file, or remove it") from error
    return parse(text, str(path))


def parse(text: str, name: str = FILE_NAME) -> Stack:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not TOML", str(error), "mend that line") from error
    try:
        return Stack.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(problem, text) for problem in error.errors(include_url=False)]
        raise ConfigError(
            f"{name} is wrong",
            "; ".join(problem for problem, _ in problems),
            problems[0][1] or "mend the value; `devenv config schema` lists every key",
        ) from error


def schema() -> dict[str, Any]:
    """The JSON schema of devenv.toml, for editors."""
    return Stack.model_json_schema() | {"title": FILE_NAME}


def _explain(problem: Any, text: str) -> tuple[str, str]:
    """One problem in words, and the next step where it is known."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    where = f"line {line}: {key}" if (line := _line_of(location, text)) else key
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}", ""
    known = _keys_at(location[:-1])
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    if not near:
        return f"{where} is not a known key", f"known here: {', '.join(known)}"
    nearest = ".".join([*location[:-1], near[0]])
    return f"{where} is not a known key; the nearest is {nearest}", f"write {near[0]}, or remove the key"


def _keys_at(location: list[str]) -> list[str]:
    model: type[BaseModel] = Stack
    for part in location:
        if part not in model.model_fields:
            return []
        annotation = model.model_fields[part].annotation
        # An optional section is a union of it with None.
        sections = [
            kind
            for kind in (*get_args(annotation), annotation)
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)


def _line_of(location: list[str], text: str) -> int | None:
    """The line that sets the key. TOML readers keep no positions, so this looks for it as a person would."""
    section, key = location[:-1], location[-1]
    current: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            current = [part.strip(" \"'") for part in header[1].split(".")]
            if current == location:
                return number
        elif current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return None
