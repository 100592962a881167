"""The container engine itself stops in the middle of a hand-over, and comes back.

A crash of it is not tried here: it takes the containers' whole grace period, 180 s, to start again after one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import engine as engines
from tests.e2e.conftest import Devenv, docker, make, read_until
from tests.e2e.engine import Engine
from tests.e2e.witness import content, one_owner

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Devenv]]:
    if reason := engines.unfit():
        pytest.skip(reason)
    made = make(tmp_path_factory.mktemp("engine"), "devenv-engine")
    releases = ("v1", "v2")
    for release in releases:
        made.done("build", "--release", release)
    images = [made.stack.image(service, release) for service in ("httpd", "php-fpm") for release in releases]
    # The path of a socket has to be short.
    with engines.engine(Path(tempfile.mkdtemp(prefix="dockerd-"))) as engine:
        engine.load(made.stack.images.base, *images)
        docker("rmi", *images)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", engine.host)
            made.through = engine.network
            made.done("up")
            yield engine, made


@pytest.mark.parametrize("phase", ["leased", "completed"])
def test_content_is_whole_when_the_engine_comes_back(both: tuple[Engine, Devenv], phase: str) -> None:
    engine, devenv = both
    before = written(devenv)
    old = one_owner(devenv)["release"]
    release = "v2" if old == "v1" else "v1"
    process = devenv.start("upgrade", "--to", release)
    read = read_until(process, phase=phase)
    engine.stop()
    run = devenv.finish(process, read)
    assert run.code in (1, 4), run.told()
    assert run.failure["next"]

    # It says what is wrong, not what follows from that.
    away = devenv("upgrade", "--to", release)
    assert away.code == 4
    assert "engine" in away.failure["what"]
    assert "devenv doctor" in away.failure["next"]

    engine.start()
    devenv.done("up")
    assert one_owner(devenv)["release"] in (old, release)
    assert content(devenv) == before
    devenv.done("upgrade", "--to", "v2" if one_owner(devenv)["release"] == "v1" else "v1")
    assert content(devenv) == before


def written(devenv: Devenv) -> str:
    """The content, with fifty rows that were not there before: no earlier snapshot has it."""
    [php] = devenv.containers("php-fpm")
    add = (
        "$db = new PDO('sqlite:/app/data/database.sqlite'); $db->exec('PRAGMA busy_timeout = 9000');"
        "$db->exec('CREATE TABLE IF NOT EXISTS noted (id INTEGER PRIMARY KEY, word TEXT)');"
        "for ($i = 0; $i < 50; ++$i) { $db->exec(\"INSERT INTO noted (word) VALUES ('w$i')\"); }"
    )
    docker("exec", php, "php8.2", "-r", add)
    return content(devenv)
