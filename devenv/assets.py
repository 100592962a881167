"""Where docker/, compose/ and k8s/ lie: in a checkout beside the package, once installed inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent
_INSTALLED = _PACKAGE / "_assets"


def in_checkout() -> bool:
    return not _INSTALLED.is_dir()


def docker_context() -> Path:
    """The folder that images are built from: it holds docker/ and devenv/handover/."""
    return _CHECKOUT if in_checkout() else _INSTALLED


def k8s_folder() -> Path:
    return docker_context() / "k8s"


def compose_file() -> Path:
    return docker_context() / "compose" / "compose.yaml"
