"""How one person likes the terminal interface: `tui.toml` in devenv's configuration folder."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from devenv.model import toml
from devenv.model.actions import ACTIONS
from devenv.model.probe import MOST_WRITERS

FILE_NAME = "tui.toml"


class Preferences(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    theme: str = "devenv-dark"
    """devenv-dark or devenv-light, whose colours the colour-blind tell apart; ansi-dark, ansi-light, or any
    of Textual's."""
    motion: bool = True
    """False: nothing moves by itself but the clock."""
    mouse: bool = True
    quit: Literal["ask", "leave", "cancel"] = "ask"
    """When something is at work: ask, let it go on without the screen, or cancel it."""
    writers: Annotated[int, Field(ge=1, le=MOST_WRITERS)] = 8
    """Of the probe."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Keys of actions by name, for instance `upgrade = "ctrl+g"`."""

    @field_validator("keys")
    @classmethod
    def _known(cls, keys: dict[str, str]) -> dict[str, str]:
        names = [one.name for one in ACTIONS]
        for name in keys:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"; the nearest is {near[0]}" if near else ""
                raise ValueError(f"{name} is no action{hint}")
        taken: dict[str, str] = {}
        for one in ACTIONS:
            for key in filter(None, keys.get(one.name, one.keys).split(",")):
                if (other := taken.setdefault(key, one.name)) != one.name:
                    raise ValueError(f"{key} would be the key of {other} and of {one.name}")
        return keys


def load(path: Path) -> Preferences:
    """No file is a valid one. A ConfigError says where and what is wrong."""
    return toml.load(Preferences, path) if path.is_file() else Preferences()
