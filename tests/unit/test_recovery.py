"""Recover against the fake backend: it looks, tells what will happen, asks once, and looks again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devenv.engine import recovery
from devenv.engine.context import Context
from devenv.engine.lifecycle import up
from devenv.engine.recovery import recover
from devenv.engine.settle import settle
from devenv.errors import DevenvError, UsageError
from devenv.model.answers import in_words
from devenv.model.events import Answer, Notice
from devenv.model.stack import Stack, StackSection
from devenv.tools.http import ask
from tests.backends.fake import Container, FakeBackend
from tests.unit.conftest import Told
from tests.unit.local_site import LocalSite, open_site


@pytest.fixture
def site() -> Iterator[LocalSite]:
    with open_site() as one:
        yield one


@pytest.fixture
def ctx(ctx: Context, site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Of a stack whose site answers."""
    monkeypatch.setattr("devenv.engine.site.ask", ask)  # the true one: there is a site
    monkeypatch.setattr(recovery, "_ANSWERS", 0.2)
    monkeypatch.setattr(recovery, "_AGAIN", 0.01)
    return replace(ctx, stack=Stack(stack=StackSection(port=site.port)))


@pytest.fixture
async def both(ctx: Context, backend: FakeBackend) -> tuple[Container, Container]:
    """One that has handed its content on, and the one that owns it since."""
    await up(ctx)
    old = backend.owner
    await backend.start_beside("v2", lambda instance: None)
    new = backend.owner
    new.content["post"].append("written since")
    backend.calls.clear()
    return old, new


Both = tuple[Container, Container]


def untouched(backend: FakeBackend) -> bool:
    return not {"revive", "recover", "recover --force"} & set(backend.calls)


async def test_an_owner_that_serves_is_named_with_what_would_be_lost_and_nothing_is_done(
    ctx: Context, backend: FakeBackend, both: Both
) -> None:
    old, new = both
    with pytest.raises(DevenvError) as refused:
        await recover(ctx, old.name)
    assert refused.value.what == f"{new.name} owns the content and serves"
    assert "it is v2, the owner of epoch 2" in refused.value.why
    assert "would be lost" in refused.value.why
    assert f"devenv recover --from {old.name} --force" in refused.value.next_step
    assert f"stop {new.name}" in refused.value.next_step
    assert untouched(backend)
    assert backend.owner is new


async def test_a_stopped_instance_is_not_even_started_while_another_one_serves(
    ctx: Context, backend: FakeBackend, both: Both
) -> None:
    """Its record can say that it owns the content: a start alone would make it serve."""
    old, new = both
    old.state = "exited"
    for role in ("moved", "owner"):
        old.role = role
        with pytest.raises(DevenvError, match="owns the content and serves"):
            await recover(ctx, old.name)
    assert untouched(backend)
    assert old.state == "exited"
    assert new.state == "running"


@pytest.mark.parametrize("state", ["running", "paused", "restarting"])
async def test_one_that_may_serve_without_saying_so_is_in_the_way_as_well(
    ctx: Context, backend: FakeBackend, both: Both, state: str
) -> None:
    old, new = both
    new.state, new.answers = state, state == "paused"  # of a paused one its record tells
    with pytest.raises(DevenvError, match=f"is {state}, and does not say whether it serves"):
        await recover(ctx, old.name)
    assert untouched(backend)


async def test_one_that_is_just_taking_the_content_over_is_left_to_it(
    ctx: Context, backend: FakeBackend, both: Both
) -> None:
    old, new = both
    new.role = "incoming"
    with pytest.raises(DevenvError, match="is taking the content over"):
        await recover(ctx, old.name)
    assert untouched(backend)
    new.failed = {"error": "no", "why": "no", "next": "no"}
    await recover(ctx, old.name)
    assert backend.owner is old


async def test_with_force_it_is_done_all_the_same_and_told_that_both_serve(
    ctx: Context, backend: FakeBackend, both: Both, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_SERVES", 0.2)
    old, new = both
    with pytest.raises(DevenvError, match="serve both") as after:
        await recover(ctx, old.name, force=True)
    assert "recover --force" in backend.calls
    assert f"stop {old.name} or stop {new.name}" in after.value.next_step
    warned = [one.text for one in told.of(Notice) if isinstance(one, Notice) and one.level == "warning"]
    assert any(f"{new.name} owns the content and serves" in text for text in warned)
    assert not [one for one in told.of(Answer) if isinstance(one, Answer) and one.about == "recover"]


async def test_what_will_happen_is_told_and_asked_once(
    ctx: Context, backend: FakeBackend, both: Both, told: Told
) -> None:
    old, new = both
    backend.containers.remove(new)
    asked: list[str] = []
    await recover(ctx, old.name, ask_first=asked.append)
    assert len(asked) == 1
    assert "recover gives up for good: every write since" in asked[0]
    [text] = [one.text for one in told.of(Notice) if isinstance(one, Notice) and old.name in one.text]
    assert text.startswith(
        f"{old.name} (v1) goes on with what it handed on as the owner of epoch 1, as of 20"
    )
    assert text.endswith("ago)")
    [answer] = [one for one in told.of(Answer) if isinstance(one, Answer)]
    assert answer.data["serves"]
    assert in_words(answer)[-1].endswith(f"{ctx.stack.url} answers")
    assert backend.owner is old
    assert backend.calls.count("recover") == 1


async def test_an_owner_that_is_only_stopped_is_told_of(
    ctx: Context, backend: FakeBackend, both: Both, told: Told
) -> None:
    old, new = both
    new.state = "exited"
    await recover(ctx, old.name)
    texts = " ".join(one.text for one in told.of(Notice) if isinstance(one, Notice))
    assert f"{new.name} owns the content of epoch 2 and is not gone, only stopped: devenv up" in texts


async def test_what_was_not_agreed_to_is_not_done(ctx: Context, backend: FakeBackend, both: Both) -> None:
    old, new = both
    backend.containers.remove(new)

    def no(words: str) -> None:
        raise UsageError("nothing was done", "it was not confirmed", "say y")

    with pytest.raises(UsageError):
        await recover(ctx, old.name, ask_first=no)
    assert untouched(backend)


async def test_an_owner_that_comes_back_while_a_person_thinks_is_seen(
    ctx: Context, backend: FakeBackend, both: Both
) -> None:
    old, new = both
    new.state = "exited"

    def slowly(words: str) -> None:
        new.state = "running"

    with pytest.raises(DevenvError, match="owns the content and serves"):
        await recover(ctx, old.name, ask_first=slowly)
    assert untouched(backend)


async def test_it_waits_until_the_instance_that_it_starts_answers(
    ctx: Context, backend: FakeBackend, both: Both
) -> None:
    old, new = both
    backend.containers.remove(new)
    old.state = "exited"
    backend.looks_until_a_gate_answers = 2
    await recover(ctx, old.name)
    assert backend.owner is old


async def test_an_owner_that_was_only_stopped_is_started_and_loses_nothing(
    ctx: Context, backend: FakeBackend, told: Told
) -> None:
    await up(ctx)
    one = backend.owner
    one.state = "exited"
    await recover(ctx, one.name)
    assert backend.owner is one
    assert one.epoch == 1
    assert "recover" not in backend.calls
    assert any("goes on with all that it has" in notice.text for notice in told.of(Notice))  # type: ignore[attr-defined]


async def test_an_owner_that_keeps_out_of_the_way_is_in_nobodys_way(
    ctx: Context, backend: FakeBackend, both: Both
) -> None:
    old, new = both
    new.failed = {"error": "another instance has gone on", "why": "it has", "next": "remove this one"}
    await recover(ctx, old.name)
    assert [one.name for one in backend.containers if one.role == "owner" and not one.failed] == [old.name]


async def test_a_site_that_does_not_answer_afterwards_is_told_of(
    ctx: Context,
    backend: FakeBackend,
    both: Both,
    told: Told,
    site: LocalSite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("devenv.engine.site.PATIENCE", 1.0)
    old, new = both
    backend.containers.remove(new)
    site.broken = lambda method, path, number: b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
    await recover(ctx, old.name)
    [answer] = [one for one in told.of(Answer) if isinstance(one, Answer)]
    assert not answer.data["serves"]
    texts = [one.text for one in told.of(Notice) if isinstance(one, Notice)]
    assert any("does not reach php-fpm" in text and "devenv up" in text for text in texts)


async def test_content_whose_giver_is_gone_is_recovered_as_up_advises(
    ctx: Context, backend: FakeBackend, tmp_path: Path
) -> None:
    await up(ctx)
    giver = backend.owner
    whole = backend.add("php-fpm", "v2", role="incoming", staged=True, content=dict(giver.content))
    backend.containers.remove(giver)
    with pytest.raises(DevenvError, match="has all of the content") as refused:
        await settle(ctx)
    assert f"devenv recover --from {whole.name}" in refused.value.next_step
    await recover(ctx, whole.name)
    await up(ctx)
    assert backend.owner is whole
    assert whole.content == giver.content


async def test_an_instance_that_nobody_knows_is_a_mistake_of_whoever_asks(ctx: Context, both: Both) -> None:
    with pytest.raises(UsageError, match="no instance elsewhere"):
        await recover(ctx, "elsewhere")
