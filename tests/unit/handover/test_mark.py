"""Who has the content, as it stands beside the snapshots."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devenv.handover import mark as marks
from devenv.handover.mark import Mark
from devenv.handover.problem import Problem
from devenv.handover.record import Record, Role

MARK = Mark("u1", "0123456789ab", "v1", "line", 3)
OWNER = Record(uid="u1", role=Role.OWNER, lineage="line", epoch=3, served=True)


def test_what_is_signed_is_what_is_read(tmp_path: Path) -> None:
    assert marks.load(tmp_path) is None
    assert marks.load(None) is None
    marks.save(tmp_path, MARK)
    assert marks.load(tmp_path) == MARK
    assert [path.name for path in tmp_path.iterdir()] == [marks.NAME]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"uid": "u1"}', b"\x00" * 99])
def test_a_damaged_mark_is_not_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / marks.NAME).write_bytes(content)
    with pytest.raises(Problem, match="who has the content cannot be read"):
        marks.load(tmp_path)


def test_a_crash_leaves_the_mark_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks.save(tmp_path, MARK)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        marks.save(tmp_path, Mark("u2", "host", "v2", "line", 4))
    assert marks.load(tmp_path) == MARK
    assert json.loads((tmp_path / marks.NAME).read_text())["uid"] == "u1"


@pytest.mark.parametrize(
    ("record", "superseded"),
    [
        (OWNER, False),
        (OWNER.evolve(epoch=9, lineage="restored"), False),
        # Our successor was us: killed after it had the content, before it signed.
        (OWNER.evolve(uid="u2", epoch=4), False),
        # It began with what we had saved, or is another life of the same content.
        (OWNER.evolve(uid="u2", epoch=2), True),
        (OWNER.evolve(uid="u2", epoch=3), True),
        (OWNER.evolve(uid="u2", epoch=9, lineage="another"), True),
    ],
)
def test_an_owner_is_superseded_by_any_other_that_is_not_one_it_came_from(
    record: Record, superseded: bool
) -> None:
    assert MARK.supersedes(record) is superseded


def test_what_cannot_be_signed_anew_names_no_snapshot_any_more(tmp_path: Path) -> None:
    """A new instance that comes just then must not take it for the last word."""
    mark = Mark("u", "host", "v1", "line", 3, "a.tar")
    marks.save(tmp_path, mark)
    marks.lapse(tmp_path)
    found = marks.load(tmp_path)
    assert found is not None
    assert (found.uid, found.saved) == ("u", "")
    marks.lapse(tmp_path)
    assert marks.load(tmp_path) == found
    marks.save(tmp_path, mark)
    assert marks.load(tmp_path) == mark
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner.json"]


def test_one_that_began_after_a_signature_is_not_superseded_by_it_but_by_a_later_one() -> None:
    """Of the same instance, too: it can come again, and be recovered."""
    gone = Mark("other", "host", "v1", "line", 3)
    begun = Record(uid="u", role=Role.OWNER, lineage="mine", epoch=1, begun_after=gone.signature)
    assert not gone.supersedes(begun)
    assert Mark("other", "host", "v1", "anew", 1).supersedes(begun)
    assert not Mark("u", "host", "v1", "anew", 1).supersedes(begun)
