"""What the doctor writes, records, takes back and undoes, in a folder that stands for the machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.doctor import apt, emulation, leftovers, record, running, suites, undo
from devenv.doctor.apt import Changes
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.doctor.record import Before, Record, Started
from devenv.doctor.suites import FORMER, Recipe, Suite
from devenv.errors import DevenvError, NotFit

BOOKWORM = Host(distribution="debian", codename="bookworm")
TRIXIE = Suite("trixie")
RECIPE = Recipe(
    {
        TRIXIE.sources: "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n",
        TRIXIE.preferences: suites.preferences(["docker.io"], ["trixie"]),
    },
    ("docker.io",),
)
POLICY = "#!/bin/sh\n# Of devenv doctor, while it installs: nothing starts by itself.\nexit 101\n"

# Told what to do by files beside it; installs into a list that its dpkg-query reads.
APT = """#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >> log
case " $* " in
*" update "*) cat no-suite 2>/dev/null && exit 100; exit 0;;
*" remove "*--simulate*|*--simulate*" remove "*) cat simulated-removal 2>/dev/null; exit 0;;
*--simulate*) cat simulated; exit 0;;
*" remove "*) : > installed; exit 0;;
*docker.io*) test -e hangs && { : > begun; exec sleep 20; }
    test -e fails && { echo "E: no room" >&2; exit 100; }
    printf 'docker.io\\ncontainerd\\n' > installed; exit 0;;
*) exit 0;;
esac
"""
QUERY = """#!/bin/sh
cd "$(dirname "$0")"
for name in "$@"; do grep -qxs "$name" installed && echo "ii  $name"; done; true
"""


class Scratch:
    def __init__(self, folder: Path) -> None:
        self.root, self.bin = folder / "root", folder / "bin"
        self.machine = Machine(root=self.root, owner=os.getuid())
        self.bin.mkdir()
        (self.root / "var/lib/apt/lists").mkdir(parents=True)
        (self.root / "var/lib/apt/lists/x_Packages").touch()
        for name, text in (("apt-get", APT), ("dpkg-query", QUERY), ("dpkg", "#!/bin/sh\n")):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        self.say("simulated", "Inst docker.io (26.1 Debian:13/stable [amd64])\nInst containerd (1.7 x)\n")

    def say(self, name: str, text: str = "") -> None:
        (self.bin / name).write_text(text)

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        place = self.machine.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def files(self) -> dict[str, tuple[bytes, int]]:
        """All but the record."""
        found = (path for path in (self.root / "etc").rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mode & 0o777) for path in found}

    async def install(self, recipe: Recipe = RECIPE, *, replacing: bool = False) -> None:
        await apt.install(recipe, self.machine, lambda text: None, replacing=replacing)

    async def undo(self) -> list[str]:
        steps = await undo.decide(BOOKWORM, self.machine)
        for step in steps:
            await step.work(lambda text: None)
        return [step.name for step in steps]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    made = Scratch(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    monkeypatch.setattr(running, "PROC", tmp_path / "proc")
    monkeypatch.setattr(running, "containers", lambda: 0)
    monkeypatch.setattr(running, "dockerd", lambda: None)
    return made


MINE = "# mine\r\nTypes: deb\n"


async def test_an_installation_records_what_came_new_and_undo_removes_that(scratch: Scratch) -> None:
    await scratch.install()
    found = scratch.machine.recorded()
    assert found.packages == ("containerd", "docker.io")
    assert found.pending == {}
    assert set(found.files) == {str(path) for path in RECIPE.files}
    assert (scratch.root / "var/lib/devenv/machine.json").stat().st_mode & 0o777 == 0o644
    assert await scratch.undo() == ["packages", "files"]
    assert "remove --yes containerd docker.io" in (scratch.bin / "log").read_text()
    assert scratch.files() == {}
    assert not (scratch.root / "var/lib/devenv").exists()
    assert await scratch.undo() == []


async def test_undo_brings_a_file_back_that_was_there_before_two_installations(scratch: Scratch) -> None:
    scratch.write(TRIXIE.preferences, MINE, 0o600)
    before = scratch.files()
    await scratch.install()
    await scratch.install(Recipe({**RECIPE.files, TRIXIE.preferences: "# another\n"}, RECIPE.packages))
    await scratch.undo()
    assert scratch.files() == before


async def test_undo_leaves_a_file_that_somebody_has_changed_since(scratch: Scratch) -> None:
    await scratch.install()
    scratch.write(TRIXIE.preferences, MINE)
    steps = await undo.decide(BOOKWORM, scratch.machine)
    assert f"leave {TRIXIE.preferences}: somebody has changed it since" in steps[-1].does
    await scratch.undo()
    assert [text for text, _ in scratch.files().values()] == [MINE.encode()]


async def test_undo_works_where_only_a_part_is_there(scratch: Scratch) -> None:
    await scratch.install()
    scratch.machine.at(TRIXIE.sources).unlink()
    scratch.say("installed")
    assert await scratch.undo() == ["packages", "files"]
    assert " remove " not in (scratch.bin / "log").read_text()
    assert scratch.files() == {}


async def test_undo_removes_nothing_that_others_need(scratch: Scratch) -> None:
    await scratch.install()
    scratch.say("simulated-removal", "Remv containerd [1.7]\nRemv docker.io [26.1]\nRemv theirs [1]\n")
    with pytest.raises(NotFit, match="theirs"):
        await scratch.undo()
    assert (scratch.bin / "installed").read_text()


@pytest.mark.parametrize("present", [True, False])
async def test_an_installation_that_fails_leaves_the_files_as_they_were(
    scratch: Scratch, present: bool
) -> None:
    if present:
        scratch.write(TRIXIE.sources, MINE, 0o640)
    before = scratch.files()
    scratch.say("fails")
    with pytest.raises(DevenvError, match="no room"):
        await scratch.install()
    assert scratch.files() == before
    assert scratch.machine.recorded().pending == {}


async def test_a_suite_that_the_mirror_lacks_is_named_and_leaves_no_file(scratch: Scratch) -> None:
    scratch.say(
        "no-suite",
        "E: The repository 'http://mirror.example/debian trixie Release' does not have a Release file.\n",
    )
    with pytest.raises(NotFit) as error:
        await scratch.install()
    assert "trixie at http://mirror.example/debian" in error.value.why
    assert scratch.files() == {}
    assert scratch.machine.recorded().empty


async def test_an_installation_that_is_cancelled_leaves_the_files_as_they_were(scratch: Scratch) -> None:
    scratch.say("hangs")
    work = asyncio.create_task(scratch.install())
    await until((scratch.bin / "begun").exists)
    assert scratch.files()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert scratch.files() == {}


async def killed(scratch: Scratch) -> None:
    """In another process, which is killed while apt works."""
    scratch.say("hangs")
    code = (
        "import asyncio, sys; from pathlib import Path; from tests.unit import test_doctor_changes as it\n"
        "from devenv.doctor import apt; from devenv.doctor.machine import Machine; import os\n"
        "machine = Machine(root=Path(sys.argv[1]), owner=os.getuid())\n"
        "asyncio.run(apt.install(it.RECIPE, machine, print))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(scratch.root))
    await until((scratch.bin / "begun").exists)
    process.kill()
    await process.wait()
    (scratch.bin / "hangs").unlink()


async def test_the_run_after_a_kill_tells_of_it_and_puts_the_files_back(scratch: Scratch) -> None:
    scratch.write(TRIXIE.sources, MINE, 0o640)
    before = scratch.files()
    await killed(scratch)
    assert scratch.files() != before
    [found] = leftovers.check(scratch.machine)
    assert (found.status, found.fix) == ("warn", "tidy")
    assert "interrupted" in found.reason
    await leftovers.tidy([], BOOKWORM, scratch.machine, lambda text: None)
    assert scratch.files() == before
    assert leftovers.check(scratch.machine) == []


async def test_the_run_after_a_kill_finishes_what_apt_has_finished(scratch: Scratch) -> None:
    await killed(scratch)
    scratch.say("installed", "docker.io\ncontainerd\n")
    await apt.settle(scratch.machine, lambda text: None)
    found = scratch.machine.recorded()
    assert found.pending == {}
    assert set(found.files) == {str(path) for path in RECIPE.files}
    assert await scratch.undo() == ["packages", "files"]
    assert scratch.files() == {}


async def test_undo_settles_what_was_killed(scratch: Scratch) -> None:
    await killed(scratch)
    assert (await scratch.undo())[0] == "settle"
    assert scratch.files() == {}
    assert scratch.machine.recorded().empty


async def test_an_engine_with_containers_is_replaced_only_where_that_was_agreed_to(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "containers", lambda: 2)
    scratch.say("simulated", "Inst docker.io [20.10] (26.1 x)\nInst docker-cli (26.1 x)\n")
    with pytest.raises(NotFit) as error:
        await scratch.install()
    assert "docker.io; 2 running containers would stop" in error.value.why
    assert "--replace-engine" in error.value.next_step
    assert scratch.files() == {}
    assert not (scratch.bin / "installed").exists()
    await scratch.install(replacing=True)
    assert scratch.machine.recorded().packages == ("docker-cli",)


def test_what_apt_would_do_is_read_from_its_simulation() -> None:
    text = "Reading…\nRemv a [1]\nInst b [1] (2 Debian:12 [amd64]) []\nInst c (1 x [amd64])\nConf c (1)\n"
    assert apt.changes(text) == Changes(("c",), ("b",), ("a",))


async def test_a_policy_file_of_an_earlier_version_is_found_by_its_content_and_goes(scratch: Scratch) -> None:
    scratch.write(leftovers.POLICY, POLICY, 0o755)
    [found] = leftovers.check(scratch.machine)
    assert str(leftovers.POLICY) in found.reason
    await leftovers.tidy([], BOOKWORM, scratch.machine, lambda text: None)
    assert scratch.machine.content(leftovers.POLICY) is None
    assert leftovers.check(scratch.machine) == []


async def test_a_policy_file_of_somebody_else_stays(scratch: Scratch) -> None:
    scratch.write(leftovers.POLICY, "#!/bin/sh\nexit 101\n", 0o755)
    assert leftovers.check(scratch.machine) == []
    assert await scratch.undo() == []
    assert scratch.machine.content(leftovers.POLICY)


async def test_files_that_opened_whole_suites_make_room_for_ones_that_name_packages(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch.write(FORMER[0], "# Of devenv doctor: newer packages of the container engine.\nTypes: deb\n")
    scratch.write(FORMER[1], "Package: *\nPin: release n=trixie\nPin-Priority: 100\n")

    async def foreign(packages: object, host: Host) -> list[str]:
        return ["docker.io"]

    monkeypatch.setattr(leftovers, "_foreign", foreign)
    entries = suites.parse_list("deb http://mirror.example/debian bookworm main\n")
    await leftovers.tidy(entries, BOOKWORM, scratch.machine, lambda text: None)
    assert {Path(path).name for path in scratch.files()} == {path.name for path in TRIXIE.files}
    assert apt.named(scratch.machine) == {"docker.io", "containerd"}
    await scratch.undo()
    assert scratch.files() == {}


async def test_pins_of_somebody_else_under_the_old_name_stay(scratch: Scratch) -> None:
    scratch.write(FORMER[1], "Package: *\nPin: release n=trixie\nPin-Priority: 400\n")
    assert leftovers.former(scratch.machine) == []


def test_whether_a_package_is_of_the_release_is_read_from_apts_policy() -> None:
    policy = (
        "a:\n  Installed: 2\n  Version table:\n *** 2 100\n        100 http://m trixie/main amd64 Packages\n"
        "        100 /var/lib/dpkg/status\n     1 500\n        500 http://m bookworm/main amd64 Packages\n"
        "b:\n  Installed: 1\n  Version table:\n     2 100\n        100 http://m trixie/main amd64 Packages\n"
        " *** 1 500\n        500 http://m bookworm-security/main amd64 Packages\n"
    )
    assert not leftovers.of_release(policy, "a", "bookworm")
    assert leftovers.of_release(policy, "b", "bookworm")


FULL = Record(
    {str(TRIXIE.sources): record.Written(Before(b"\xff\x00", 0o600), "0" * 64)},
    ("docker.io",),
    {str(TRIXIE.preferences): Before(None)},
    Started("boot", 5, managed=False),
    ("qemu-aarch64",),
    "boot",
)


def test_a_record_is_read_back_as_it_was_written() -> None:
    assert record.read(record.text(FULL)) == FULL


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["files"].update({"/etc/passwd": raw["files"][str(TRIXIE.sources)]}),
        lambda raw: raw["files"].update({"/etc/apt/sources.list.d/../x": raw["files"][str(TRIXIE.sources)]}),
        lambda raw: raw["packages"].append("--purge"),
        lambda raw: raw["emulators"].append("../register"),
        lambda raw: raw.update(version=2),
        lambda raw: raw.pop("pending"),
        lambda raw: raw["pending"][str(TRIXIE.preferences)].update(mode="4755"),
    ],
)
async def test_a_record_that_devenv_would_not_write_is_refused(
    scratch: Scratch, change: Callable[[dict[str, object]], object]
) -> None:
    raw = json.loads(record.text(FULL))
    change(raw)
    scratch.write(record.PLACE, json.dumps(raw))
    with pytest.raises(DevenvError, match="cannot be used"):
        await undo.decide(BOOKWORM, scratch.machine)
    [found] = leftovers.check(scratch.machine)
    assert found.status == "warn"
    with pytest.raises(DevenvError, match="cannot be used"):
        await scratch.install()
    assert scratch.files() == {}


def test_a_record_that_others_can_write_is_refused(scratch: Scratch) -> None:
    scratch.write(record.PLACE, record.text(FULL), 0o666)
    with pytest.raises(DevenvError, match="others than root"):
        scratch.machine.recorded()


def test_an_engine_counts_as_started_by_devenv_in_the_same_boot_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("here\n")
    for number, ticks in ((7, 99), (8, 100)):
        (tmp_path / str(number)).mkdir()
        numbers = " ".join(str(one) for one in range(4, 22))
        (tmp_path / str(number) / "stat").write_text(f"{number} (a) b) S {numbers} {ticks} 0\n")
        (tmp_path / str(number) / "comm").write_text("containerd-shim\n")
    assert not running.ours(Started("here", 100, managed=False), 7, tmp_path)
    assert running.ours(Started("here", 100, managed=False), 8, tmp_path)
    assert not running.ours(Started("before", 100, managed=False), 8, tmp_path)
    assert not running.ours(Started("here", 100, managed=False), 9, tmp_path)
    assert running.containers(tmp_path) == 2


async def test_emulation_that_devenv_enabled_is_taken_back(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = tmp_path / "binfmt_misc"
    kernel.mkdir()
    (kernel / "qemu-aarch64").touch()
    (kernel / "register").touch()
    assert emulation.disabling(["qemu-aarch64", "qemu-x86_64"], mounted=True, kernel=kernel) == [
        ["update-binfmts", "--disable", "qemu-aarch64"],
        ["umount", str(kernel)],
    ]
    monkeypatch.setattr(
        emulation, "disabling", lambda emulators, *, mounted: [["touch", str(tmp_path / "done")]]
    )
    await scratch.machine.keep(replace(Record(), emulators=("qemu-aarch64",)))
    assert await scratch.undo() == ["emulation"]
    assert (tmp_path / "done").exists()
    assert scratch.machine.recorded().empty


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.02)
