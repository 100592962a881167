"""A service's images to a registry: one index under its name, with a manifest for each platform.

By docker itself, which has the credentials, sends only layers that are not there, and tries again where a
connection breaks; and by buildx for the index. Each platform's image also has a name of its own there,
`httpd-v1-arm64`, since docker pushes by name alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from devenv.errors import CommandFailed, DevenvError, OtherContent
from devenv.model.events import Note
from devenv.model.platform import PLATFORMS, architecture
from devenv.model.registry import Pushed, at_digest, configuration, host, manifests, refusal
from devenv.tools import docker, process

T = TypeVar("T")

_ANSWER = 30.0
_TRIES = 3
_PAUSE = 1.0
_TELL = 1.0
"""Seconds between two words on the layers that are there."""
_SENT = "Pushed"
_THERE = ("Layer already exists", "Mounted from")


async def push(images: Mapping[str, str], reference: str, note: Note, *, force: bool = False) -> Pushed:
    """`images` of this machine, by platform, as `reference`. What the registry has for others stays.

    Raises OtherContent where that name has other content there, unless with `force`.
    """
    known = await docker.inspect_images(list(images.values()))
    if missing := [name for name in images.values() if name not in known]:
        raise DevenvError(
            f"there is no image {missing[0]}", "it was removed meanwhile", "build it: devenv build"
        )
    there = await _there(reference)
    ours = {platform: known[name].digest for platform, name in images.items()}
    same = await asyncio.gather(*(_same(reference, one, own, there) for one, own in ours.items()))
    other = [platform for platform, is_same in zip(ours, same, strict=True) if not is_same]
    if not other and there.is_index and set(ours) <= set(there.names):
        return Pushed(reference, there.digest, there.platforms)
    if other and not force:
        raise OtherContent(
            f"{reference} is there with other content",
            f"its image for {', '.join(other)} is not the one of this machine, and others may run it",
            "give the release another name: devenv push --release NAME; or replace it: devenv push --force",
        )
    sent = await asyncio.gather(
        *(_push_one(name, reference, platform, note) for platform, name in images.items())
    )
    kept = {one: digest for one, digest in there.platforms.items() if one not in ours}
    wanted = kept | dict(zip(ours, (digest for digest, _ in sent), strict=True))
    note("index")
    index = await _again(partial(_create, reference, wanted), reference)
    return Pushed(reference, index, wanted, sum(layers for _, layers in sent), new=True)


async def find(reference: str) -> Pushed | None:
    """What a registry has under this name; of an image that is no index, the platforms are not known."""
    there = await _there(reference)
    return Pushed(reference, there.digest, there.platforms) if there.digest else None


@dataclass(frozen=True, slots=True)
class _There:
    """What a registry has under a name."""

    digest: str
    is_index: bool
    platforms: Mapping[str, str]
    """The digest of the manifest for each."""
    names: Mapping[str, tuple[str, ...]]
    """What an engine may call the image of each platform."""


async def _there(reference: str) -> _There:
    text = await _again(partial(_ask, reference), reference)
    if text is None:
        return _There("", False, {}, {})
    digest = _digest(text)
    raw = _read(text)
    platforms = manifests(raw)
    if not platforms:
        # Of one platform, which only its configuration names: it counts as other content for all.
        return _There(digest, False, {}, dict.fromkeys(PLATFORMS, (configuration(raw),)))
    each = (partial(_ask, at_digest(reference, one)) for one in platforms.values())
    asked = await asyncio.gather(*(_again(one, reference) for one in each))
    names = {
        platform: (one, configuration(_read(text or "{}")))
        for (platform, one), text in zip(platforms.items(), asked, strict=True)
    }
    return _There(digest, True, platforms, names)


async def _same(reference: str, platform: str, digest: str, there: _There) -> bool:
    """Whether an image that its engine calls so is what a registry has for that platform, if it has any."""
    if platform not in there.names or digest in (there.digest, *there.names[platform]):
        return True
    # An engine that stores images in containerd may call one by an index, of it and of how it was built.
    own = _own(reference, platform)
    text = await _again(partial(_ask, own), own)
    if text is None or _digest(text) != digest:
        return False
    return manifests(_read(text)).get(platform) == there.platforms.get(platform)


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _read(text: str) -> dict[str, Any]:
    with docker.readable("the registry", "try again"):
        return dict(json.loads(text))


async def _ask(reference: str) -> str | None:
    """None where there is nothing of that name."""
    try:
        return await docker.ask_registry(reference, _ANSWER)
    except CommandFailed as error:
        if refusal(error.log_tail or error.why, "", "").absent:
            return None
        raise


async def _push_one(image: str, reference: str, platform: str, note: Note) -> tuple[str, int]:
    """The digest of its manifest, and how many layers were sent."""
    own = _own(reference, platform)
    try:
        await docker.call("tag", image, own)
        # Once: docker itself tries each layer again, for most of a minute.
        digest, layers = await _again(partial(_send, own, note), own, tries=1)
    finally:
        await docker.call("image", "rm", "--no-prune", own, check=False)
    named = at_digest(reference, digest)
    text = await _again(partial(docker.ask_registry, named, _ANSWER), named)
    return manifests(_read(text)).get(platform, digest), layers


async def _send(reference: str, note: Note) -> tuple[str, int]:
    layers: dict[str, str] = {}
    digest, told = "", time.monotonic()
    tag = reference.rpartition(":")[2]
    with docker.engine_errors():
        async with aclosing(process.stream(["docker", "push", reference])) as lines:
            async for line in lines:
                name, _, said = line.text.strip().partition(": ")
                if name == tag and said.startswith("digest: "):
                    digest = said.split()[1]
                elif name != tag and said:
                    layers[name] = said
                    if time.monotonic() - told > _TELL:
                        told = time.monotonic()
                        done = sum(one.startswith((_SENT, *_THERE)) for one in layers.values())
                        note(f"{tag}: {done} of {len(layers)} layers")
    if not digest:
        raise DevenvError(
            f"{reference} was pushed, and docker does not say as what",
            "its output has no digest",
            f"try it by hand: docker push {reference}",
        )
    return digest, sum(one.startswith(_SENT) for one in layers.values())


async def _create(reference: str, wanted: Mapping[str, str]) -> str:
    """The digest of an index of these manifests, by this name from now on."""
    sources = [at_digest(reference, digest) for digest in wanted.values()]
    await docker.call("buildx", "imagetools", "create", "--tag", reference, *sources, timeout=_ANSWER)
    text = await docker.ask_registry(reference, _ANSWER)
    if manifests(_read(text)) != dict(wanted):
        raise DevenvError(
            f"{reference} is not what was pushed",
            "somebody else has pushed it at the same time",
            "push it again",
        )
    return _digest(text)


async def _again(work: Callable[[], Awaitable[T]], reference: str, tries: int = _TRIES) -> T:
    """A few times, where a registry is away for a moment; then, and else, its words and what to do."""
    for number in range(1, tries + 1):
        try:
            return await work()
        except CommandFailed as error:
            said = error.log_tail or error.why
            found = refusal(said, host(reference), reference.rpartition(":")[0])
            if not found.again or number == tries:
                raise DevenvError(found.what, error.why, found.next_step, error.log_tail) from error
        await asyncio.sleep(_PAUSE * number)
    raise AssertionError("each try ends")


def _own(reference: str, platform: str) -> str:
    return f"{reference}-{architecture(platform)}"
