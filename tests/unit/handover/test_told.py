"""What devenv tells new pods, as it writes it and as a gate reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from devenv import assets
from devenv.backends import mark as written
from devenv.handover import mark, told
from devenv.handover.mark import Mark
from devenv.handover.settings import Settings
from devenv.model.instance import Gate, Instance
from devenv.model.stack import Stack, StackSection

GATE = Gate("u", "v1", "owner", 3, "line", "open", True)
OWNER = Instance("id", "php-fpm-1", "php-fpm", "php-fpm:v1", "", 0.0, "running", gate=GATE)


def mounted(folder: Path, data: dict[str, str]) -> Path:
    """As Kubernetes mounts a ConfigMap."""
    for name, text in data.items():
        (folder / name).write_text(text)
    return folder


def test_a_gate_reads_the_owner_that_devenv_has_written_down(tmp_path: Path) -> None:
    folder = mounted(tmp_path, written.of_owner(OWNER, GATE))
    assert mark.load(folder) == Mark("u", "php-fpm-1", "v1", "line", 3)
    assert not told.nobody(folder, now=0)


def test_that_there_is_nobody_counts_for_a_while(tmp_path: Path) -> None:
    folder = mounted(tmp_path, written.of_nobody(until=1000))
    assert mark.load(folder) is None
    assert told.nobody(folder, now=999)
    assert not told.nobody(folder, now=1000)


@pytest.mark.parametrize("text", ["", "soon", "nan"])
def test_a_time_that_is_none_says_nothing(tmp_path: Path, text: str) -> None:
    assert not told.nobody(mounted(tmp_path, {written.NOBODY: text}), now=0)


def test_where_nothing_is_mounted_nothing_is_told(tmp_path: Path, settings: Settings) -> None:
    assert settings.mark is None
    assert not told.nobody(None, now=0)
    assert mark.load(tmp_path / "not-there") is None
    assert not told.nobody(tmp_path / "not-there", now=0)


def test_what_is_written_carries_the_labels_of_the_stack() -> None:
    stack = Stack(stack=StackSection(name="blog"))
    made = written.manifest(stack, "team", {"a": "b"})
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "devenv",
        "app.kubernetes.io/instance": "blog",
    }
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("php-fpm-mark", "team")
    assert json.loads(json.dumps(made))["data"] == {"a": "b"}


def test_the_manifest_mounts_it_where_the_gate_is_told_and_does_without_it() -> None:
    manifest = (assets.k8s_folder() / "base" / "php-fpm-deployment.yaml").read_text()
    [where] = re.findall(r"\{name: GATE_MARK, value: (\S+)\}", manifest)
    assert Settings.from_env({"GATE_MARK": where}).mark == Path(where)
    [volume] = re.findall(rf"\{{name: (\S+), mountPath: {where}, readOnly: true\}}", manifest)
    assert f"- name: {volume}\n          configMap: {{name: {written.NAME}, optional: true}}" in manifest


def test_who_is_missing_is_named_with_the_way_out() -> None:
    problem = told.missing(Mark("u", "php-fpm-1", "v1", "line", 3), final=True)
    assert problem.final
    assert "php-fpm-1 (v1, epoch 3)" in problem.why
    assert "devenv recover --from" in problem.next_step
