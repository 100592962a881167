"""What an image is made of, and what the builder tells."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devenv.errors import DevenvError, NotFit
from devenv.images import base, inputs
from devenv.images.progress import Progress
from devenv.model.events import BuildStage

ARGUMENTS = {"BASE": "sha256:1", "RELEASE": "v1", "DOCUMENT_ROOT": "public"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "docker/left-out": ".git\n.env.local\nnode_modules\n*~\n",
        "docker/httpd/Dockerfile": "FROM a",
        "docker/php-fpm/Dockerfile": "FROM b",
        "docker/php-fpm/gate": "#!/bin/sh",
        "devenv/__init__.py": "",
        "devenv/handover/gate.py": "1",
        "docker/app/public/index.php": "<?php",
        "docker/app/src/Post.php": "<?php",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def both(tree: Path, app: Path | None = None) -> tuple[str, str]:
    return tuple(inputs.digest(service, tree, app, ARGUMENTS) for service in ("httpd", "php-fpm"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "docker/app/src/Post.php").write_text("<?php 2"),
        lambda tree: (tree / "docker/app/new.php").touch(),
        lambda tree: (tree / "docker/app/src/Post.php").rename(tree / "docker/app/src/Tag.php"),
        lambda tree: (tree / "docker/app/src/Post.php").chmod(0o755),
        lambda tree: (tree / "docker/app/link").symlink_to("src"),
    ],
    ids=["content", "new file", "name", "mode", "link"],
)
def test_a_change_of_the_application_is_one_of_php_fpm(tree: Path, change: Callable[[Path], Any]) -> None:
    """httpd has nothing of it but what it serves by itself."""
    before = both(tree)
    change(tree)
    after = both(tree)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_change_of_what_httpd_serves_is_one_of_both_images(tree: Path) -> None:
    before = both(tree)
    (tree / "docker/app/public/style.css").write_text("a {}")
    after = both(tree)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_the_gate_belongs_to_php_fpm_alone(tree: Path) -> None:
    before = both(tree)
    (tree / "devenv/handover/gate.py").write_text("2")
    after = both(tree)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_what_running_leaves_behind_changes_nothing(tree: Path) -> None:
    before = both(tree)
    for name in (
        "devenv/handover/__pycache__/gate.pyc",
        "docker/app/var/cache/a",
        "docker/app/data/database.sqlite",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    os.utime(tree / "docker/app/src/Post.php")
    assert both(tree) == before


def test_release_and_base_are_part_of_it(tree: Path) -> None:
    before = inputs.digest("httpd", tree, None, ARGUMENTS)
    assert inputs.digest("httpd", tree, None, ARGUMENTS | {"RELEASE": "v2"}) != before
    assert inputs.digest("httpd", tree, None, ARGUMENTS | {"BASE": "sha256:2"}) != before


def test_another_application_takes_the_place_of_the_site(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "var").mkdir(parents=True)
    before = both(tree, other)
    (other / "var" / "part-of-it.php").touch()
    (tree / "docker/app/src/Post.php").write_text("not looked at")
    (tree / "docker/app/public/index.php").write_text("nor this")
    after = both(tree, other)
    assert (before[0] == after[0], before[1] != after[1]) == (True, True)
    (other / "var" / "part-of-it.php").unlink()
    assert both(tree, other) == before


def test_an_object_over_many_lines_is_one() -> None:
    progress = Progress("php-fpm", "v1")
    lines = json.dumps(vertex(started=START), indent=2).splitlines()
    [stage] = [one for line in lines for one in progress.read(line) if isinstance(one, BuildStage)]
    assert stage.state == "started"


def told(progress: Progress, *statuses: dict[str, Any]) -> list[BuildStage | str]:
    return [one for status in statuses for one in progress.read(json.dumps(status))]


def vertex(**values: Any) -> dict[str, Any]:
    return {"vertexes": [{"digest": "sha256:a", "name": "[php 2/3] RUN make"} | values]}


START = "2026-01-31T12:00:00.123456789Z"


def test_a_stage_is_told_when_it_starts_and_with_its_time_when_it_ends() -> None:
    progress = Progress("php-fpm", "v1")
    stages = told(
        progress, vertex(), vertex(started=START), vertex(started=START),
        vertex(started=START, completed="2026-01-31T12:00:02.623456Z"),
    )  # fmt: skip
    assert [(one.state, one.seconds) for one in stages if isinstance(one, BuildStage)] == [
        ("started", None),
        ("done", 2.5),
    ]


def test_a_cached_stage_is_told_once_and_what_is_the_builders_own_is_not() -> None:
    progress = Progress("php-fpm", "v1")
    stages = told(
        progress, vertex(started=START, completed=START, cached=True), vertex(cached=True),
        vertex(digest="sha256:b", name="[internal] load .dockerignore", started=START),
        vertex(digest="sha256:c", name="exporting to image", started=START),
    )  # fmt: skip
    assert [one.state for one in stages if isinstance(one, BuildStage)] == ["cached"]


def test_a_failure_names_its_stage_and_its_last_lines() -> None:
    progress = Progress("php-fpm", "v1")
    data = base64.b64encode(b"compiling\nPHP Parse error: line 7\n").decode()
    lines = told(progress, vertex(started=START), {"logs": [{"vertex": "sha256:a", "data": data}]})
    assert lines[-2:] == ["compiling", "PHP Parse error: line 7"]
    told(progress, vertex(started=START, completed=START, error="exit code: 255"))
    assert progress.cause() == ("[php 2/3] RUN make", "compiling\nPHP Parse error: line 7")


def test_what_goes_wrong_before_the_build_is_kept_in_the_builders_words() -> None:
    progress = Progress("httpd", "v1")
    assert list(progress.read("ERROR: failed to read dockerfile")) == ["ERROR: failed to read dockerfile"]
    assert progress.cause() == ("", "ERROR: failed to read dockerfile")


DOCKER = """#!/bin/sh
[ $1 = buildx ] || exit 0
echo 'ERROR: failed to do request: Head: dial tcp: lookup registry: no such host' >&2
exit 1
"""


@pytest.fixture
def no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only programs there are: a docker without images whose registries do not answer. Its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


async def test_a_base_image_that_is_nowhere_names_both_ways_out(no_registry: Path, tmp_path: Path) -> None:
    with pytest.raises(DevenvError) as missing:
        await base.ensure(base.DEFAULT, tmp_path, lambda event: None)
    assert base.DEFAULT in missing.value.what
    assert "no such host" in missing.value.why
    assert "registry" in missing.value.next_step
    assert "devenv doctor --fix installs mmdebstrap" in missing.value.next_step


async def test_an_image_of_ones_own_cannot_be_made_of_debians_packages(
    no_registry: Path, tmp_path: Path
) -> None:
    (no_registry / "mmdebstrap").write_text("#!/bin/sh\n")
    (no_registry / "mmdebstrap").chmod(0o755)
    with pytest.raises(DevenvError) as missing:
        await base.ensure("registry.example/php:8", tmp_path, lambda event: None)
    assert "registry" in missing.value.next_step
    assert "mmdebstrap" not in missing.value.next_step


async def test_a_registry_that_no_name_leads_to_is_no_missing_engine(
    no_registry: Path, tmp_path: Path
) -> None:
    with pytest.raises(DevenvError) as refused:
        await base.ensure("debian:unheard-of", tmp_path, lambda event: None)
    assert not isinstance(refused.value, NotFit)
    assert "no such host" in refused.value.why
