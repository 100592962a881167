"""kind, kubectl and Go: which is taken, and how it is called; how a node image is come by."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devenv.backends.kind import Kind, is_back
from devenv.errors import DevenvError, NotFit
from devenv.images import inputs, node
from devenv.model.events import BuildStage, Event
from devenv.model.stack import Stack
from devenv.tools import kind, programs
from devenv.tools.programs import GO, KIND, KUBECTL, Program

CONFIG = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
CONTEXT = Path(__file__).parents[2]
PROGRAMS = CONTEXT / "docker" / "node" / "programs"

Script = Callable[[str, str], Path]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Makes a program, in a folder below this test's own. PATH and cache have nothing else in them."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(programs, "_known", {})

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.mark.parametrize(
    ("program", "says", "version", "fits"),
    [
        (KIND, "kind version 0.30.0", "0.30.0", True),
        (KIND, "kind version 0.26.0", "0.26.0", False),
        (KUBECTL, "Client Version: v1.34.4\nKustomize Version: v5.7.1", "1.34.4", True),
        (KUBECTL, "Client Version: v1.31.9", "1.31.9", False),
        (KIND, "kind version unheard-of", "of unknown version", True),
    ],
)
async def test_versions(script: Script, program: Program, says: str, version: str, fits: bool) -> None:
    path = script(f"bin/{program.name}", f"echo '{says}'")
    assert await programs.find(program) == programs.Found(str(path), version, fits)


async def test_the_first_on_path_that_is_new_enough(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = script("old/kind", "echo kind version 0.20.0"), script("bin/kind", "echo kind version 0.31.0")
    own = script("cache/devenv/bin/kind", "echo kind version 0.30.0")
    monkeypatch.setenv("PATH", f"{old.parent}:{new.parent}")
    assert await programs.path(KIND) == str(new)
    new.unlink()
    assert await programs.path(KIND) == str(own)
    own.unlink()
    with pytest.raises(NotFit, match=r"0\.20\.0, and 0\.27 is needed"):
        await programs.path(KIND)


async def test_a_program_that_does_not_start_is_none(script: Script) -> None:
    script("bin/kind", "exit 1")
    assert await programs.find(KIND) is None


async def test_go_is_found_beside_path(script: Script, tmp_path: Path) -> None:
    """Debian puts a newer Go where PATH does not lead."""
    beside = script("lib/go-1.24/bin/go", "echo go version go1.24.4 linux/amd64")
    script("bin/go", "echo go version go1.19.8 linux/amd64")
    pattern = str(tmp_path / "lib" / "go-1.*" / "bin")
    found = await programs.find(Program("go", GO.ask, GO.minimum, (pattern,)))
    assert found == programs.Found(str(beside), "1.24.4", True)


@pytest.mark.parametrize(
    ("bounds", "lacks"), [("000001ffffffffff", False), ("000001fffeffffff", True), ("0", True)]
)
def test_whether_a_machine_lets_processes_be_spared(tmp_path: Path, bounds: str, lacks: bool) -> None:
    (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t0\nCapBnd:\t{bounds}\nNoNewPrivs:\t0\n")
    assert kind.lacks_sys_resource(tmp_path / "status") is lacks
    assert not kind.lacks_sys_resource(tmp_path / "nothing")


def test_a_configuration_is_changed_only_where_that_is_needed() -> None:
    assert kind.fitting(CONFIG, restricted=False) == CONFIG
    patched = kind.fitting(CONFIG, restricted=True)
    assert patched.startswith(CONFIG)
    assert "restrict_oom_score_adj = true" in patched
    assert kind.fitting(patched, restricted=True) == patched


def test_a_pod_is_back_when_its_container_has_started_since() -> None:
    since = 1769860800.5  # 2026-01-31T12:00:00.5Z
    ready = [{"type": "Ready", "status": "True"}]

    def pod(started: str, conditions: object = ready, **metadata: str) -> dict[str, object]:
        status = {"containerID": "c", "state": {"running": {"startedAt": started}}}
        return {"metadata": metadata, "status": {"containerStatuses": [status], "conditions": conditions}}

    assert is_back(pod("2026-01-31T12:00:00Z"), since)
    assert not is_back(pod("2026-01-31T12:00:00Z", conditions=[]), since)
    # What is told of one of before is of before.
    assert not is_back(pod("2026-01-31T11:59:58Z"), since)
    assert is_back(pod("2026-01-31T11:59:58Z", deletionTimestamp="x"), since)
    assert is_back({"metadata": {}, "status": {"phase": "Pending"}}, since)


def test_what_a_node_calls_an_image() -> None:
    status = {"id": "sha256:1", "repoDigests": ["import-2026@sha256:2"]}
    assert kind.digests(json.dumps({"status": status})) == ["sha256:1", "sha256:2"]
    assert kind.digests(json.dumps({"status": {"id": "sha256:1"}})) == ["sha256:1"]
    with pytest.raises(DevenvError, match="cannot be read"):
        kind.digests("{}")


@pytest.fixture
def calls(script: Script, tmp_path: Path) -> Callable[[], list[str]]:
    """A kind with a cluster of one node, and an engine with two images; what they were asked."""
    log = tmp_path / "calls"
    script("bin/kind", f"""
[ "$1" = --version ] && echo kind version 0.30.0 && exit
echo "kind $*" >> {log}
case "$*" in *get*clusters*) echo c ;; *get*nodes*) echo c-control-plane ;; esac
""")  # fmt: skip
    script("bin/docker", f"""
case "$*" in
image\\ inspect*)
    of='"Config": {{}}, "Os": "linux", "Architecture": "amd64"'
    echo '{{"Id": "sha256:1", "RepoTags": ["old:v1"], '$of'}}'
    echo '{{"Id": "sha256:2", "RepoTags": ["new:v1"], '$of'}}' ;;
version*) echo "${{API:-1.48}} linux/arm64" ;;
*inspecti\\ old:v1) echo '{{"status": {{"id": "sha256:1"}}}}' ;;
*inspecti*) exit 1 ;;
*) echo "docker $*" >> {log} ;;
esac
""")  # fmt: skip
    return lambda: log.read_text().splitlines() if log.exists() else []


async def test_an_image_that_a_node_has_is_not_brought_again(calls: Callable[[], list[str]]) -> None:
    assert await kind.load("c", ["old:v1", "new:v1"]) == ["new:v1"]
    _, save, load = calls()
    assert save.startswith("docker image save --platform linux/arm64 --output ")
    assert save.endswith(" new:v1")
    assert load.startswith("kind load image-archive ")
    assert load.endswith(" --name c --nodes c-control-plane")
    assert await kind.load("c", ["old:v1"]) == []


async def test_an_older_engine_knows_one_platform_only(
    calls: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API", "1.45")
    await kind.load("c", ["new:v1"])
    assert calls()[1].startswith("docker image save --output ")


async def test_a_cluster_never_touches_the_users_kubeconfig(
    calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "kind.yaml").write_text(CONFIG)
    kubeconfig = tmp_path / "own" / "kubeconfig"
    await kind.create("c", tmp_path / "kind.yaml", "kindest/node:v1", kubeconfig, 90)
    await kind.delete("c", kubeconfig)
    create, delete = calls()
    assert create.startswith("kind create cluster --name c --config ")
    assert create.endswith(f" --image kindest/node:v1 --wait 90s --kubeconfig {kubeconfig}")
    assert delete == f"kind delete cluster --name c --kubeconfig {kubeconfig}"
    assert await kind.clusters() == ["c"]


@pytest.mark.parametrize("name", ["main.go", "go.sum", "build.sh", "pause/main.go"])
def test_programs_are_made_again_when_their_sources_change(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "docker" / "node" / "programs" / name
    copy.parent.mkdir(parents=True)
    copy.write_bytes((PROGRAMS / name).read_bytes())
    before = inputs.programs(tmp_path, "x86_64")
    (tmp_path / "docker" / "node" / "Dockerfile").write_text("FROM scratch")
    assert inputs.programs(tmp_path, "x86_64") == before
    assert inputs.programs(tmp_path, "aarch64") != before
    copy.write_text("changed")
    assert inputs.programs(tmp_path, "x86_64") != before


@pytest.fixture
def recipe(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that compiles nothing, on a machine where no registry answers. Its context."""
    script("bin/docker", """
case "$*" in *imagetools*) echo 'lookup registry: no such host' >&2; exit 1 ;; esac
""")  # fmt: skip
    script("docker/node/programs/build.sh", """
echo '== compile'
mkdir -p "$1"
echo 'echo kind version 0.30.0' > "$1/kind"; echo 'echo Client Version: v1.34.4' > "$1/kubectl"
chmod 755 "$1/kind" "$1/kubectl"
[ ! -e "$(dirname "$0")/broken" ]
""")  # fmt: skip
    script("docker/node/build.sh", "echo '== put together'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(node, "GO", Program("go", ("version",), (1, 24)))

    async def there(*arguments: object) -> bool:
        return True

    monkeypatch.setattr(node.base, "ensure", there)
    return tmp_path


async def test_an_image_that_is_nowhere_names_both_ways_out(recipe: Path, script: Script) -> None:
    script("bin/go", "echo go version go1.19.8 linux/amd64")
    with pytest.raises(DevenvError) as missing:
        await node.ensure(node.DEFAULT, recipe, lambda event: None)
    assert "no such host" in missing.value.why
    assert "registry" in missing.value.next_step
    assert "devenv doctor --fix installs Go" in missing.value.next_step
    with pytest.raises(DevenvError) as missing:
        await node.ensure("kindest/node:v1.0.0", recipe, lambda event: None)
    assert "Go" not in missing.value.next_step


async def test_what_was_compiled_once_is_kept(recipe: Path, script: Script) -> None:
    go = script("bin/go", "echo go version go1.26.8 linux/amd64")
    told: list[Event] = []
    assert await node.ensure(node.DEFAULT, recipe, told.append)
    stages = [(one.stage, one.state) for one in told if isinstance(one, BuildStage)]
    assert stages == [
        ("compile", "started"), ("compile", "done"), ("put together", "started"), ("put together", "done"),
    ]  # fmt: skip
    go.unlink()
    told.clear()
    assert await node.ensure(node.DEFAULT, recipe, told.append)
    assert [one.stage for one in told if isinstance(one, BuildStage)] == ["put together"] * 2
    link = programs.own_folder() / "kind"
    assert not link.readlink().is_absolute()
    assert link.exists()


async def test_half_made_programs_are_never_taken_for_whole(recipe: Path, script: Script) -> None:
    script("bin/go", "echo go version go1.26.8 linux/amd64")
    broken = recipe / "docker" / "node" / "programs" / "broken"
    broken.touch()
    with pytest.raises(DevenvError, match="compile: ") as failed:
        await node.ensure(node.DEFAULT, recipe, lambda event: None)
    assert "devenv node-image build" in failed.value.next_step
    assert list((programs.cache() / "node-image").iterdir()) == []
    assert not (programs.own_folder() / "kind").exists()


async def test_images_are_read_while_the_cluster_is_made_and_brought_when_it_is(
    calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    folder, image, noted = tmp_path / "kind", Stack().image("httpd", "v1"), list[str]()
    bringing = asyncio.create_task(
        Kind(Stack(), tmp_path, folder, config=tmp_path).bring({"httpd": "v1"}, noted.append)
    )
    async with asyncio.timeout(20):
        while noted != ["waits for the cluster"]:
            await asyncio.sleep(0.01)
    assert calls()[-1].startswith("docker image save ")
    assert calls()[-1].endswith(f" {image}")
    folder.mkdir()
    (folder / "kubeconfig").touch()
    assert await bringing == [image]
    assert calls()[-1].startswith("kind load image-archive ")
    assert noted[-1] == ""


async def test_a_cluster_that_never_comes_is_not_waited_for_without_end(
    calls: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devenv.backends.kind._MADE", 0.0)
    stack = Kind(Stack(), tmp_path, tmp_path / "kind", config=tmp_path)
    with pytest.raises(DevenvError, match="the cluster devenv is not there"):
        await stack.bring({"httpd": "v1"})
    assert not any(" load " in line for line in calls())
