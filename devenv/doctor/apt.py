"""Packages of Debian and Ubuntu. On Debian 12 some come from newer suites, of the mirror that is in use."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devenv.doctor.host import Host
from devenv.errors import CommandFailed
from devenv.tools import process

ETC = Path("/etc/apt")
SOURCES = ETC / "sources.list.d/devenv.sources"
PREFERENCES = ETC / "preferences.d/devenv"
POLICY = Path("/usr/sbin/policy-rc.d")

_POLICY = "#!/bin/sh\n# Of devenv doctor, while it installs: nothing starts by itself.\nexit 101\n"
_KEPT = ("Signed-By", "Trusted", "Check-Valid-Until")
"""Options of an entry that are the mirror's, so they hold for its other suites as well."""
_SAY_EVERY = 2.0
_OPTIONS = (
    "-o", "DPkg::Lock::Timeout=120",
    "-o", "Acquire::Retries=3",
    "-o", "Acquire::http::Timeout=30",
    "-o", "Dpkg::Options::=--force-confdef",
    "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip

# Parts of the engine by whose packages they are. Without recommended packages, docker-cli has to be named.
_EMULATION = ("qemu-user-static", "binfmt-support", "arch-test")
_PACKAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "debian": {
        "engine": ("docker.io", "docker-cli", "iptables"),
        "buildx": ("docker-buildx",),
        "compose": ("docker-compose",),
        "mmdebstrap": ("mmdebstrap",),
        "go": ("golang-1.24-go",),
        "emulation": _EMULATION,
    },
    "ubuntu": {
        "engine": ("docker.io",),
        "buildx": ("docker-buildx",),
        "compose": ("docker-compose-v2",),
        "emulation": _EMULATION,
    },
    "docker-ce": {
        "engine": ("docker-ce", "docker-ce-cli", "containerd.io"),
        "buildx": ("docker-buildx-plugin",),
        "compose": ("docker-compose-plugin",),
        "mmdebstrap": ("mmdebstrap",),
        "go": ("golang-1.24-go",),
        "emulation": _EMULATION,
    },
}
# Where a release's own package is too old: the suite that has a newer one, which needs little else of it.
_NEWER: Mapping[str, Mapping[str, str]] = {
    "bookworm": {
        "docker.io": "trixie",
        "docker-cli": "trixie",
        "docker-buildx": "trixie",
        "docker-compose": "sid",
        "golang-1.24-go": "trixie",
    },
    "trixie": {"docker-compose": "sid"},
}
# Below 500, so that nothing comes from there by itself; the nearer suite first.
_PRIORITY = {"trixie": 100, "sid": 50}


@dataclass(frozen=True, slots=True)
class Source:
    """An entry of apt's sources."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def places(self) -> set[str]:
        return {uri.rstrip("/") for uri in self.uris}


@dataclass(frozen=True, slots=True)
class Recipe:
    files: Mapping[Path, str]
    packages: tuple[str, ...]


def sources(etc: Path = ETC) -> list[Source]:
    """All that apt reads on this machine, in its order."""
    found: list[Source] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file() and path.name != SOURCES.name:
            text = path.read_text(encoding="utf-8", errors="replace")
            found += parse_list(text) if path.suffix == ".list" else parse_deb822(text)
    return found


def parse_list(text: str) -> list[Source]:
    """One line an entry: `deb [signed-by=…] URI SUITE COMPONENT…`."""
    found = []
    for line in text.splitlines():
        entry = re.match(r"\s*deb\s+(?:\[([^]]*)]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if entry is None:
            continue
        options = dict(word.split("=", 1) for word in (entry[1] or "").split() if "=" in word)
        kept = {name: options[name.lower()] for name in _KEPT if name.lower() in options}
        found.append(Source((entry[2],), (entry[3],), tuple(entry[4].split()), kept))
    return found


def parse_deb822(text: str) -> list[Source]:
    """A paragraph an entry. A value goes on in indented lines, as a key that is written out does."""
    found = []
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        for name, value in re.findall(r"^(\S[^:]*):(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE):
            fields[name.lower()] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        uris, suites, components = (
            tuple(fields.get(name, "").split()) for name in ("uris", "suites", "components")
        )
        kept = {name: fields[name.lower()] for name in _KEPT if name.lower() in fields}
        found.append(Source(uris, suites, components, kept))
    return found


def of_debian(entries: Sequence[Source], codename: str) -> Source | None:
    """The entry of Debian's main archive. Other publishers name their suites alike, but have no updates."""
    fitting = [one for one in entries if codename in one.suites and "main" in one.components]
    updates = set[str]().union(*(one.places for one in entries if f"{codename}-updates" in one.suites))
    return next((one for one in fitting if one.places & updates), fitting[0] if fitting else None)


def recipe(host: Host, parts: Set[str], entries: Sequence[Source]) -> Recipe:
    """The packages of these parts, and the files of apt that they need."""
    names = _PACKAGES["docker-ce" if host.docker_ce else host.distribution]
    packages = [name for part in sorted(parts) for name in names.get(part, ())]
    newer = _NEWER.get(host.codename, {}) if host.distribution == "debian" else {}
    suites = sorted({newer[name] for name in packages if name in newer}, key=list(_PRIORITY).index)
    named = tuple(f"{name}/{newer[name]}" if name in newer else name for name in packages)
    origin = of_debian(entries, host.codename)
    if not suites or origin is None:
        return Recipe({}, named if not suites else tuple(packages))
    files = {PREFERENCES: preferences(suites)}
    beside = [one for one in entries if one.places & origin.places]
    known = {"sid" if suite == "unstable" else suite for one in beside for suite in one.suites}
    # A suite that is there already is left as it is: apt refuses two entries that differ in their key.
    if missing := [suite for suite in suites if suite not in known]:
        files[SOURCES] = deb822(origin, missing)
    return Recipe(files, named)


def deb822(origin: Source, suites: Iterable[str]) -> str:
    lines = [
        "# Of devenv doctor: newer packages of the container engine. See also preferences.d/devenv.",
        "Types: deb",
        f"URIs: {' '.join(origin.uris)}",
        f"Suites: {' '.join(suites)}",
        "Components: main",
        *(f"{name}: {value}" for name, value in origin.options.items()),
    ]
    return "\n".join(lines) + "\n"


def preferences(suites: Iterable[str]) -> str:
    """So low that only what is asked for comes from there."""
    return "\n".join(
        f"Package: *\nPin: release n={suite}\nPin-Priority: {_PRIORITY[suite]}\n" for suite in suites
    )


def install_argv(packages: Iterable[str]) -> list[str]:
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


async def install(recipe: Recipe, become: Sequence[str], host: Host, note: Callable[[str], None]) -> None:
    """Put the files, then the packages. apt's lists are fetched where they are new or miss something."""
    changed = [path for path, text in recipe.files.items() if _read(path) != text]
    for path in changed:
        await _put(path, recipe.files[path], become)
    fetched = bool(changed) or not any(Path("/var/lib/apt/lists").glob("*_Packages*"))
    if fetched:
        await _update(become, note)
    async with _nothing_starts(become, host):
        try:
            await _apt(install_argv(recipe.packages), become, note)
        except CommandFailed:
            if fetched:
                raise
            await _update(become, note)
            await _apt(install_argv(recipe.packages), become, note)


async def _update(become: Sequence[str], note: Callable[[str], None]) -> None:
    """One source that fails is not the one that counts, perhaps: the installation tells."""
    try:
        await _apt(["apt-get", "update"], become, note)
    except CommandFailed as error:
        note(f"apt-get update: {error.why}")


async def _apt(argv: Sequence[str], become: Sequence[str], note: Callable[[str], None]) -> None:
    program, *rest = argv
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    said = 0.0
    async with aclosing(process.stream([*become, program, *_OPTIONS, *rest], env=env)) as lines:
        async for line in lines:
            moment = time.monotonic()
            if line.text.strip() and moment - said >= _SAY_EVERY:
                said = moment
                note(line.text.strip())


@asynccontextmanager
async def _nothing_starts(become: Sequence[str], host: Host) -> AsyncIterator[None]:
    """Without a service manager, what a package starts would run in nobody's hands, and not as we need it."""
    ours = not host.managed and _read(POLICY) in (None, _POLICY)
    if ours:
        await _put(POLICY, _POLICY, become, mode="0755")
    try:
        yield
    finally:
        if ours:
            await process.run([*become, "rm", "-f", str(POLICY)])


async def _put(path: Path, text: str, become: Sequence[str], mode: str = "0644") -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        await process.run([*become, "install", "-D", "-m", mode, file.name, str(path)])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
