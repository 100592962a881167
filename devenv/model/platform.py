"""Platforms that images are built for, by Docker's names: linux/amd64, linux/arm64. Pure."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import AfterValidator

from devenv.errors import DevenvError, WrongPlatform

PLATFORMS = ("linux/amd64", "linux/arm64")
_ALSO = {
    "linux/x86_64": "linux/amd64",
    "linux/x86-64": "linux/amd64",
    "linux/aarch64": "linux/arm64",
    "linux/arm64/v8": "linux/arm64",
}
"""What machines and other tools call them."""


def read(text: str) -> str:
    """The platform that a person has written. A ValueError names the nearest one."""
    asked = text.strip().lower()
    name = asked if "/" in asked else f"linux/{asked}"
    name = _ALSO.get(name, name)
    if name in PLATFORMS:
        return name
    near = difflib.get_close_matches(name, PLATFORMS, n=1, cutoff=0.7)
    hint = f"the nearest is {near[0]}" if near else f"it is {' or '.join(PLATFORMS)}"
    raise ValueError(f"{text.strip() or 'nothing'} is not a platform that devenv builds for; {hint}")


Platform = Annotated[str, AfterValidator(read)]


def read_all(text: str) -> tuple[str, ...]:
    """Of a list such as `linux/arm64,linux/amd64`, each once."""
    return tuple(dict.fromkeys(read(one) for one in text.split(",")))


def architecture(platform: str) -> str:
    """`arm64` of `linux/arm64`."""
    return platform.split("/")[1]


def local(image: str, platform: str) -> str:
    """What an image for another platform than the engine's own is called on this machine.

    Engines that do not store images in containerd keep one platform of a name. `httpd:v1` becomes
    `httpd-arm64:v1`, `debian@sha256:1a2b` `debian-arm64:1a2b`.
    """
    name, _, digest = image.partition("@")
    folder, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    tag = digest.rpartition(":")[2] or tag or "latest"
    return f"{folder}{slash}{repository}-{architecture(platform)}:{tag}"


def did_not_come_up(name: str, image: str, release: str, why: str, next_step: str, tail: str) -> DevenvError:
    """An instance that ended before its gate said anything. `tail` is the end of its log."""
    if "exec format error" not in f"{why}\n{tail}":
        return DevenvError(f"{name} did not come up", why, next_step, tail)
    return WrongPlatform(
        f"{image} is for another architecture than {name} runs on",
        "its program ended with: exec format error",
        f"build the right one: devenv build --release {release}",
        tail,
    )
