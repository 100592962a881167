"""Whatever a program writes, what is shown of it is plain text with colours."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.style import Style

from devenv.logs import ansi
from devenv.logs.ansi import LONGEST, MOST_SPANS, Clean, Span, clean

SEQUENCES = "\x1b[ \x1b] \x1bP \x1b_ \x1b \x9b \x9d \x90 \x9c \x07 \b \x00 \x7f"
REST = "0;31m 38;2;1;2;3m 999999999999m ;;;;m K 2K 1G ?1049h 52;c;Zm9v [b] plain 日本 é \u202e \u2066 \u200d"
PARTS = [*SEQUENCES.split(" "), *REST.split(" "), "\r", "\t", "\n", "\x85", "\ud800", "👨\u200d👩"]
HOSTILE = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=40).map("".join)


@given(HOSTILE | st.text())
@example("\x1b[31mred\r\x1b[0mgreen")
def test_nothing_that_acts_on_a_terminal_is_ever_left(raw: str) -> None:
    text, spans = clean(raw)
    assert not [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")
    text.encode()
    ends = 0
    for start, end, style in spans:
        assert ends <= start < end <= len(text)
        Style.parse(style)
        ends = end


@given(st.text(st.characters(categories=("L", "N", "P")), max_size=200))
def test_a_line_without_controls_is_what_it_was(raw: str) -> None:
    if raw.isprintable():
        assert clean(raw) == Clean(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "\x1b]52;c;Zm9v\x07",
        "\x1b]52;c;Zm9v\x1b\\",
        "\x1b]0;a title",
        "\x9d0;a title\x9c",
        "\x1bPq#0;2\x1b\\",
        "\x90q\x9c",
        "\x1b_G payload\x1b\\",
        "\x1b^private\x1b\\",
        "\x1b[2J\x1b[H\x1b[?1049h\x1b[3;4H\x1b[5A",
        "\x9b2J",
        "\x1bc\x1b(B\x1b7\x1b=",
        "\x1b[",
        "\x1b",
    ],
)
def test_what_is_meant_for_the_terminal_goes_whole(raw: str) -> None:
    assert clean(raw) == Clean("")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("before\x1b]0;title\x07after", "beforeafter"),
        ("10%\r50%\r100%", "100%"),
        ("abcdef\rXY", "XYcdef"),
        ("working\r\x1b[Kdone", "done"),
        ("10%\x1b[1G20%", "20%"),
        ("done\r\n", "done"),
        ("|\b/\b-\b", "-"),
        ("a\tb", "a       b"),
        ("日\tb", "日      b"),
        ("12345678\tb", "12345678        b"),
        ("a\x00b\x7f", "a␀b␡"),
        ("a\u202eb", "a<U+202E>b"),
        ("pass\u200dword", "pass<U+200D>word"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("\udcff", "\ufffd"),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
        ("a\nb", "a␊b"),
    ],
)
def test_what_a_terminal_would_show_last_stays_and_the_invisible_is_seen(raw: str, text: str) -> None:
    assert clean(raw).text == text


@pytest.mark.parametrize(
    ("sequence", "style"),
    [
        ("31", "red"),
        ("1;4;97", "bold underline bright_white"),
        ("38;5;196", "#ff0000"),
        ("38;5;9", "bright_red"),
        ("38;5;250", "#bcbcbc"),
        ("38;2;1;2;3", "#010203"),
        ("38:2::1:2:3", "#010203"),
        ("38:2:1:2:3", "#010203"),
        ("48;5;21;2", "dim on #0000ff"),
        ("7", "reverse"),
        ("58;5;1;31", "red"),
        ("31;999999999999999999999;1", "bold red"),
        ("30;40", "black"),
        ("38;2;300;0;0;1", "bold"),
        (";".join(["1"] * 10_000), "bold"),
    ],
)
def test_colours_and_emphasis_stay(sequence: str, style: str) -> None:
    assert clean(f"a\x1b[{sequence}mb\x1b[0mc") == Clean("abc", (Span(1, 2, style),))


@pytest.mark.parametrize("sequence", ["38;5", "38", "48;2;1", "8", "5", "-1", "::", "99", "4:0"])
def test_a_malformed_sequence_changes_nothing(sequence: str) -> None:
    assert clean(f"a\x1b[{sequence}mb") == Clean("ab")


def test_a_long_line_is_cut_and_says_so() -> None:
    text, spans = clean("x" * 1_000_000)
    assert text.startswith("x" * LONGEST + " … 983,616 characters more")
    assert spans[-1].end == len(text)


def test_of_a_progress_bar_without_end_the_last_state_is_shown() -> None:
    assert clean("".join(f"{number}%\r" for number in range(500_000))).text == "499999%"


@pytest.mark.parametrize(
    "part",
    [
        "\x1b[",
        "\x1b]",
        "\x1b[31;",
        "\x1b[m",
        "a\r",
        "x\b",
        "a\t",
        "日\t\b",
        "\x1b[31mx\x1b[32my",
        "\u202e",
        "\x9d\x9b",
    ],
)
def test_work_on_a_bomb_is_bounded(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not clocked: a character takes a few steps, and of a long line few are looked at."""
    steps = 0
    obey, write = ansi._Line.obey, ansi._Line.write

    def counted_obey(line: ansi._Line, token: object) -> None:
        nonlocal steps
        steps += 1
        obey(line, token)  # type: ignore[arg-type]

    def counted_write(line: ansi._Line, run: str) -> None:
        nonlocal steps
        steps += 1 + len(run)
        write(line, run)

    monkeypatch.setattr(ansi._Line, "obey", counted_obey)
    monkeypatch.setattr(ansi._Line, "write", counted_write)
    text, spans = clean(part * (1_000_000 // len(part)))
    assert steps < 10 * 2 * LONGEST
    assert len(text) < LONGEST + 100
    assert len(spans) <= MOST_SPANS
