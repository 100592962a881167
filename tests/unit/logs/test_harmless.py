"""Text for a terminal: one line, nothing that steers or hides, and it says where it was cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devenv.logs import harmless
from tests.hostile import HIDES, STEERS, unsafe

SOME = st.text(st.sampled_from([*"ab ✓é日\t\r\n", *STEERS, *HIDES, "\u200d", "👩"]), max_size=80)


@given(SOME | st.text(st.characters(codec=None)))
@example(STEERS)
@example(f"a{HIDES}b")
@example("\x85\u200d\x85")
@example("é\u200d\u200dé")
def test_any_text_becomes_one_line_without_a_character_that_steers_or_hides(text: str) -> None:
    line = harmless.line(text)
    assert len(line.splitlines()) <= 1
    # The joiner of an emoji hides nothing, nor do the few signs that say how a script is joined.
    assert not {one for one in unsafe(line) if ord(one) < 0x600 or one in HIDES + "\u200b\u2060"}
    assert harmless.line(line) == line


@pytest.mark.parametrize("text", ["größer: ✓ done", "日本語 👩\u200d💻", "", "  why:  a │ b"])
def test_ordinary_text_is_the_very_same(text: str) -> None:
    assert harmless.line(text) == text
    if text.isprintable():
        assert harmless.line(text) is text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot connect\nis it running?\n", "cannot connect⏎is it running?"),
        ("a\r\n\r\nb", "a⏎b"),
        ("\n✓ content verified", "⏎✓ content verified"),
        ("a\tb", "a b"),
        ("\x1b[2Ja\x7f", "␛[2Ja␡"),
        ("v1\u202e", "v1<U+202E>"),
        ("a\x85b\u2028c", "a<U+0085>b<U+2028>c"),
        ("\ud800", "\ufffd"),
    ],
)
def test_what_would_be_obeyed_or_hidden_is_shown(text: str, shown: str) -> None:
    assert harmless.line(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert harmless.line("x" * 120, 100) == "x" * 100 + "… 20 characters more"
    assert len(harmless.line("x" * 10**6)) < harmless.LONGEST + 50


def test_the_end_of_a_log_is_told_line_by_line_each_with_a_mark() -> None:
    assert harmless.tail(f"one\n\n{STEERS}✓ done\r\n10%\r20%\n") == ["| one", "| ", "| ␡✓ done", "| 20%"]
    assert harmless.tail("  indented\nas it was") == ["|   indented", "| as it was"]
    assert harmless.tail("\n") == []
