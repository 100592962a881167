"""What is looked for in lines: a search, or a filter."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import Literal, NamedTuple

Case = Literal["smart", "ignore", "exact"]
CASES: tuple[Case, ...] = ("smart", "ignore", "exact")

MOST_SHOWN = 500
"""Occurrences in one line that are told apart; more of them are not seen anyway."""
_MOST_STEPS = 500_000
"""Of one search in one line, 5 to 40 ms: it cannot be interrupted, and an upgrade runs in the same loop.
The more ways a pattern can match in, the less of a line it is given."""
_FREE = 16
"""Patterns without an open repeat and with no more ways than these search the whole line, however long."""
_MOST_OPEN = 2
_LEAST_REACH = 64
"""A pattern that could only be tried on less of a line is taken literally."""
_FEW, _MANY = 3, 99
"""Times that a repeat may repeat: up to few of something ambiguous, more than many is as good as open."""
_COUNTLESS = 10**9
_REFERENCES = tuple("123456789")
_BRACES = re.compile(r"\{(\d*)(,?)(\d*)\}")


class _Pattern(NamedTuple):
    expression: re.Pattern[str]
    reach: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class Query:
    """Nothing is looked for while `text` is empty: then it is false, and every line passes."""

    text: str = ""
    regex: bool = True
    case: Case = "smart"
    """smart: exact as soon as a capital letter is in the text."""
    inverse: bool = False

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def problem(self) -> str:
        """Why the pattern is taken literally, though it is meant as a regex; empty when it is not."""
        return _compiled(self.text, self.regex, self.case).problem

    def passes(self, line: str) -> bool:
        expression, reach, _ = _compiled(self.text, self.regex, self.case)
        found = expression.search(line) if reach is None else expression.search(line, 0, reach)
        return not self.text or (found is None) is self.inverse

    def occurrences(self, line: str) -> list[tuple[int, int]]:
        """Where in the line; an inverse query is found nowhere."""
        if not self.text or self.inverse:
            return []
        expression, reach, _ = _compiled(self.text, self.regex, self.case)
        found: list[tuple[int, int]] = []
        for match in expression.finditer(line, 0, len(line) if reach is None else reach):
            if match.end() > match.start():
                found.append(match.span())
            if len(found) == MOST_SHOWN:
                break
        return found

    @property
    def words(self) -> str:
        """The way it is looked for: `regex · smart case`, and how far where that is not to the line's end."""
        words = ["regex" if self.regex else "literal", f"{self.case} case"]
        if reach := _compiled(self.text, self.regex, self.case).reach:
            words.append(f"first {reach} characters")
        return " · ".join([*words, "inverse"] if self.inverse else words)


@lru_cache(64)
def _compiled(text: str, regex: bool, case: Case) -> _Pattern:
    # Letters behind a backslash are classes: \S does not ask for a capital S.
    letters = re.sub(r"\\.", "", text) if regex else text
    exact = case == "exact" or (case == "smart" and letters != letters.lower())
    flags = re.NOFLAG if exact else re.IGNORECASE
    problem = ""
    if regex:
        try:
            reach = _reach(_ways(text))
            with warnings.catch_warnings():
                # What is doubtful in a pattern is told on stderr, which is the screen.
                warnings.simplefilter("ignore")
                return _Pattern(re.compile(text, flags), reach, "")
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            problem = f"taken literally: {error}"
    return _Pattern(re.compile(re.escape(text), flags), None, problem)


class _Ways(NamedTuple):
    """In how many ways a part of a pattern can match at one place: `(length of the line) ** open * ways`."""

    open: int = 0
    """Repeats without an end."""
    ways: int = 1

    def then(self, other: _Ways) -> _Ways:
        return _Ways(self.open + other.open, min(_COUNTLESS, self.ways * other.ways))


def _reach(most: _Ways) -> int | None:
    """How much of a line a pattern is tried on; None: all of it. A ValueError where that is too little."""
    if most.open > _MOST_OPEN:
        raise ValueError("so many open repeats may never end")
    if not most.open and most.ways <= _FREE:
        return None
    # At each place of the line, and in each of the ways; repeats share the line, so not each takes all of it.
    power = most.open + 1
    reach = int((_MOST_STEPS * factorial(power) / most.ways) ** (1 / power))
    if reach < _LEAST_REACH:
        raise ValueError("it can match in too many ways")
    return reach


def _ways(pattern: str) -> _Ways:
    """In how many ways a pattern can match at most; a ValueError where a search may never end.

    That is a repeat of what can match in many ways, `(a+)+`, and a back-reference. Seen from the text only,
    and rather once too often than once too few: whoever meant it sees that it was taken literally.
    """
    groups = [[_Ways()]]
    """Of each group that is open here, its alternatives."""
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        width, part = 1, _Ways()
        if sign == "|":
            groups[-1].append(part)
            at += 1
            continue
        if pattern.startswith("(?P=", at) or (sign == "\\" and pattern[at + 1 : at + 2] in _REFERENCES):
            raise ValueError("a back-reference may never end")
        if sign == "(":
            groups.append([part])
            at += 2 if pattern[at + 1 : at + 2] == "?" else 1
            continue
        if sign == "\\":
            width = 2
        elif sign == "[":
            width = _class(pattern, at)
        elif sign == ")" and len(groups) > 1:
            part = _one_of(groups.pop())
        at += width
        width, part = _repeated(part, pattern, at)
        at += width
        groups[-1][-1] = groups[-1][-1].then(part)
    return _one_of([part for group in groups for part in group])


def _one_of(alternatives: list[_Ways]) -> _Ways:
    return _Ways(max(one.open for one in alternatives), sum(one.ways for one in alternatives))


def _repeated(part: _Ways, pattern: str, at: int) -> tuple[int, _Ways]:
    """The length of the repeat at `at`, 0 where there is none, and the ways of what is repeated by it."""
    sign = pattern[at : at + 1]
    low, high, width = 1, 1, 1
    if sign in ("*", "+"):
        high = _MANY + 1
    elif sign == "?":
        low = 0
    elif sign == "{" and (braces := _BRACES.match(pattern, at)):
        least, comma, most = braces.groups()
        low, high = _times(least, 0), _times(most if comma else least, _MANY + 1)
        width = len(braces[0])
    else:
        return 0, part
    # A sign behind a repeat makes it lazy or possessive: no repeat of its own.
    width += pattern[at + width : at + width + 1] in ("?", "+")
    if part == _Ways():
        return width, _Ways(1) if high > _MANY else _Ways(ways=max(1, high - low + 1))
    if high > _FEW:
        raise ValueError("a repeat within a repeat may never end")
    return width, _Ways(part.open * high, min(_COUNTLESS, part.ways**high + (low < high)))


def _times(digits: str, otherwise: int) -> int:
    return int(digits) if 0 < len(digits) < 5 else otherwise


def _class(pattern: str, at: int) -> int:
    """The length of a set of characters, where parentheses and stars mean themselves."""
    end = at + 1
    if pattern[end : end + 1] == "^":
        end += 1
    if pattern[end : end + 1] == "]":
        end += 1
    while end < len(pattern) and pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1 - at
