"""TOML files with a pydantic model: unknown keys are errors that name the nearest known key, and the line."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from devenv.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def load(model: type[Model], path: Path) -> Model:
    """A ConfigError says where and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", str(error), "mend the file, or remove it") from error
    return parse(model, text, str(path))


def parse(model: type[Model], text: str, name: str) -> Model:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not TOML", str(error), "mend that line") from error
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(model, problem, text) for problem in error.errors(include_url=False)]
        raise ConfigError(
            f"{name} is wrong",
            "; ".join(problem for problem, _ in problems),
            problems[0][1] or "mend the value; `devenv config schema` lists every key",
        ) from error


def _explain(model: type[BaseModel], problem: Any, text: str) -> tuple[str, str]:
    """One problem in words, and the next step where it is known."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    where = f"line {line}: {key}" if (line := _line_of(location, text)) else key
    if problem["type"] == "value_error":
        # One of our own, without pydantic's words before it.
        return f"{where}: {problem['ctx']['error']}", ""
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}", ""
    known = _keys_at(model, location[:-1])
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    if not near:
        return f"{where} is not a known key", f"known here: {', '.join(known)}"
    nearest = ".".join([*location[:-1], near[0]])
    return f"{where} is not a known key; the nearest is {nearest}", f"write {near[0]}, or remove the key"


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
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
