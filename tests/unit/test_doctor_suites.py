"""Which suites packages come from, and what apt itself makes of that, in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from devenv.doctor import suites
from devenv.doctor.host import Host
from devenv.doctor.suites import Recipe, Source, Suite

BOOKWORM = Host(distribution="debian", codename="bookworm")
MIRROR = "http://mirror.example/debian"
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
TRIXIE, SID = Suite("trixie"), Suite("sid")

ONE_LINE = f"""
# deb {MIRROR} bookworm main
deb-src {MIRROR} bookworm main
deb https://php.example bookworm main
deb [arch=amd64 signed-by={KEY}] {MIRROR}/ bookworm main contrib # ours
deb {MIRROR} bookworm-updates main
"""
DEB822 = f"""
Types: deb deb-src
# a remark between two fields
URIs: {MIRROR}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc=
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: {MIRROR}
Suites: trixie
Components: main

types: deb-src
URIs: {MIRROR}
Suites: sid
Components: main
"""


def test_entries_of_one_line_each() -> None:
    found = suites.parse_list(ONE_LINE)
    assert [one.uris for one in found] == [("https://php.example",), (f"{MIRROR}/",), (MIRROR,)]
    assert found[1] == Source((f"{MIRROR}/",), ("bookworm",), ("main", "contrib"), {"Signed-By": KEY})


def test_entries_of_paragraphs_with_a_key_that_is_written_out() -> None:
    (found,) = suites.parse_deb822(DEB822)
    assert (found.uris, found.suites) == ((MIRROR,), ("bookworm", "bookworm-updates"))
    assert found.options["Signed-By"].splitlines()[-1] == " -----END PGP PUBLIC KEY BLOCK-----"


def test_sources_are_read_in_the_order_of_apt_and_without_our_own(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example x main\n")
    (folder / "b.sources").write_text("Types: deb\nURIs: http://b.example\nSuites: x\nComponents: main\n")
    (folder / "c.list").write_text("deb http://c.example x main\n")
    (folder / "d.list.save").write_text("deb http://d.example x main\n")
    (folder / TRIXIE.sources.name).write_text("Types: deb\nURIs: http://e.example\nSuites: x\n")
    assert [one.uris[0][7] for one in suites.sources(tmp_path)] == ["a", "b", "c"]
    assert suites.sources(tmp_path / "nothing") == []


def test_the_main_archive_is_the_one_that_has_updates() -> None:
    """Other publishers call their suite bookworm and their component main as well."""
    entries = suites.parse_list(ONE_LINE)
    assert suites.of_debian(entries, "bookworm") == entries[1]
    assert suites.of_debian(entries[:1], "bookworm") == entries[0]
    assert suites.of_debian(entries, "trixie") is None


def test_the_recipe_of_debian_12_takes_the_engine_from_newer_suites() -> None:
    recipe = suites.recipe(BOOKWORM, {"engine", "compose", "buildx"}, suites.parse_list(ONE_LINE))
    assert set(recipe.packages) == {"docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables"}
    assert recipe.files[TRIXIE.sources] == (
        "# Of devenv doctor: newer packages for containers. See also preferences.d/zz-devenv-*.\n"
        f"Types: deb\nURIs: {MIRROR}/\nSuites: trixie\nComponents: main\nSigned-By: {KEY}\n"
    )
    assert set(recipe.files) == {*TRIXIE.files, *SID.files}


def test_the_security_suite_comes_along_from_where_the_release_has_its_own() -> None:
    entries = suites.parse_list(f"{ONE_LINE}deb http://security.example bookworm-security main\n")
    recipe = suites.recipe(BOOKWORM, {"engine"}, entries)
    assert [(one.uris, one.suites) for one in suites.parse_deb822(recipe.files[TRIXIE.sources])] == [
        ((f"{MIRROR}/",), ("trixie",)),
        (("http://security.example",), ("trixie-security",)),
    ]


def test_what_an_earlier_run_has_opened_stays_open_and_nothing_is_opened_that_is_not_installed() -> None:
    entries = suites.parse_list(ONE_LINE)
    recipe = suites.recipe(BOOKWORM, {"go"}, entries, {"docker-buildx"})
    assert suites.opened(recipe.files[TRIXIE.preferences]) == {
        "docker-buildx", "golang-1.24-go", "golang-1.24-src",
    }  # fmt: skip


def test_the_sources_file_is_read_back_as_it_was_meant() -> None:
    (origin,) = suites.parse_deb822(DEB822)
    (again,) = suites.parse_deb822(suites.deb822([(origin, "trixie")]))
    assert again == Source(origin.uris, ("trixie",), ("main",), origin.options)


def test_a_suite_that_is_there_already_keeps_the_priority_that_its_owner_gave_it() -> None:
    entries = suites.parse_list(f"{ONE_LINE}deb {MIRROR} trixie main\ndeb {MIRROR} unstable main\n")
    recipe = suites.recipe(BOOKWORM, {"engine", "compose"}, entries)
    assert recipe.files == {}
    assert {"docker.io/trixie", "docker-compose/sid"} <= set(recipe.packages)


@pytest.mark.parametrize(
    ("host", "parts", "packages", "files"),
    [
        (BOOKWORM, {"mmdebstrap"}, {"mmdebstrap"}, set()),
        (BOOKWORM, {"compose"}, {"docker-compose"}, set(SID.files)),
        (BOOKWORM, {"go"}, {"golang-1.24-go"}, set(TRIXIE.files)),
        (
            Host(distribution="debian", codename="trixie"),
            {"engine", "buildx"},
            {"docker.io", "docker-cli", "iptables", "docker-buildx"},
            set(),
        ),
        (
            Host(distribution="ubuntu", codename="noble"),
            {"engine", "compose", "buildx"},
            {"docker.io", "docker-compose-v2", "docker-buildx"},
            set(),
        ),
        (
            Host(distribution="debian", codename="bookworm", docker_ce=True),
            {"compose"},
            {"docker-compose-plugin"},
            set(),
        ),
    ],
    ids=[
        "maker of the base",
        "compose of Debian 12",
        "Go of Debian 12",
        "Debian 13",
        "Ubuntu",
        "packages of Docker",
    ],
)
def test_recipes(host: Host, parts: set[str], packages: set[str], files: set[Path]) -> None:
    recipe = suites.recipe(host, parts, suites.parse_list(ONE_LINE))
    assert set(recipe.packages) == packages
    assert set(recipe.files) == files


def test_without_an_entry_of_debian_its_own_packages_are_what_there_is() -> None:
    assert suites.recipe(BOOKWORM, {"buildx"}, []) == Recipe({}, ("docker-buildx",))


VERSIONS = {
    "bookworm": {"docker.io": "20.10", "docker-compose": "1.29", "bash": "5.2.15", "containerd": "1.6"},
    "bookworm-updates": {},
    "trixie": {
        "docker.io": "26.1-1", "docker-cli": "26.1-1", "containerd": "1.7", "docker-compose": "2.26",
        "bash": "5.2.37", "only-in-trixie": "1", "golang-1.24-go": "1.24",
    },
    "sid": {"docker.io": "28.5", "docker-compose": "2.40", "bash": "5.3", "only-in-sid": "1"},
    "bookworm-security": {"bash": "5.2.15-1"},
    "trixie-security": {"docker.io": "26.1-2", "bash": "5.2.37-1"},
}  # fmt: skip
SECURITY = ("bookworm-security", "trixie-security")


class Apt:
    """A real apt whose machine is a folder, with mirrors in another one."""

    def __init__(self, folder: Path, own: str = "bookworm") -> None:
        self.root, self.mirrors = folder / "root", folder / "mirrors"
        for name in (
            "etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/apt.conf.d", "var/lib/dpkg",
            "var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
        ):  # fmt: skip
            (self.root / name).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()
        for suite, packages in VERSIONS.items():
            self.publish(suite, packages)
        self.config = folder / "apt.conf"
        self.config.write_text(
            f'Dir "{self.root}";\nDir::State::status "{self.root}/var/lib/dpkg/status";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\nAPT::Sandbox::User "";\n'
            'Acquire::Languages "none";\nDebug::NoLocking "true";\n'
        )
        self.own(own)

    def own(self, codename: str) -> None:
        self.write(
            "/etc/apt/sources.list",
            f"deb [trusted=yes] {self.uri('debian')} {codename} main\n"
            f"deb [trusted=yes] {self.uri('debian')} {codename}-updates main\n"
            f"deb [trusted=yes] {self.uri('debian-security')} {codename}-security main\n",
        )

    def uri(self, name: str) -> str:
        return f"file:{self.mirrors / name}"

    def publish(self, suite: str, packages: Mapping[str, str]) -> None:
        place = self.mirrors / ("debian-security" if suite in SECURITY else "debian") / "dists" / suite
        index = place / "main/binary-amd64/Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text(
            "".join(
                f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: none\n"
                f"Filename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {'0' * 64}\nDescription: none\n\n"
                for name, version in packages.items()
            )
        )
        digest = subprocess.run(["sha256sum", index], check=True, capture_output=True, text=True).stdout
        (place / "Release").write_text(
            f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
            f"Date: Sat, 01 Nov 2025 00:00:00 UTC\nSHA256:\n {digest.split()[0]} {index.stat().st_size} "
            "main/binary-amd64/Packages\n"
        )

    def write(self, path: Path | str, text: str) -> None:
        place = self.root / Path(path).relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def follow(self, recipe: Recipe) -> None:
        for path, text in recipe.files.items():
            self.write(path, text)
        self("apt-get", "update")

    def recipe(self, *parts: str) -> Recipe:
        return suites.recipe(BOOKWORM, set(parts), suites.sources(self.root / "etc/apt"))

    def install(self, **versions: str) -> None:
        (self.root / "var/lib/dpkg/status").write_text(
            "".join(
                f"Package: {name.replace('_', '-').replace('docker-io', 'docker.io')}\nVersion: {version}\n"
                "Status: install ok installed\nArchitecture: amd64\nMaintainer: none\nDescription: none\n\n"
                for name, version in versions.items()
            )
        )

    def __call__(self, *argv: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.config), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def candidate(self, package: str) -> str:
        found = re.search(r"Candidate: (\S+)", self("apt-cache", "policy", package))
        return found[1] if found else ""


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    if shutil.which("apt-get") is None:
        pytest.skip("there is no apt")
    return Apt(tmp_path)


def test_nothing_but_the_named_packages_comes_from_a_newer_suite(apt: Apt) -> None:
    apt.follow(apt.recipe("engine", "compose", "buildx", "go"))
    assert apt.candidate("docker-compose") == "2.40"
    assert apt.candidate("golang-1.24-go") == "1.24"
    assert apt.candidate("containerd") == "1.7"
    assert apt.candidate("bash") == "5.2.15-1"
    assert apt.candidate("only-in-trixie") == "(none)"
    assert apt.candidate("only-in-sid") == "(none)"


def test_what_is_installed_from_a_suite_gets_its_updates_and_those_of_its_security_suite(apt: Apt) -> None:
    apt.follow(apt.recipe("engine", "compose"))
    apt.install(docker_io="26.1-1", docker_compose="2.40", containerd="1.7")
    assert apt.candidate("docker.io") == "26.1-2"
    apt.publish("sid", {"docker-compose": "2.41"})
    apt.publish("trixie", {"docker.io": "26.1-1", "containerd": "1.7-2"})
    apt("apt-get", "update")
    assert apt.candidate("docker-compose") == "2.41"
    assert apt.candidate("containerd") == "1.7-2"


def test_a_release_that_apt_is_told_to_prefer_holds_the_named_packages_back_no_more(apt: Apt) -> None:
    apt.config.write_text(f'{apt.config.read_text()}APT::Default-Release "bookworm";\n')
    apt.follow(apt.recipe("engine"))
    assert apt.candidate("docker.io") == "26.1-2"


def test_an_engine_of_the_release_stays_as_long_as_another_one_is_not_asked_for(apt: Apt) -> None:
    apt.install(docker_io="20.10")
    apt.follow(apt.recipe("compose", "go"))
    assert apt.candidate("docker.io") == "20.10"


@pytest.mark.parametrize("name", ["preferences", "preferences.d/mine", "preferences.d/trixie"])
def test_priorities_that_somebody_has_set_hold(apt: Apt, name: str) -> None:
    mine = "Package: *\nPin: release n=trixie\nPin-Priority: 400\n\n"
    special = "Package: docker-cli\nPin: release n=trixie\nPin-Priority: -5\n"
    apt.write(f"/etc/apt/{name}", mine + special)
    apt.follow(apt.recipe("engine"))
    assert apt.candidate("only-in-trixie") == "1"
    assert apt.candidate("docker-cli") == "(none)"


def test_a_suite_of_the_machines_own_stays_as_it_is(apt: Apt) -> None:
    apt.write("/etc/apt/sources.list.d/x.list", f"deb [trusted=yes] {apt.uri('debian')} trixie main\n")
    recipe = apt.recipe("engine")
    assert recipe.files == {}
    assert "docker.io/trixie" in recipe.packages


def test_a_machine_that_is_upgraded_to_the_suite_is_held_down_by_nothing(apt: Apt) -> None:
    apt.publish("trixie-updates", {})
    for suite in (TRIXIE, SID):
        text = apt.recipe("engine", "compose").files[suite.hook]
        apt.write(suite.hook, text.replace("/etc/apt", f"{apt.root}/etc/apt"))
    files = {
        path: text for path, text in apt.recipe("engine", "compose").files.items() if "conf" not in str(path)
    }
    apt.follow(Recipe(files, ()))
    apt("apt-get", "update")
    assert apt.candidate("bash") == "5.2.15-1"
    apt.own("trixie")
    apt("apt-get", "update")
    apt("apt-get", "update")
    assert apt.candidate("bash") == "5.2.37-1"
    assert apt.candidate("only-in-trixie") == "1"
    assert apt.candidate("only-in-sid") == "(none)"
    assert apt.candidate("docker-compose") == "2.40"
    left = {path.name for path in (apt.root / "etc/apt").rglob("*devenv*")}
    assert left == {path.name for path in SID.files}
