"""What lies beside the database: as a gate tells it, and in words."""

from __future__ import annotations

import pytest

from devenv.model.beside import Beside, Counted, Left, beside, in_words, missed

SAID = {"files": 12, "bytes": 3_100_000}


def test_what_came_along_and_what_stayed_is_told_with_files_and_bytes() -> None:
    found = beside(SAID, {"var/cache": {"files": 1, "bytes": 9}})
    assert found == Beside(Counted(12, 3_100_000), (Left("var/cache", 1, 9),))
    assert in_words(found) == "12 files beside it (3.1 MB); stays behind: var/cache (1 file, 9 B)"


def test_nothing_is_told_of_nothing() -> None:
    assert in_words(None) == in_words(beside({"files": 0, "bytes": 0}, {})) == ""


@pytest.mark.parametrize("said", [None, 7, [], {}, {"files": -1, "bytes": 0}, {"files": True, "bytes": 0}])
def test_what_makes_no_sense_is_not_told(said: object) -> None:
    assert beside(said, {}) is None
    assert beside(SAID, said) is None or in_words(beside(SAID, said)) == "12 files beside it (3.1 MB)"
    assert beside(SAID, {"var/cache": said}) == Beside(Counted(**SAID), ())


def test_a_database_of_another_name_is_named_where_there_is_none_of_ours() -> None:
    said = {"bytes": 0, "elsewhere": ["users/ann.db"]}
    assert missed(said, "data/x.db").startswith("there is no data/x.db yet, but users/ann.db came into being")
    for nothing in ({**said, "bytes": 7}, {**said, "elsewhere": []}, {"bytes": 0}, {**said, "elsewhere": 7}):
        assert missed(nothing, "data/x.db") == ""
