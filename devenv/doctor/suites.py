"""Packages of Debian and Ubuntu, and the suites that they come from.

On Debian 12 some come from newer suites, of the mirror that is in use. apt then gets two files for each:
its sources, and preferences that open it for the named packages and for nothing else. A third one takes both
away once other sources have that suite, as after an upgrade of the machine to it: what holds there is for
others to say from then on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from devenv.doctor.host import Host

ETC = Path("/etc/apt")
FORMER = (ETC / "sources.list.d/devenv.sources", ETC / "preferences.d/devenv")
"""Of earlier versions of devenv, which opened the whole suites."""

_KEPT = ("Signed-By", "Trusted", "Check-Valid-Until")
"""Options of an entry that are the mirror's, so they hold for its other suites as well."""

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
# What a package brings along from its suite: the rest of what it needs has the release itself.
_ALONG = {"docker.io": ("containerd",), "golang-1.24-go": ("golang-1.24-src",)}
_SECURITY = {"trixie": "trixie-security"}
_PRIORITY = 990
"""As high as that of a release that apt is told to prefer. Of equals the newer counts, so these packages get
their updates from there."""
_NAMES = {"sid": ("sid", "unstable"), "trixie": ("trixie",)}
"""What a suite is called in sources. `stable` moves on by itself, and is nobody's way to ask for this one."""


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


@dataclass(frozen=True, slots=True)
class Suite:
    """The files of apt for one suite that is not the machine's own."""

    name: str

    @property
    def sources(self) -> Path:
        return ETC / f"sources.list.d/devenv-{self.name}.sources"

    @property
    def preferences(self) -> Path:
        # apt takes the first record that fits: read last, ours leave anybody else's as they are.
        return ETC / f"preferences.d/zz-devenv-{self.name}"

    @property
    def hook(self) -> Path:
        return ETC / f"apt.conf.d/zz-devenv-{self.name}"

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.sources, self.preferences, self.hook


SUITES = tuple(map(Suite, _NAMES))
OWN = {path.name for path in FORMER} | {suite.sources.name for suite in SUITES}


def sources(etc: Path = ETC) -> list[Source]:
    """All that apt reads on this machine, in its order."""
    found: list[Source] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file() and path.name not in OWN:
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


def recipe(host: Host, parts: Set[str], entries: Sequence[Source], named: Set[str] = frozenset()) -> Recipe:
    """The packages of these parts, and the files of apt that they need.

    `named`: packages that earlier files have opened their suites for; that goes on.
    """
    of_host = _PACKAGES["docker-ce" if host.docker_ce else host.distribution]
    return of_packages(host, [one for part in sorted(parts) for one in of_host.get(part, ())], entries, named)


def newer(host: Host) -> Mapping[str, str]:
    """Packages that come from a newer suite than this machine's own, with its name."""
    return _NEWER.get(host.codename, {}) if host.distribution == "debian" else {}


def of_packages(
    host: Host, packages: Sequence[str], entries: Sequence[Source], named: Set[str] = frozenset()
) -> Recipe:
    """The same for packages by name."""
    places = newer(host)
    origin = of_debian(entries, host.codename)
    wanted = {places[name] for name in packages if name in places}
    if not wanted or origin is None:
        return Recipe({}, tuple(packages))
    there = {suite for one in entries for suite in one.suites}
    # A suite that is there already is its owner's, with the priority that it has: only this install is ours.
    theirs = {suite for suite in wanted if there.intersection(_NAMES[suite])}
    security = next((one for one in entries if f"{host.codename}-security" in one.suites), None)
    files: dict[Path, str] = {}
    for suite in (one for one in SUITES if one.name in wanted - theirs):
        own = [name for name, place in places.items() if place == suite.name and name in {*packages, *named}]
        from_there = [(origin, suite.name)]
        if security is not None and suite.name in _SECURITY:
            from_there.append((security, _SECURITY[suite.name]))
        files[suite.sources] = deb822(from_there)
        files[suite.preferences] = preferences(own, [name for _, name in from_there])
        files[suite.hook] = hook(suite)
    return Recipe(
        files, tuple(f"{name}/{places[name]}" if places.get(name) in theirs else name for name in packages)
    )


def deb822(places: Iterable[tuple[Source, str]]) -> str:
    """Entries for suites of the mirrors that others have named."""
    return "\n".join(
        "\n".join(
            [
                "# Of devenv doctor: newer packages for containers. See also preferences.d/zz-devenv-*.",
                "Types: deb",
                f"URIs: {' '.join(origin.uris)}",
                f"Suites: {suite}",
                "Components: main",
                *(f"{name}: {value}" for name, value in origin.options.items()),
                "",
            ]
        )
        for origin, suite in places
    )


def preferences(packages: Iterable[str], suites: Sequence[str]) -> str:
    """These packages come from these suites, and get their updates from there; nothing else does."""
    names = [one for name in packages for one in (name, *_ALONG.get(name, ()))]
    # The general records stand last: of the special ones the first counts, of the general ones as well.
    opened = [
        f"Package: {' '.join(names)}\nPin: release n={suite}\nPin-Priority: {_PRIORITY}\n" for suite in suites
    ]
    closed = [f"Package: *\nPin: release n={suite}\nPin-Priority: -1\n" for suite in suites]
    return "# Of devenv doctor. devenv doctor --undo removes it.\n" + "\n".join([*opened, *closed])


def opened(text: str) -> set[str]:
    """The packages that preferences name."""
    return {name for line in re.findall(r"^Package: (.*)$", text, re.MULTILINE) for name in line.split()} - {
        "*"
    }


def hook(suite: Suite) -> str:
    """Before lists are fetched: where others name that suite, these files go, this one with them."""
    names = "|".join(_NAMES[suite.name])
    files = " ".join(
        f"{ETC}/{glob}" for glob in ("sources.list", "sources.list.d/*.list", "sources.list.d/*.sources")
    )
    entry = f"^[^#]*[[:space:]]({names})([[:space:]]|$)"
    others = f"grep -HsE '{entry}' {files} | grep -qv '^{ETC}/sources.list.d/devenv[a-z-]*[.]sources:'"
    gone = " ".join(str(path) for path in suite.files)
    return (
        f"// Of devenv doctor: once another source has {suite.name}, what devenv says of it goes.\n"
        "APT::Update::Pre-Invoke { "
        f'"if {others}; then rm -f {gone}; fi"; }};\n'
    )
