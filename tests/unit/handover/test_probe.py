"""The judge: what counts as failed, lost, there twice, and as the pause."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devenv.engine.probe import NONCE, Prepared, find_form
from devenv.model.probe import ProbeReport, Sample, compare


def sample(started: float, ended: float, failure: str | None = None, nonce: str = "n") -> Sample:
    return Sample(nonce, started, ended, failure)


def report(*samples: Sample, **rest: object) -> ProbeReport:
    return ProbeReport(1, samples, **rest)  # type: ignore[arg-type]


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    assert compare(["a", "b", "c"], {"a": 1, "b": 0}) == (("b", "c"), ())


def test_what_is_there_twice_is_wrong_also_if_it_was_never_acknowledged() -> None:
    assert compare(["a"], {"a": 2, "failed": 3, "once": 1}) == ((), ("a", "failed"))


@given(
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3)),
)
def test_each_acknowledged_write_is_there_exactly_once_or_is_named(
    acknowledged: list[str], found: dict[str, int]
) -> None:
    lost, duplicated = compare(acknowledged, found)
    for nonce in acknowledged:
        count = found.get(nonce, 0)
        assert (nonce in lost, nonce in duplicated) == (count == 0, count > 1)


def test_the_pause_is_the_slowest_request_beyond_the_median() -> None:
    it = report(sample(0, 0.1), sample(1, 1.1), sample(2, 2.9), sample(3, 3.1), sample(4, 4.1))
    assert it.median == pytest.approx(0.1)
    assert it.slowest == pytest.approx(0.9)
    assert it.pause == pytest.approx(0.8)


def test_a_failure_is_counted_as_that_and_not_as_a_pause() -> None:
    it = report(sample(0, 0.1), sample(1, 61, "TimeoutError"), sample(2, 2.1))
    assert [one.failure for one in it.failures] == ["TimeoutError"]
    assert it.slowest == pytest.approx(0.1)
    assert not it.clean


def test_the_longest_gap_is_between_replies_whenever_they_were_asked_for() -> None:
    it = report(sample(0, 5), sample(1, 2), sample(0, 2.5), sample(3, 3.5, "failed"))
    assert it.longest_gap == pytest.approx(2.5)
    assert report(sample(0, 1)).longest_gap == 0


def test_a_clean_report_has_writes_and_all_of_them_once() -> None:
    one = sample(0, 1)
    assert report(one).clean
    assert not report().clean
    assert not report(one, lost=("n",)).clean
    assert not report(one, duplicated=("n",)).clean
    assert not report(one, uncounted="the page is not there").clean
    assert not report(one, sample(1, 2, "503")).clean


@pytest.mark.parametrize(
    ("started", "ended", "phase"),
    [
        (0.0, 0.9, "before"),
        (0.9, 1.1, "held"),  # in flight when it closed
        (1.1, 2.5, "held"),
        (2.0, 2.1, "relayed"),
        (2.9, 3.5, "relayed"),
        (3.0, 3.1, "after"),
        (9.0, 9.1, "after"),
    ],
)
def test_each_write_belongs_to_one_phase_of_the_hand_over(started: float, ended: float, phase: str) -> None:
    counts = report(sample(started, ended)).by_phase(closing=1.0, moved=2.0, ended=3.0)
    assert counts == {"before": 0, "held": 0, "relayed": 0, "after": 0, phase: 1}


def test_failed_writes_belong_to_no_phase() -> None:
    assert sum(report(sample(0, 1, "503")).by_phase(1, 2, 3).values()) == 0


def test_a_report_can_be_printed_also_when_nothing_was_written() -> None:
    for it in (report(), report(sample(0, 1), *[sample(0, 1, f"{n}") for n in range(30)])):
        printed = json.loads(json.dumps(it.as_json()))
        assert printed["failed"] == len(it.failures)
        assert len(printed["failures"]) <= 10
        assert printed["clean"] is False


def test_a_nonce_is_found_as_often_as_it_stands_on_the_page() -> None:
    nonce = "probe-" + "0a" * 12
    page = f"<p>Probe {nonce}</p><a title='{nonce}'>probe-short {nonce}ff</a>"
    assert Counter(NONCE.findall(page))[nonce] == 3


PAGE = """
<form action="/search"><input name="q"><input type="hidden" name="csrf" value="wrong"></form>
<form method="post"><input type="hidden" name="csrf" value="right"><textarea name="text"></textarea><br/>
<input type="hidden" name="empty"/></form>
<form action="elsewhere?x=1"><input name="text"><select name="kind"></select></form>
"""


def test_the_form_with_all_the_fields_is_used_with_its_own_hidden_ones() -> None:
    assert find_form(PAGE, "/posts/7", {"text"}) == Prepared("/posts/7", {"csrf": "right", "empty": ""})
    assert find_form(PAGE, "/posts/7", {"text", "kind"}) == Prepared("/posts/elsewhere", {})
    assert find_form(PAGE, "/posts/7", {"q"}) == Prepared("/search", {"csrf": "wrong"})


def test_a_page_without_the_form_is_an_error_that_names_the_fields() -> None:
    with pytest.raises(LookupError, match="missing, text"):
        find_form(PAGE, "/posts/7", {"text", "missing"})
