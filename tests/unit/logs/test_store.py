"""The store keeps what fits its budget, and of a quiet source all."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devenv.logs.ansi import clean
from devenv.logs.store import MARK, LogStore
from devenv.model.events import LogLine

LINES = st.lists(
    st.tuples(st.sampled_from("abc"), st.text("x\x1b[31m é日", max_size=60)).map(lambda pair: LogLine(*pair)),
    max_size=120,
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=4), st.integers(800, 20_000))
def test_what_is_kept_is_the_end_of_each_source(batches: list[list[LogLine]], limit: int) -> None:
    store = LogStore(limit)
    for batch in batches:
        store.append(batch)
    came = [line for batch in batches for line in batch]
    kept = store.after(0, len(came))
    assert store.end == len(came)
    assert store.bytes <= limit
    assert len(store) == len(kept) == len(came) - store.dropped
    assert [entry.seq for entry in kept] == sorted(entry.seq for entry in kept)
    assert store.first == (kept[0].seq if kept else store.end)
    for name in store.sources:
        all_of = [(seq, line) for seq, line in enumerate(came) if line.source == name]
        kept_of = [entry for entry in kept if entry.source == name]
        assert [entry.seq for entry in kept_of] == [seq for seq, _ in all_of[len(all_of) - len(kept_of) :]]
        assert all(entry.seq >= store.first_of(name) for entry in kept_of)
        assert store.count(name) == len(kept_of)
    for entry in kept:
        assert store.get(entry.seq) == entry
        assert entry.line == clean(came[entry.seq].text)
        assert entry.time == came[entry.seq].time
    assert bool(store.generation) == bool(store.dropped)


def test_a_noisy_source_does_not_push_out_a_quiet_one() -> None:
    store = LogStore(100_000)
    store.append([LogLine("quiet", f"rare {number}") for number in range(20)])
    for _ in range(50):
        store.append([LogLine("noisy", "x" * 100)] * 100)
    assert store.count("quiet") == 20
    assert store.count("noisy") == 5000 - store.dropped < 5000
    assert store.first == 0


def test_two_noisy_sources_lose_equally() -> None:
    store = LogStore(100_000)
    store.append([LogLine("ab"[number % 2], "x" * 100) for number in range(10_000)])
    assert abs(store.count("a") - store.count("b")) <= 60


def test_a_line_that_is_gone_or_not_yet_there_is_none() -> None:
    store = LogStore(10_000)
    store.append([LogLine("a", "x" * 100)] * 200)
    assert store.get(0) is None
    assert store.get(store.end) is None
    assert store.get(store.end - 1) is not None


def test_marks_are_no_lines_and_no_source() -> None:
    store = LogStore()
    store.append([LogLine("a", "one"), LogLine(MARK, "", time=5.0), LogLine("a", "two")])
    assert len(store) == 2
    assert store.sources == ("a",)
    assert [entry.source for entry in store.after(0, 9)] == ["a", MARK, "a"]


def test_the_name_of_a_source_is_safe_to_show() -> None:
    store = LogStore()
    store.append([LogLine("a\x1b]0;x\x07", "text"), LogLine("", "text")])
    assert store.sources == ("a␛]0;x␇", "?")
    assert store.count("a␛]0;x␇") == 1


TEXTS = {
    "short": "x",
    "usual": "a line of a usual length, as a web server writes it: GET /post/1 200 " * 2,
    "wide": "日本語" * 30,
    "colours": "".join(f"\x1b[3{number % 8}m{number}" for number in range(20)),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_memory_stays_inside_the_budget(text: str) -> None:
    limit = 1024 * 1024
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        store = LogStore(limit)
        for batch in range(60):
            store.append(
                [LogLine("a", f"{text} {batch} {number}", time=number * 1.5) for number in range(200)]
            )
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert store.dropped
    assert limit // 5 < used < limit
