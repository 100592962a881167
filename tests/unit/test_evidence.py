"""Evidence that is not whole proves nothing: fingerprints, receipts, and what is concluded from them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.engine import content, finish
from devenv.engine.context import Context
from devenv.engine.lifecycle import up
from devenv.engine.upgrade import upgrade
from devenv.errors import DevenvError, NotVerified
from devenv.handover.fingerprint import fingerprint
from devenv.model import receipt as receipts
from devenv.model.events import Answer
from devenv.model.fingerprint import checked, difference
from devenv.model.instance import Instance
from tests.backends.fake import FakeBackend
from tests.unit.conftest import Told

HASH = "0123456789abcdef" * 2
WHOLE: dict[str, Any] = {
    "format": 1,
    "tables": {"post": {"rows": 2, "hash": HASH}},
    "total": HASH,
    "seconds": 0.1,
}
NOTHING = "cae66941d9efbd404e4d88758ea67670"
BROKEN: list[Any] = [
    None, [], "x", {}, {"tables": {}, "total": ""}, {"tables": {}, "total": None},
    {"tables": WHOLE["tables"]}, {"total": HASH}, {**WHOLE, "total": ""}, {**WHOLE, "total": None},
    {**WHOLE, "total": HASH.upper()},
    {**WHOLE, "total": 7}, {**WHOLE, "tables": {}}, {**WHOLE, "tables": []}, {**WHOLE, "total": NOTHING},
    *(
        {**WHOLE, "tables": {"post": table}}
        for table in (
            None, {}, {"rows": 2}, {"hash": HASH}, {"rows": True, "hash": HASH}, {"rows": -1, "hash": HASH},
            {"rows": float("nan"), "hash": HASH}, {"rows": 2.0, "hash": HASH}, {"rows": "2", "hash": HASH},
            {"rows": 2, "hash": ""}, {"rows": 2, "hash": None},
        )
    ),
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_what_an_instance_computes_is_whole(tmp_path: Any) -> None:
    path = tmp_path / "one.sqlite"
    with sqlite3.connect(path) as database:
        assert checked(fingerprint(path))["total"] == NOTHING
        database.execute("CREATE TABLE post AS SELECT 1 AS id")
    database.close()
    assert checked(fingerprint(path))["tables"]["post"]["rows"] == 1


@pytest.mark.parametrize("broken", BROKEN)
def test_a_fingerprint_that_is_not_whole_is_none(broken: Any) -> None:
    with pytest.raises(ValueError):
        checked(broken)


@given(JSON, st.sampled_from(["tables", "total", "post"]))
def test_whatever_is_given_for_a_fingerprint_is_refused_or_whole(junk: Any, where: str) -> None:
    raw = {**WHOLE, "tables": {"post": junk}} if where == "post" else {**WHOLE, where: junk}
    try:
        checked(raw)
    except ValueError:
        return
    assert raw["total"] == HASH
    assert all(type(table["rows"]) is int and table["hash"] for table in raw["tables"].values())


def test_fingerprints_of_one_total_and_other_tables_differ() -> None:
    other = {**WHOLE, "tables": {"post": {"rows": 3, "hash": HASH}}}
    assert difference(WHOLE, other) == "the fingerprints differ in post"
    assert difference(WHOLE, {**WHOLE, "total": NOTHING}) == "the fingerprints differ in their definitions"
    assert difference(WHOLE, dict(WHOLE)) == ""


@pytest.mark.parametrize("broken", [{"tables": {}, "total": ""}, {"tables": {}, "total": None}])
async def test_an_upgrade_whose_fingerprints_say_nothing_is_not_verified_and_keeps_both(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, broken: Mapping[str, Any]
) -> None:
    """Two that are empty are equal."""

    async def nothing(instance: Instance) -> Mapping[str, Any]:
        return broken

    await up(ctx)
    monkeypatch.setattr(backend, "fingerprint", nothing)
    monkeypatch.setattr("tests.backends.fake._fingerprint", lambda content: broken)
    with pytest.raises(DevenvError, match="a fingerprint that cannot be read"):
        await upgrade(ctx, "v2")
    assert [one.role for one in backend.containers if one.service == "php-fpm"] == ["moved", "owner"]
    assert ctx.store.receipts() == []
    with pytest.raises(DevenvError):
        await content.verify(ctx)


async def test_a_database_without_an_origin_is_not_verified(ctx: Context, backend: FakeBackend) -> None:
    await up(ctx)
    backend.owner.lineage = None
    with pytest.raises(NotVerified, match="another origin"):
        await upgrade(ctx, "v2")
    assert not any(one.verified for _, one in ctx.store.receipts())


@pytest.fixture
async def raw(ctx: Context, backend: FakeBackend) -> dict[str, Any]:
    """The receipt of an upgrade that is verified."""
    await up(ctx)
    await upgrade(ctx, "v2")
    [(path, _)] = ctx.store.receipts()
    return dict(json.loads(path.read_text()))


async def test_a_receipt_is_read_as_it_was_written(ctx: Context, raw: dict[str, Any]) -> None:
    [(_, kept)] = ctx.store.receipts()
    assert json.loads(json.dumps(kept.as_json())) == raw
    assert receipts.from_json(kept.as_json()) == kept


async def test_a_receipt_that_is_not_whole_or_contradicts_itself_is_none(raw: dict[str, Any]) -> None:
    table = raw["tables"][0]
    for wrong in (
        {"verified": "no"}, {"verified": 1}, {"verified": None}, {"held": True}, {"held": float("nan")},
        {"seconds": float("nan")}, {"closed_ms": "1"}, {"lineage": None}, {"old": {}}, {"tables": None},
        {"tables": [{**table, "same": "yes"}]}, {"tables": [{**table, "same": False}]},
        {"tables": [{**table, "after": False}]}, {"total_after": "another"}, {"newer": 1},
        {"probe": {"pause": float("inf")}}, {"new": {**raw["new"], "epoch": "2"}},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            receipts.from_json({**raw, **wrong})
    for name in set(raw) - {"snapshot", "beside", "probe", "resumed", "format"}:
        with pytest.raises(ValueError):
            receipts.from_json({key: value for key, value in raw.items() if key != name})


async def test_content_is_not_verified_against_an_older_receipt_where_the_last_cannot_be_read(
    ctx: Context, raw: dict[str, Any], told: Told
) -> None:
    await content.verify(ctx)
    [(path, _)] = ctx.store.receipts()
    for broken in ("{", "[" * 100_000, json.dumps({**raw, "verified": 1})):
        path.with_name(f"9{path.name}").write_text(broken)
        with pytest.raises(NotVerified, match="the last receipt cannot be read"):
            await content.verify(ctx)
    answers = [one for one in told.of(Answer) if isinstance(one, Answer) and one.about == "verify"]
    assert [one.data["verified"] for one in answers] == [True, False, False, False]


@pytest.mark.parametrize(
    ("phases", "how"),
    [(["discover", "verified"], "as bytes, by the file's SHA-256"), (["discover"], "not at all")],
)
async def test_what_only_the_application_can_compute_is_said_to_be_compared_where_it_was(
    ctx: Context, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, phases: list[str], how: str
) -> None:
    await up(ctx)
    [owner] = [one for one in await backend.instances() if one.owner]
    assert owner.gate is not None
    said = {**WHOLE, "own_words": ["function slug", "collation A", "collation B", "collation C"]}
    # That the old one had once verified what it got says nothing of the new one.
    of_old = [
        {"uid": "old", "side": "successor", "phase": one, "time": 1.0} for one in ("discover", "verified")
    ]
    of_new = [{"uid": owner.gate.uid, "side": "successor", "phase": one, "time": 2.0} for one in phases]
    both = finish.Compared(owner, owner, said, said, (*of_new, *of_old), relayed=0, held=0)
    reason = finish.receipt_of(
        replace(both, old=replace(owner, gate=replace(owner.gate, epoch=0))), began=0.0
    ).reason
    assert reason.endswith(f"(function slug, collation A, collation B, …) was compared {how}")
    plain = finish.receipt_of(replace(both, before=WHOLE, after=WHOLE), began=0.0).reason
    assert "only the application" not in plain
