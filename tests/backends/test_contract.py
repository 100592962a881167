"""What every backend promises to the engine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.backends.protocol import HTTPD, PHP_FPM, SERVICES, Backend
from devenv.errors import DevenvError
from devenv.model.instance import Instance
from tests.backends.conftest import Faults


async def php_fpm(backend: Backend) -> list[Instance]:
    return [one for one in await backend.instances() if one.service == PHP_FPM]


async def until_ready(backend: Backend, instance: Instance) -> None:
    deadline = time.monotonic() + 20
    while (gate := await backend.gate(instance)) is None or not gate.ready:
        assert time.monotonic() < deadline


async def started(backend: Backend) -> Instance:
    """The one instance of a stack that has just been started."""
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    await backend.start()
    [one] = await php_fpm(backend)
    return one


@pytest.fixture
async def owner(backend: Backend) -> Instance:
    return await started(backend)


@pytest.fixture
async def engine_owner(engine: Backend) -> Instance:
    return await started(engine)


async def test_without_a_start_nothing_is_there(backend: Backend) -> None:
    await backend.check()
    assert await backend.instances() == []


async def test_settings_are_written_once(backend: Backend) -> None:
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    assert not await backend.prepare({PHP_FPM: "v1"})
    assert await backend.prepare({PHP_FPM: "v2"})
    assert backend.releases() == {HTTPD: "v1", PHP_FPM: "v2"}


async def test_images_are_known_by_release(backend: Backend) -> None:
    assert set(await backend.images("v1")) == set(SERVICES)
    assert await backend.images("v404") == {}


async def test_a_start_ends_when_all_is_healthy_and_one_instance_owns_the_content(
    backend: Backend, owner: Instance
) -> None:
    instances = await backend.instances()
    assert {one.service for one in instances} == set(SERVICES)
    assert all(one.running and one.health == "healthy" for one in instances)
    assert owner.owner
    assert owner.release == "v1"
    assert owner.gate is not None
    assert owner.gate.ready
    await backend.start()
    assert [one.id for one in await backend.instances()] == [one.id for one in instances]


async def test_an_instance_beside_takes_the_content_over(backend: Backend, owner: Instance) -> None:
    seen: list[Instance] = []
    await backend.start_beside("v2", seen.append)
    old, new = await php_fpm(backend)
    assert {one.id for one in seen} == {new.id}
    assert old.id == owner.id
    assert old.gate is not None
    assert new.gate is not None
    assert (old.gate.role, new.gate.role) == ("moved", "owner")
    assert new.gate.epoch == old.gate.epoch + 1
    assert new.gate.lineage == old.gate.lineage
    assert new.release == "v2"

    phases = {}
    async for event in backend.gate_events(new, follow=True):
        phases[event["phase"]] = event
        if event["phase"] == "fingerprint":
            break
    assert phases["fingerprint"]["fingerprint"]["total"] == (await backend.fingerprint(old))["total"]
    assert "opened" in phases

    await backend.stop_one(old)
    for stopped in (one for one in await php_fpm(backend) if one.id == old.id):
        # In Kubernetes it is gone.
        assert not stopped.running
        assert stopped.gate is not None
        assert stopped.gate.role == "moved"
    ended = replace(old, state="exited")
    assert "moved" in [event["phase"] async for event in backend.gate_events(ended, follow=False)]
    await backend.remove_one(ended)
    await backend.prepare({PHP_FPM: "v2"})
    await backend.start()
    assert [one.id for one in await php_fpm(backend)] == [new.id]


async def test_settings_that_were_lost_get_the_secrets_of_what_runs(
    backend: Backend, faults: Faults, owner: Instance
) -> None:
    faults.lose_settings()
    await backend.prepare(dict.fromkeys(SERVICES, "v1"))
    await backend.start_beside("v2", lambda instance: None)
    assert len([one for one in await php_fpm(backend) if one.owner]) == 1


async def test_a_release_without_an_image_starts_nothing(backend: Backend, owner: Instance) -> None:
    with pytest.raises(DevenvError):
        await backend.start_beside("v404", lambda instance: None)
    assert [one.id for one in await php_fpm(backend) if one.running] == [owner.id]


async def test_a_snapshot_brings_content_back(backend: Backend, owner: Instance, tmp_path: Path) -> None:
    before = (await backend.fingerprint(owner))["total"]
    about = await backend.snapshot(owner, tmp_path / "one.tar")
    assert about["bytes"] > 0
    await backend.restore(owner, tmp_path / "one.tar")
    assert (await backend.fingerprint(owner))["total"] == before


async def test_what_an_owner_saves_when_all_is_stopped_is_restored_by_the_next_start(
    backend: Backend, owner: Instance, tmp_path: Path
) -> None:
    before = (await backend.fingerprint(owner))["total"]
    await backend.stop()
    assert await backend.last_snapshot(owner, tmp_path / "last.tar")
    assert (tmp_path / "last.tar").stat().st_size > 0
    await backend.remove_all(content=False)
    assert await backend.instances() == []

    await backend.start()
    [again] = await php_fpm(backend)
    assert again.gate is not None
    assert again.gate.restored
    assert (await backend.fingerprint(again))["total"] == before

    await backend.remove_all(content=True)
    await backend.start()
    [anew] = await php_fpm(backend)
    assert anew.gate is not None
    assert not anew.gate.restored


async def restarted(backend: Backend, owner: Instance) -> None:
    """It has saved its content at an end, and serves again."""
    await backend.retire(owner)
    await backend.stop_one(owner)
    await backend.revive(owner)
    await until_ready(backend, owner)


async def test_what_an_owner_saved_at_an_earlier_end_is_not_taken_for_its_last(
    engine: Backend, faults: Faults, engine_owner: Instance, tmp_path: Path
) -> None:
    await restarted(engine, engine_owner)
    await faults.fill_volume(engine_owner)
    await engine.stop()
    assert not await engine.last_snapshot(engine_owner, tmp_path / "last.tar")
    assert list(tmp_path.glob("last*")) == []


async def test_an_owner_that_was_killed_has_saved_nothing(
    engine: Backend, faults: Faults, engine_owner: Instance, tmp_path: Path
) -> None:
    await restarted(engine, engine_owner)
    await faults.kill(engine_owner)
    assert not await engine.last_snapshot(engine_owner, tmp_path / "last.tar")


async def test_a_stopped_owner_goes_on_with_its_content(engine: Backend, engine_owner: Instance) -> None:
    before = (await engine.fingerprint(engine_owner))["total"]
    await engine.retire(engine_owner)
    await engine.stop_one(engine_owner)
    [stopped] = await php_fpm(engine)
    assert not stopped.running
    assert stopped.owner
    await engine.revive(stopped)
    await until_ready(engine, engine_owner)
    assert (await engine.fingerprint(engine_owner))["total"] == before


async def test_logs_name_their_container(backend: Backend, owner: Instance) -> None:
    async def sources(service: str | None) -> set[str]:
        read = backend.logs(service, follow=False, tail=5, since=None)
        return {line.source async for lines in read for line in lines}

    assert await sources(PHP_FPM) == {owner.name}
    assert {owner.name} < await sources(None)
    assert await backend.log_tail(owner)


async def test_an_owner_that_is_stopped_alone_leaves_its_content(
    backend: Backend, owner: Instance, tmp_path: Path
) -> None:
    """Where nobody takes it over, it is saved before it goes."""
    await backend.retire(owner)
    await backend.stop_one(owner)
    assert await backend.last_snapshot(owner, tmp_path / "last.tar")
    assert (tmp_path / "last.tar").stat().st_size > 0
