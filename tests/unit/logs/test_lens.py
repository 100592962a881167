"""What is shown is what a plain walk over all lines would choose, at whatever pace it is found."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from devenv.logs.cells import _PLAIN, breaks, is_plain, window
from devenv.logs.lens import Lens
from devenv.logs.query import Query
from devenv.logs.store import MARK, LogStore
from devenv.model.events import LogLine

WORDS = st.text("ab日e\u0301 ", max_size=30)
LINES = st.lists(st.builds(LogLine, st.sampled_from(["a", "b", "c", MARK]), WORDS), max_size=60)
QUERIES = st.builds(
    Query,
    st.sampled_from(["", "a", "ab", "a+b", "日", "A", "(", "b.*a"]),
    st.booleans(),
    st.sampled_from(["smart", "ignore", "exact"]),
    st.booleans(),
)


def settle(lens: Lens, lines: int = 500) -> None:
    for _ in range(100_000):
        if not lens.advance(lines):
            return
    raise AssertionError("the work never ends")


def shown(lens: Lens) -> list[int]:
    return list(lens.shown.seqs)


@settings(deadline=None)
@given(
    st.lists(LINES, max_size=5), QUERIES, QUERIES, st.sampled_from(["", "a", "b", "c"]), st.integers(1, 30)
)
def test_the_lens_shows_what_a_plain_walk_would(
    batches: list[list[LogLine]], chosen: Query, search: Query, only: str, slice_: int
) -> None:
    store = LogStore(6_000)
    lens = Lens(store)
    lens.choose(filter=chosen, only=only)
    lens.look_for(search)
    for batch in batches:
        store.append(batch)
        lens.advance(slice_)
    settle(lens, slice_)
    kept = store.after(0, 1_000_000)
    expected = [
        entry
        for entry in kept
        if entry.source == MARK or (only in ("", entry.source) and chosen.passes(entry.text))
    ]
    assert shown(lens) == [entry.seq for entry in expected]
    assert lens.settled
    assert lens.position[1] == sum(
        entry.source != MARK
        and bool(search)
        and bool(Query(search.text, search.regex, search.case).passes(entry.text))
        for entry in expected
    )


@settings(deadline=None)
@given(st.lists(LINES, max_size=5), st.lists(st.integers(2, 20), min_size=1, max_size=3), st.integers(1, 40))
def test_rows_of_the_screen_and_lines_lead_to_each_other(
    batches: list[list[LogLine]], widths: list[int], slice_: int
) -> None:
    store = LogStore(6_000)
    lens = Lens(store)
    for number, batch in enumerate(batches):
        lens.wrap(widths[number % len(widths)])
        store.append(batch)
        lens.advance(slice_)
    lens.wrap(widths[0])
    settle(lens, slice_)
    index = lens.shown
    rows: list[tuple[int, int]] = []
    for row in range(len(index)):
        entry = lens.entry(row)
        assert entry is not None
        assert index.top(row) == len(rows)
        rows += [(row, sub) for sub in range(len(breaks(entry.text, widths[0])))]
    assert index.height == len(rows)
    assert [index.at(y) for y in range(index.height)] == rows


def test_a_slice_of_work_is_bounded() -> None:
    store = LogStore()
    store.append([LogLine("a", f"line {number}") for number in range(1000)])
    lens = Lens(store)
    assert lens.advance(100)
    assert lens.lines == 100
    settle(lens)
    lens.choose(filter=Query("7"))
    assert lens.advance(100)
    assert lens.lines == 1000, "the old lines stay until the new ones are all found"
    settle(lens)
    assert lens.lines == 271


def test_long_lines_count_as_more_work() -> None:
    store = LogStore()
    store.append([LogLine("a", "日" * 5000)] * 100)
    lens = Lens(store)
    lens.advance(1000)
    assert lens.lines < 10


def test_matches_are_gone_through_in_a_circle() -> None:
    store = LogStore()
    store.append([LogLine("a", f"line {number}") for number in range(30)])
    lens = Lens(store)
    lens.look_for(Query("line .?5"))
    settle(lens)
    assert lens.position == (0, 3)
    assert [lens.next_match(10), lens.next_match(15), lens.next_match(25)] == [15, 25, 5]
    assert lens.position == (1, 3)
    assert [lens.previous_match(5), lens.previous_match(25)] == [25, 15]


def test_without_a_match_there_is_nowhere_to_go() -> None:
    lens = Lens(LogStore())
    lens.look_for(Query("x"))
    assert lens.next_match(0) is None
    assert lens.previous_match(0) is None


def test_one_source_only_and_what_is_cleared_away() -> None:
    store = LogStore()
    store.append([LogLine("ab"[number % 2], f"line {number}") for number in range(10)])
    lens = Lens(store)
    lens.choose(only="b")
    settle(lens)
    assert shown(lens) == [1, 3, 5, 7, 9]
    lens.choose(since=5)
    settle(lens)
    assert shown(lens) == [5, 7, 9]
    lens.choose(only="")
    settle(lens)
    assert shown(lens) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("query", "passing"),
    [
        (Query("error"), ["an error", "an ERROR"]),
        (Query("ERROR"), ["an ERROR"]),
        (Query("ERROR", case="ignore"), ["an error", "an ERROR"]),
        (Query("error", case="exact"), ["an error"]),
        (Query(r"\S+ \SRROR"), ["an ERROR"]),
        (Query(r"n\Serror"), ["an.error"]),
        (Query("n.e", regex=False), ["an.error"]),
        (Query("error", inverse=True), ["fine"]),
        (Query("("), []),
        (Query(""), ["an error", "an ERROR", "an.error", "fine"]),
    ],
)
def test_what_a_query_finds(query: Query, passing: list[str]) -> None:
    lines = ["an error", "an ERROR", "an.error", "fine"]
    if query.text == "error" and query.case != "exact":
        passing = passing if query.inverse else [*passing, "an.error"]
    if query == Query("ERROR", case="ignore") or query == Query("error", case="exact"):
        passing = [*passing, "an.error"]
    assert [line for line in lines if query.passes(line)] == passing


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("(", "missing"),
        ("[a", "unterminated"),
        ("x**", "repeat"),
        ("(a+)+$", "never end"),
        ("(a|b)*c", "never end"),
        ("(a?){30}a{30}", "never end"),
        ("a{99999999999999}", "taken literally"),
        (r"\w+.*\w+=", "open repeats"),
        (r"(.*x){2}.*y", "open repeats"),
        (r"(.*)\1x", "back-reference"),
        ("(?P<a>.*)(?P=a)x", "back-reference"),
        ("a?" * 30, "too many ways"),
        (r"\w{0,99}" * 3, "too many ways"),
        ("(" * 20 + "a?" + "){3}" * 20, "too many ways"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_taken_literally_and_says_so(pattern: str, word: str) -> None:
    query = Query(pattern)
    assert query.problem.startswith("taken literally")
    assert word in query.problem
    assert query.passes(f"x {pattern} y")


@pytest.mark.parametrize(
    "pattern", [r"(\d{1,3}\.){3}\d{1,3}", "(?:GET|POST) /", r"\(a+\)+", "[(a+]+x", "a.*b", "[[a]",
     "GET.*500.*ms", "a.*b|c.*d|e.*f", "(error|warn|fatal) .*?in", r"(\w+=x ){1,2}", r"\\1", "a*+b++"],
)  # fmt: skip
def test_a_harmless_pattern_is_used(pattern: str) -> None:
    assert not Query(pattern).problem


WORST = ["a" * 20_000, "1" * 20_000, "ab" * 10_000, "a1" * 10_000, "É" * 20_000, " " * 20_000, "a b=" * 5_000]


@pytest.mark.parametrize(
    "pattern",
    [
        "a*b", ".*x", r"\w+=z", "[^x]*x", "(a)*b", "(?:a)*?b", "(?:ab)+c",
        "a*a*b", r"\d+.*x", ".*?.*?x", "(a)*(a)*b", "[ab]*[ab]*c", r"\w+\s*x", "(.*x){2}",
        r"\d+.*\d+.*x", r"\w+.*\w+.*\w+=z", "a*a*a*b", r"(.*)\1x", "(?P<a>.*)(?P=a)x",
        "(a+)+b", "(a|a)*b", "a?" * 19 + "b", "a?" * 30 + "b", r"\w{0,30}\w{0,30}x", r"\w{0,99}" * 3 + "x",
        "(a?){3}" * 6 + "b", "(?:a|b)?" * 8 + "c",
    ],
)  # fmt: skip
def test_no_pattern_holds_up_the_screen(pattern: str) -> None:
    query = Query(pattern)
    began = time.process_time()
    for line in WORST:
        query.passes(line)
        query.occurrences(line)
    # Some 10 ms a line where it is at its worst; what is wrong here takes minutes.
    assert time.process_time() - began < 2


def test_how_far_a_pattern_is_looked_for_is_said() -> None:
    assert Query("error").words == "regex · smart case"
    assert "first 1000 characters" in Query("a.*b").words
    assert "first 144 characters" in Query("a.*b.*c").words
    assert Query("a.*b.*c", regex=False).words == "literal · smart case"


def test_a_slice_ends_by_the_clock_too() -> None:
    store = LogStore()
    store.append([LogLine("a", "x")] * 100)
    moment = 0.0

    def clock() -> float:
        nonlocal moment
        moment += 0.003
        return moment

    lens = Lens(store, clock)
    assert lens.advance()
    assert 1 <= lens.lines < 10
    settle(lens)
    assert lens.lines == 100
    lens.look_for(Query("x"))
    assert lens.advance()
    assert 1 <= lens.position[1] < 10
    settle(lens)
    assert lens.position[1] == 100


def test_occurrences_are_where_they_are_and_never_empty() -> None:
    assert Query("a+").occurrences("caab a") == [(1, 3), (5, 6)]
    assert Query("x*").occurrences("abc") == []
    assert Query("a", inverse=True).occurrences("aaa") == []
    assert Query("").occurrences("aaa") == []


@given(st.text(max_size=40), st.integers(2, 12))
def test_wrapped_rows_are_the_text_and_fit(text: str, width: int) -> None:
    text = "".join(sign for sign in text if sign.isprintable())
    starts = [*breaks(text, width), len(text)]
    rows = [text[start:end] for start, end in pairwise(starts)]
    assert "".join(rows) == text
    assert all(cell_len(row) <= width for row in rows)


@given(st.text("ab日é\u0301 👩", max_size=40), st.integers(0, 50), st.integers(2, 12))
def test_what_is_seen_of_a_scrolled_line_fits(text: str, cell: int, width: int) -> None:
    start, end, free = window(text, cell, width)
    assert 0 <= start <= end <= len(text)
    assert free + cell_len(text[start:end]) <= width


def test_plain_characters_are_one_cell_each() -> None:
    plain = [chr(code) for code in range(0x10000) if _PLAIN.fullmatch(chr(code))]
    assert len(plain) > 800
    assert all(get_character_cell_size(sign) == 1 for sign in plain)
    assert all(is_plain(sign) for sign in plain)
    assert not re.search(r"[\x00-\x1f]", "".join(plain))
