"""What the doctor makes of what it finds, and what it would do about it. Nothing here is installed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from devenv.doctor import checks, emulation, mends, starting, suites
from devenv.doctor.check import Check
from devenv.doctor.checks import Engine
from devenv.doctor.host import Host, distribution
from devenv.doctor.machine import Machine
from devenv.doctor.suites import Suite
from devenv.errors import NotFit
from devenv.model.stack import ImagesSection
from devenv.tools import programs
from devenv.tools.programs import Found

BOOKWORM = Host(distribution="debian", codename="bookworm")
SUDO = Machine(("sudo", "-n"))
MIRROR = "http://mirror.example/debian"
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
IMAGE = ImagesSection().base
NODE = ImagesSection().node

ONE_LINE = f"""
# deb {MIRROR} bookworm main
deb-src {MIRROR} bookworm main
deb https://php.example bookworm main
deb [arch=amd64 signed-by={KEY}] {MIRROR}/ bookworm main contrib # ours
deb {MIRROR} bookworm-updates main
"""


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "ubuntu"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "ubuntu"),
        ({"ID": "fedora"}, ""),
        ({}, ""),
    ],
)
def test_the_distribution_whose_packages_fit(release: dict[str, str], expected: str) -> None:
    assert distribution(release) == expected


@pytest.mark.parametrize(
    ("text", "older"),
    [
        ("26.1.5+dfsg1", False),
        ("25.0.0-rc.1", False),
        ("v25.0", False),
        ("20.10.24+dfsg1", True),
        ("24.0.9", True),
        ("dev", False),
    ],
)
def test_versions(text: str, older: bool) -> None:
    assert programs.older(text, checks.ENGINE_MINIMUM) is older


def info(**values: Any) -> str:
    client = {"Context": "default", "Plugins": [{"Name": "compose", "Version": "2.40.3-3"}]}
    return json.dumps({"ClientInfo": client, **values})


def test_the_command_tells_of_its_plugins_though_no_engine_answers() -> None:
    seen = checks.read_info(info(ServerVersion=""), "Cannot connect to the Docker daemon at unix:///x.\n")
    assert seen.command
    assert not seen.version
    assert seen.silence.startswith("Cannot connect")
    assert seen.plugins == {"compose": "2.40.3-3"}


def test_an_answer_that_is_none() -> None:
    assert checks.read_info("", "") == Engine(command=True, silence="it says nothing")
    assert checks.read_info(info(ServerErrors=["refused"], ClientInfo=None), "").silence == "refused"


def silent(why: str = "Cannot connect to the Docker daemon", **values: Any) -> Engine:
    return Engine(command=True, silence=why, **values)


INSTALLED = Host(distribution="debian", codename="bookworm", dockerd="/usr/sbin/dockerd")
FEDORA = Host(dockerd="/usr/bin/dockerd", managed=True)


@pytest.mark.parametrize(
    ("seen", "host", "fix", "words"),
    [
        (Engine(silence="there is no docker command"), BOOKWORM, "engine", "install Docker Engine 25.0"),
        (Engine(silence="there is no docker command"), Host(), "", "install Docker Engine 25.0"),
        (silent(), BOOKWORM, "engine", "install Docker Engine"),
        (silent(), INSTALLED, "start", "as root: dockerd"),
        (silent(), FEDORA, "start", "systemctl start docker"),
        (silent("permission denied while trying to connect"), INSTALLED, "", "usermod -aG docker"),
        (silent(), Host(mac=True), "", "start Docker Desktop"),
        (Engine(silence="no command"), Host(mac=True), "", "install Docker Desktop"),
        (silent(context="far"), INSTALLED, "", "the docker context far"),
        (silent(), Host(dockerd="/usr/bin/dockerd", elsewhere="DOCKER_HOST=x"), "", "DOCKER_HOST=x"),
        (Engine(command=True, version="20.10.24+dfsg1"), BOOKWORM, "engine", "25.0 or newer"),
    ],
)
def test_an_engine_that_is_not_fit(seen: Engine, host: Host, fix: str, words: str) -> None:
    found = checks.engine(seen, host)
    assert (found.status, found.fix) == ("fail", fix)
    assert words in found.mend
    assert found.reason


OLD = Engine(command=True, version="20.10.24+dfsg1", containers=3)


def test_an_engine_that_runs_containers_is_not_replaced_without_being_asked(tmp_path: Path) -> None:
    found = checks.engine(OLD, BOOKWORM)
    assert (found.status, found.fix) == ("fail", "replace")
    assert "runs containers: 3" in found.reason
    assert "devenv doctor --fix --replace-engine" in found.mend
    entries = suites.parse_list(ONE_LINE)
    assert mends.decide([found], BOOKWORM, entries, Machine(), tmp_path / "log") == []
    assert "devenv doctor --fix --replace-engine" in mends.advice([found], tried=True)
    agreed = mends.decide([found], BOOKWORM, entries, Machine(), tmp_path / "log", replacing=True)
    assert [mend.name for mend in agreed] == ["install", "start"]
    assert "stop the engine that runs" in agreed[1].does[0]


def test_docker_tells_how_many_containers_run() -> None:
    assert checks.read_info(info(ServerVersion="20.10.24", ContainersRunning=2), "").containers == 2


def test_an_engine_that_is_fit() -> None:
    assert checks.engine(Engine(command=True, version="26.1.5"), BOOKWORM).status == "ok"


@pytest.mark.parametrize(
    ("name", "version", "status", "fix"),
    [
        ("compose", "2.40.3-3", "ok", ""),
        ("compose", "v2.30.0", "ok", ""),
        ("compose", "2.26.1", "fail", "compose"),
        ("compose", None, "fail", "compose"),
        ("buildx", "0.13.1+ds1", "ok", ""),
        ("buildx", "0.10.5", "fail", "buildx"),
        ("buildx", None, "fail", "buildx"),
    ],
)
def test_plugins(name: Any, version: str | None, status: str, fix: str) -> None:
    seen = Engine(command=True, plugins={} if version is None else {name: version})
    found = checks.plugin(name, seen, BOOKWORM)
    assert (found.status, found.fix) == (status, fix)
    assert checks.plugin(name, seen, Host()).fix == ""


@pytest.mark.parametrize(
    ("image", "where", "host", "status", "fix"),
    [
        (IMAGE, "here", BOOKWORM, "ok", ""),
        (IMAGE, "registry", BOOKWORM, "ok", ""),
        (IMAGE, "nowhere", BOOKWORM, "warn", "mmdebstrap"),
        (IMAGE, "nowhere", Host(distribution="debian", mmdebstrap=True), "ok", ""),
        (IMAGE, "nowhere", Host(distribution="ubuntu"), "warn", ""),
        (IMAGE, "unknown", BOOKWORM, "warn", ""),
        ("php:8.2", "nowhere", BOOKWORM, "warn", ""),
    ],
)
def test_the_base_image(image: str, where: Any, host: Host, status: str, fix: str) -> None:
    found = checks.base_image(image, where, host)
    assert (found.status, found.fix) == (status, fix)


NEW_GO = Found("/usr/bin/go", "1.26.8", True)
OLD_GO = Found("/usr/bin/go", "1.19.8", False)


@pytest.mark.parametrize(
    ("image", "where", "go", "host", "status", "fix"),
    [
        (NODE, "here", None, BOOKWORM, "ok", ""),
        (NODE, "registry", None, BOOKWORM, "ok", ""),
        (NODE, "nowhere", NEW_GO, BOOKWORM, "ok", ""),
        (NODE, "nowhere", OLD_GO, BOOKWORM, "warn", "go"),
        (NODE, "nowhere", None, Host(distribution="ubuntu"), "warn", ""),
        (NODE, "unknown", None, BOOKWORM, "warn", ""),
        ("kindest/node:v1.31.0", "nowhere", NEW_GO, BOOKWORM, "warn", ""),
    ],
)
def test_the_node_image(image: str, where: Any, go: Found | None, host: Host, status: str, fix: str) -> None:
    found = checks.node_image(image, where, go, host)
    assert (found.status, found.fix) == (status, fix)


@pytest.mark.parametrize(
    ("found", "go", "host", "status", "fix"),
    [
        (Found("/usr/bin/kind", "0.30.0", True), None, BOOKWORM, "ok", ""),
        (None, NEW_GO, BOOKWORM, "ok", ""),
        (Found("/usr/bin/kind", "0.20.0", False), NEW_GO, BOOKWORM, "ok", ""),
        (Found("/usr/bin/kind", "0.20.0", False), OLD_GO, BOOKWORM, "fail", "go"),
        (None, None, Host(mac=True), "fail", ""),
    ],
)
def test_programs_of_a_cluster(
    found: Found | None, go: Found | None, host: Host, status: str, fix: str
) -> None:
    check = checks.program(programs.KIND, found, go, host)
    assert (check.status, check.fix) == (status, fix)
    assert bool(check.mend) == (status == "fail")


@pytest.mark.parametrize(("free", "status"), [(3.1, "ok"), (2.9, "warn"), (0.9, "fail")])
def test_disk(free: float, status: str) -> None:
    assert checks.disk(int(free * 1e9), Path("/var/lib/docker")).status == status


@pytest.mark.parametrize(
    ("runs", "host", "status", "fix"),
    [
        ({"linux/amd64", "linux/arm64"}, BOOKWORM, "ok", ""),
        ({"linux/amd64"}, BOOKWORM, "fail", "emulation"),
        ({"linux/amd64"}, Host(distribution="ubuntu"), "fail", "emulation"),
        ({"linux/amd64"}, Host(mac=True), "fail", ""),
        ({"linux/amd64"}, FEDORA, "fail", ""),
        ({"linux/amd64"}, Host(distribution="debian", elsewhere="DOCKER_HOST=x"), "fail", ""),
    ],
)
def test_emulation(runs: set[str], host: Host, status: str, fix: str) -> None:
    found = checks.emulation("linux/arm64", runs, host)
    assert (found.name, found.status, found.fix) == ("emulation of arm64", status, fix)
    assert bool(found.mend) == (status == "fail")


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: PF\n", True),
        ("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\n", True),
        # It is not found in a container, whose files are others.
        ("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: P\n", False),
        ("disabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\n", False),
        (None, False),
    ],
)
def test_what_the_kernel_tells_of_an_emulator(tmp_path: Path, text: str | None, has: bool) -> None:
    if text is not None:
        (tmp_path / "qemu-aarch64").write_text(text)
    assert emulation.kernel_has("arm64", tmp_path) == has


def test_an_emulator_that_is_missing_is_installed_then_enabled(tmp_path: Path) -> None:
    broken = [Check("emulation of arm64", "fail", "", "", "emulation"), Check("disk", "ok", "")]
    install, enable = mends.decide(broken, BOOKWORM, suites.parse_list(ONE_LINE), SUDO, tmp_path / "log")
    assert install.does[0] == (
        "sudo -n apt-get install --yes --no-remove --no-install-recommends "
        "qemu-user-static binfmt-support arch-test"
    )
    assert enable.does[-1] == "sudo -n update-binfmts --enable qemu-aarch64"
    assert emulation.argvs(["amd64"], mounted=False) == [
        ["mount", "-t", "binfmt_misc", "binfmt_misc", "/proc/sys/fs/binfmt_misc"],
        ["update-binfmts", "--enable", "qemu-x86_64"],
    ]
    assert len(emulation.argvs(["amd64"], mounted=True)) == 1


@pytest.mark.parametrize(
    ("machine", "platform"), [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("riscv64", "")]
)
def test_what_the_engine_runs_by_itself(machine: str, platform: str) -> None:
    assert checks.read_info(info(Architecture=machine), "").platform == platform


def failed(*fixes: Any) -> list[Check]:
    return [Check(f"check {number}", "fail", "", "", fix) for number, fix in enumerate(fixes)]


@pytest.mark.parametrize(
    ("fixes", "names"),
    [
        ((), []),
        (("",), []),
        (("start",), ["start"]),
        (("compose",), ["install"]),
        (("mmdebstrap", "start"), ["install", "start"]),
        (("engine", "compose", "buildx"), ["install", "start"]),
    ],
)
def test_one_installation_then_the_start(tmp_path: Path, fixes: tuple[str, ...], names: list[str]) -> None:
    found = mends.decide(failed(*fixes), BOOKWORM, suites.parse_list(ONE_LINE), Machine(), tmp_path / "log")
    assert [mend.name for mend in found] == names
    assert [step.after for step in mends.in_turn(found).steps] == [(), *((name,) for name in names)][
        : len(names)
    ]


def test_a_mend_says_exactly_what_it_does(tmp_path: Path) -> None:
    install, start = mends.decide(
        failed("engine"), BOOKWORM, suites.parse_list(ONE_LINE), SUDO, tmp_path / "dockerd.log"
    )
    words = "\n".join(install.does)
    assert f"write {Suite('trixie').sources}:" in words
    assert f"  | URIs: {MIRROR}" in words
    assert "n=sid" not in words
    assert "sudo -n apt-get install --yes --no-remove --no-install-recommends docker.io docker-cli" in words
    assert start.does == (f"sudo -n dockerd, in the background; it writes to {tmp_path / 'dockerd.log'}",)


def test_a_service_manager_starts_what_it_manages(tmp_path: Path) -> None:
    managed = Host(distribution="debian", codename="trixie", managed=True)
    install, start = mends.decide(failed("engine"), managed, [], Machine(), tmp_path / "log")
    assert start.does == ("systemctl start docker",)
    assert install.name == "install"


def test_advice() -> None:
    assert mends.advice(failed("start"), tried=False) == "run: devenv doctor --fix"
    assert "sudo" in mends.advice(failed("start"), tried=True)
    assert mends.advice(failed(""), tried=False) == "the mends stand above"


def test_a_pid_file_is_stale_once_its_process_is_another_program(tmp_path: Path) -> None:
    run, proc = tmp_path / "run", tmp_path / "proc"
    for pid, program in ((7, "dockerd"), (8, "bash")):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "comm").write_text(f"{program}\n")
    containerd = run / "docker/containerd/containerd.pid"
    containerd.parent.mkdir(parents=True)
    assert starting.stale_pid_files(run, proc) == []
    (run / "docker.pid").write_text("7")
    containerd.write_text("8")
    assert starting.stale_pid_files(run, proc) == [containerd]
    (run / "docker.pid").write_text("9")
    containerd.write_text("not a number")
    assert starting.stale_pid_files(run, proc) == [run / "docker.pid", containerd]


async def test_an_engine_that_ends_at_once_shows_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerd = tmp_path / "dockerd"
    dockerd.write_text("#!/bin/sh\necho no such storage driver\nexit 3\n")
    dockerd.chmod(0o755)
    log = tmp_path / "state" / "dockerd.log"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setattr(starting, "_RUN", tmp_path)
    machine = Machine(root=tmp_path / "root", owner=os.getuid())
    for _ in range(2):
        with pytest.raises(NotFit, match="ended with code 3") as error:
            await starting.start(Host(dockerd=str(dockerd)), machine, log, lambda text: None)
        assert error.value.log_tail == "no such storage driver"
    assert sorted(path.name for path in log.parent.iterdir()) == ["dockerd.log", "dockerd.log.1"]
