"""What devenv says and does in a namespace: whom it marks, whose end it believes, what it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devenv import assets, portforward
from devenv.backends import kubernetes, mark
from devenv.backends.kubernetes import Kubernetes
from devenv.backends.pods import instance
from devenv.errors import DevenvError
from devenv.model.instance import Instance
from devenv.model.stack import Stack
from devenv.tools import process
from devenv.tools.kubectl import Object, name_of
from tests.unit.test_pods import READY, pod


def completed(said: Mapping[str, Any] | None) -> process.Completed:
    """None: there was nobody to ask."""
    return process.Completed((), int(said is None), json.dumps(said or {}), "", 0.0)


RUNS = {"conditions": READY, "state": {"running": {}}, "containerID": "c"}


def labelled(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {**metadata, "labels": {"app.kubernetes.io/part-of": "devenv"}}}


class Place:
    """A namespace: its pods of php-fpm, its ConfigMap, and what was asked that changes something."""

    kubeconfig, context, namespace, program = None, "kind-c", "testing", "kubectl"
    pin: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.marked: dict[str, Any] | None = None
        self.asked: list[str] = []
        self.replicasets: list[dict[str, Any]] = []
        self.slow: dict[str, float] = {}
        """Seconds that a command takes, by its first words."""
        self.clock = 0.0

    async def get(self, kind: str, *arguments: str) -> list[Object]:
        if kind == "pods":
            return list(self.pods)
        if kind.startswith("replicaset"):
            return [one for one in self.replicasets if kind == "replicasets" or name_of(one) in arguments]
        return [self.marked] if kind == "configmap" and self.marked else []

    async def call(self, *arguments: str, timeout: float = 60, check: bool = True) -> process.Completed:
        self.asked.append(" ".join(arguments[: 3 if arguments[0] == "patch" else 2]))
        self.clock += self.slow.get(" ".join(arguments[:2]), 0.0)
        if arguments[:2] == ("delete", "configmap"):
            self.marked = None
        elif arguments[0] == "delete":
            names = (
                [arguments[2]] if arguments[1] == "pod" else [one["metadata"]["name"] for one in self.pods]
            )
            if arguments[1] in ("pod", "pods"):
                self.pods = [one for one in self.pods if one["metadata"]["name"] not in names]
        return completed({})

    async def apply(self, manifest: str, *options: str) -> None:
        self.marked = json.loads(manifest)
        self.asked.append("mark")

    def argv(self, *arguments: str) -> list[str]:
        return ["kubectl", *arguments]

    def by_hand(self, *arguments: str) -> str:
        return " ".join(arguments)

    @contextmanager
    def errors(self) -> Iterator[None]:
        yield


class Namespace(Kubernetes):
    """`gates` has what each pod's gate says; a pod without one does not answer."""

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(Stack(), place, assets.k8s_folder() / "overlays" / "kind", folder)  # type: ignore[arg-type]
        self.place = place
        self.gates: dict[str, dict[str, Any]] = {}
        self.refuses: list[str] = []
        """Pods whose gate is about to end when it is asked for something."""
        self.back: dict[str, dict[str, Any]] = {}
        """Those that are started again, after so many looks."""
        self.looks_until_back = 0
        self.interrupted = False

    async def _exec(
        self, instance: Instance, *command: str, timeout: float, check: bool = True
    ) -> process.Completed:
        verb = command[-1]
        if verb != "status":
            self.place.asked.append(f"{verb} {instance.name}")
        if verb != "status" and instance.name in self.refuses:
            self.refuses.remove(instance.name)
            self.looks_until_back, self.back = 2, {instance.name: self.gates.pop(instance.name)}
            raise DevenvError("kubectl failed", "container not found", "again")
        if verb == "recover":
            self.gates[instance.name] |= {"role": "owner", "epoch": 1, "lineage": "born"}
        if self.looks_until_back:
            self.looks_until_back -= 1
        else:
            self.gates |= self.back
            self.back.clear()
        found = self.gates.get(instance.name)
        return completed(found)

    async def snapshot(self, instance: Instance, into: Path) -> Mapping[str, Any]:
        self.place.asked.append(f"snapshot {instance.name}")
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_text(f"content of {instance.name} at {len(self.place.asked)}")
        return {}

    async def _keep_journal(self, instance: Instance) -> None:
        pass

    async def _until_gone(self, instance: Instance) -> None:
        if self.interrupted:
            raise DevenvError("interrupted", "somebody pressed Ctrl-C", "again")

    async def _ready(self, *_: Any) -> None:
        pass

    async def _listen(self) -> None:
        pass

    def add(self, name: str, role: str = "owner", **gate: Any) -> Instance:
        made = pod(name, **RUNS)
        self.place.pods.append(made)
        about = {"uid": f"of {name}", "release": "v1", "role": role, "epoch": 1, "lineage": "line"}
        self.gates[name] = {**about, "state": "open", "ready": True, **gate}
        return instance(made)

    @property
    def owner_told(self) -> dict[str, Any]:
        assert self.place.marked is not None
        found: dict[str, Any] = json.loads(self.place.marked["data"][mark.OWNER])
        return found

    def told_with_it(self) -> dict[str, str]:
        """What was told of the content, together with all else that is applied."""
        made = json.loads((self._folder / "kustomization.yaml").read_text())
        if mark.FILE not in made["resources"]:
            return {}
        data: dict[str, str] = json.loads((self._folder / mark.FILE).read_text())["data"]
        return data


@pytest.fixture
async def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    place = Place()
    monkeypatch.setattr(
        kubernetes, "time", SimpleNamespace(monotonic=lambda: place.clock, time=lambda: 1000.0)
    )

    async def stopped(folder: Path) -> None:
        pass

    monkeypatch.setattr(portforward, "stop", stopped)
    made = Namespace(place, tmp_path / "kind")
    await made.prepare({"httpd": "v1", "php-fpm": "v1"})
    return made


# Who has the content


async def test_a_start_tells_first_that_there_is_nobody_and_then_who_owns_the_content(
    stack: Namespace,
) -> None:
    began: list[dict[str, str]] = []

    async def ready(*_: Any) -> None:
        began.append(stack.told_with_it())
        stack.add("php-fpm-1")

    stack._ready = ready  # type: ignore[method-assign]
    await stack.start()
    assert began == [{mark.NOBODY: f"{1000 + kubernetes._BEGINS:.0f}"}]
    assert (stack.owner_told["host"], stack.owner_told["uid"]) == ("php-fpm-1", "of php-fpm-1")


async def test_nobody_is_not_said_to_be_there_where_a_pod_runs_or_has_run(stack: Namespace) -> None:
    stack.add("php-fpm-1")
    stack.gates.clear()
    await stack.start()
    assert stack.told_with_it() == {}
    stack.place.pods[0]["status"]["phase"] = "Failed"
    await stack.start()
    assert stack.told_with_it() == {}


async def test_a_pod_that_never_ran_has_no_content_unless_its_gate_answers(stack: Namespace) -> None:
    """Kubernetes calls a pod so until its hook has ended."""
    stack.add("php-fpm-1", role="fresh")
    stack.place.pods[0]["status"]["containerStatuses"] = [{}]
    await stack.start()
    assert stack.told_with_it() == {}
    stack.gates.clear()
    await stack.start()
    assert mark.NOBODY in stack.told_with_it()


async def test_nobody_is_not_said_to_be_there_where_somebody_is_missing(stack: Namespace) -> None:
    stack.place.marked = labelled({"name": mark.NAME})
    await stack.start()
    assert stack.told_with_it() == {}


async def test_who_is_missing_is_nobody_any_more_where_a_file_has_the_content(
    stack: Namespace, tmp_path: Path
) -> None:
    (tmp_path / "last.tar").touch()
    (tmp_path / "kind" / "restore").write_text(f"{tmp_path / 'last.tar'}\n")
    stack.place.marked = labelled({"name": mark.NAME})
    told: list[dict[str, str]] = []

    async def ready(*_: Any) -> None:
        told.append(stack.told_with_it())
        if not stack.place.pods:
            stack.add("php-fpm-1")

    async def restore(instance: Instance, file: Path) -> None:
        stack.gates[instance.name]["lineage"] = "restored"

    stack._ready = ready  # type: ignore[method-assign]
    stack.restore = restore  # type: ignore[method-assign]
    await stack.start()
    # Once: then it is the owner that is told of.
    assert [list(one) for one in told] == [[mark.NOBODY], []]
    assert stack.owner_told["lineage"] == "restored"


async def test_the_mark_stays_as_it_is_where_it_is_not_settled_who_owns_the_content(stack: Namespace) -> None:
    stack.add("php-fpm-1")
    await stack.start()
    stack.add("php-fpm-2", epoch=2)
    await stack.start()
    assert stack.owner_told["host"] == "php-fpm-1"


async def test_the_mark_is_written_when_it_says_something_else(stack: Namespace) -> None:
    stack.add("php-fpm-1")
    await stack.start()
    await stack.start()
    assert stack.place.asked.count("mark") == 1


async def test_after_an_upgrade_the_mark_names_the_new_owner(stack: Namespace) -> None:
    old = stack.add("php-fpm-1")
    await stack.start()
    stack.gates["php-fpm-1"]["role"] = "moved"
    stack.add("php-fpm-2", epoch=2)
    stack.place.pods[0]["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:01Z"
    await stack.stop_one(old)
    assert (stack.owner_told["host"], stack.owner_told["epoch"]) == ("php-fpm-2", 2)


async def test_a_snapshot_that_is_restored_is_another_database_and_marked_as_that(
    stack: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owner = stack.add("php-fpm-1")
    await stack.start()

    async def run(argv: list[str], **_: Any) -> process.Completed:
        assert argv[-3:] == ["gate", "restore", "-"]
        stack.gates["php-fpm-1"]["lineage"] = "restored"
        return completed({})

    monkeypatch.setattr(process, "run", run)
    (tmp_path / "saved.tar").touch()
    await stack.restore(owner, tmp_path / "saved.tar")
    assert stack.owner_told["lineage"] == "restored"


async def test_somebody_elses_object_of_that_name_is_not_overwritten(stack: Namespace) -> None:
    stack.add("php-fpm-1")
    stack.place.marked = {"kind": "ConfigMap", "metadata": {"name": mark.NAME}, "data": {"theirs": "x"}}
    with pytest.raises(DevenvError, match="not devenv's: ConfigMap php-fpm-mark"):
        await stack.start()
    await stack.remove_all(content=True)
    assert stack.place.marked["data"] == {"theirs": "x"}


async def test_what_was_recovered_is_the_owner_from_then_on(stack: Namespace) -> None:
    stack.place.marked = labelled({"name": mark.NAME})
    new = stack.add("php-fpm-2", role="fresh")
    await stack.recover(new)
    assert (stack.owner_told["host"], stack.owner_told["lineage"]) == ("php-fpm-2", "born")


async def test_recover_waits_for_the_next_container_where_the_one_it_asked_has_just_ended(
    stack: Namespace,
) -> None:
    new = stack.add("php-fpm-2", role="fresh")
    stack.refuses = ["php-fpm-2"]
    await stack.recover(new)
    assert stack.place.asked.count("recover php-fpm-2") == 2
    assert stack.owner_told["host"] == "php-fpm-2"


async def test_recover_does_not_wait_for_a_pod_that_is_gone(stack: Namespace) -> None:
    new = stack.add("php-fpm-2", role="fresh")
    stack.refuses = ["php-fpm-2"]
    stack.place.pods.clear()
    with pytest.raises(DevenvError):
        await stack.recover(new)


async def test_what_is_done_is_done_though_it_cannot_be_marked(
    stack: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = stack.add("php-fpm-2", role="fresh")

    async def refuse(*_: str) -> None:
        raise DevenvError("kubectl failed", "etcdserver: no leader", "again")

    monkeypatch.setattr(stack.place, "apply", refuse)
    await stack.recover(new)
    with pytest.raises(DevenvError, match="kubectl failed"):
        await stack.start()


# Its end


async def test_an_end_that_was_interrupted_leaves_nothing_that_a_later_one_takes_for_its_content(
    stack: Namespace, tmp_path: Path
) -> None:
    owner = stack.add("php-fpm-1")
    stack.interrupted = True
    stack.place.call, true = refusing, stack.place.call  # type: ignore[method-assign, assignment]
    with pytest.raises(DevenvError):
        await stack.stop_one(owner)
    stack.place.call = true  # type: ignore[method-assign]
    [left] = (tmp_path / "kind").glob("ended-*.tar")
    old = left.read_text()
    assert await stack.last_snapshot(owner, tmp_path / "last.tar")
    assert (tmp_path / "last.tar").read_text() != old
    assert (tmp_path / "kind" / "restore").read_text().strip() == str(tmp_path / "last.tar")
    assert not left.exists()


async def refusing(*arguments: str, timeout: float = 60, check: bool = True) -> process.Completed:
    raise DevenvError("kubectl failed", "etcdserver: no leader", "again")


async def test_a_pod_that_cannot_be_asked_at_its_end_does_not_leave_what_an_earlier_one_saved(
    stack: Namespace, tmp_path: Path
) -> None:
    owner = stack.add("php-fpm-1")
    stack._saved(owner).write_text("of an earlier end")
    stack.gates.clear()
    await stack.stop_one(owner)
    assert not await stack.last_snapshot(owner, tmp_path / "last.tar")
    assert not (tmp_path / "last.tar").exists()


async def test_a_pod_that_has_ended_leaves_what_it_saved_then(stack: Namespace, tmp_path: Path) -> None:
    owner = stack.add("php-fpm-1")
    await stack.stop_one(owner)
    assert await stack.last_snapshot(owner, tmp_path / "last.tar")
    assert (tmp_path / "last.tar").read_text().startswith("content of php-fpm-1")
    assert list((tmp_path / "kind").glob("ended-*.tar")) == []


@pytest.mark.parametrize("ready", [True, False])
async def test_a_new_pod_goes_also_where_the_one_that_stays_is_not_ready(
    stack: Namespace, ready: bool
) -> None:
    """Its Deployment takes none away then."""
    for revision, name in enumerate(("old", "new"), 1):
        stack.add(name, role="fresh")
        metadata = stack.place.pods[-1]["metadata"]
        metadata["labels"] = metadata["labels"] | {"pod-template-hash": name}
        metadata["ownerReferences"] = [{"kind": "ReplicaSet", "name": f"set-of-{name}"}]
        about = {"name": f"set-of-{name}", "labels": {"pod-template-hash": name}}
        about["annotations"] = {"deployment.kubernetes.io/revision": str(revision)}
        template = {"metadata": {"labels": {}}, "spec": {}}
        stack.place.replicasets.append({"metadata": about, "spec": {"template": template}})
    if not ready:
        stack.place.pods[0]["status"]["conditions"] = []
    await stack.stop_one(instance(stack.place.pods[1]))
    scaled = ["patch replicaset set-of-new"] if not ready else []
    assert stack.place.asked == ["patch deployment php-fpm", *scaled]


async def test_all_goes_with_the_mark_and_the_owner_knows_that_nobody_comes(stack: Namespace) -> None:
    stack.add("php-fpm-1")
    await stack.start()
    stack.place.asked.clear()
    await stack.remove_all(content=False)
    assert stack.place.marked is None
    asked = [one.partition(",")[0] for one in stack.place.asked]
    assert asked == ["retire php-fpm-1", "delete configmap", "delete deployments", "delete pods"]


async def test_an_owner_is_told_again_that_nobody_comes_where_all_else_took_long_to_go(
    stack: Namespace,
) -> None:
    stack.add("php-fpm-1")
    stack.place.slow = {f"delete {stack.kinds}": 50.0}
    await stack.remove_all(content=False)
    assert stack.place.asked.count("retire php-fpm-1") == 2
    assert stack.place.asked[-2:] == ["retire php-fpm-1", "delete pods"]


async def test_httpd_that_goes_tells_no_owner_anything_so_that_it_can_come_back(stack: Namespace) -> None:
    stack.add("php-fpm-1")
    await stack.stop()
    assert not [one for one in stack.place.asked if one.startswith("retire")]


def test_no_advice_takes_a_pod_away_whose_content_is_nowhere_else(stack: Namespace) -> None:
    assert "delete" not in stack.by_hand("restart", stack.add("php-fpm-1"))
