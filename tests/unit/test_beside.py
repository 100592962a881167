"""What lies beside the database: as a gate tells it, and in words."""

from __future__ import annotations

import pytest

from devenv.model.beside import Beside, Counted, Left, beside, in_words

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
