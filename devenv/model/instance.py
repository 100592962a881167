"""An instance as its engine and its gate tell, and what to do when there is more than one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from devenv.model import registry


@dataclass(frozen=True, slots=True)
class Gate:
    """What `gate status` says."""

    uid: str
    release: str
    role: str
    epoch: int
    lineage: str | None
    state: str
    ready: bool
    terminating: bool = False
    held: int = 0
    relayed: int = 0
    since: float | None = None
    restored: Mapping[str, Any] | None = None
    successor: Mapping[str, Any] | None = None
    failed: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Gate:
        """Unknown keys are those of a newer release, and are passed over. A ValueError: it is none."""
        if not isinstance(raw, Mapping):
            raise ValueError(f"{raw!r} instead of what a gate answers")
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        if missing := _ALWAYS - known.keys():
            raise ValueError(f"{sorted(missing)[0]} is missing")
        for name, value in known.items():
            if not isinstance(value, _KINDS[name]):
                raise ValueError(f"{name} is {value!r}")
        if known.get("failed") is not None and not known["failed"].keys() >= _PROBLEM:
            raise ValueError(f"failed is {known['failed']!r}")
        return cls(**known)


_ALWAYS = {"uid", "release", "role", "epoch", "lineage", "state", "ready"}
_PROBLEM = {"error", "why", "next"}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "uid": str,
    "release": str,
    "role": str,
    "epoch": int,
    "lineage": (str, NoneType),
    "state": str,
    "ready": bool,
    "terminating": bool,
    "held": int,
    "relayed": int,
    "since": (int, float, NoneType),
    "restored": (Mapping, NoneType),
    "successor": (Mapping, NoneType),
    "failed": (Mapping, NoneType),
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One container of the stack; `gate` is None for httpd and for one that does not answer."""

    id: str
    name: str
    service: str
    image: str
    digest: str
    created: float
    state: str
    """created, running, paused, restarting, exited or dead: the engine's word."""
    health: str = ""
    port: int | None = None
    """On this machine, where it publishes one."""
    gate: Gate | None = None
    leaving: bool = False
    """Its engine ends and removes it already."""
    restarts: int = 0
    """In Kubernetes: how often its container was started again, each time with a log of its own."""
    failed: Mapping[str, Any] | None = None
    """What its container has ended of, where that does not run: what failed, why, and what next."""

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def release(self) -> str:
        """The gate knows it best: a tag can have moved on since the instance started."""
        return self.gate.release if self.gate else self.tag

    @property
    def tag(self) -> str:
        """What the settings must name, so that the engine finds this very image."""
        return registry.release(self.image, self.service)

    @property
    def owner(self) -> bool:
        return self.gate is not None and self.gate.role == "owner"
