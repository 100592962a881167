"""How wide text is on a screen, and where it is cut."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from rich.cells import cell_len, split_graphemes

_PLAIN = re.compile(
    "[ -~\xa0-\xac\xae-\u02ff\u0370-\u0482\u2010-\u2027\u2400-\u2426\u2500-\u25fc\u2800-\u28ff\ufffd]*"
)
"""Characters that are one cell each, whatever stands beside them: most logs have no others."""


def is_plain(text: str) -> bool:
    """One cell per character, so that positions can be calculated."""
    return text.isascii() or _PLAIN.fullmatch(text) is not None


def width_of(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def breaks(text: str, width: int) -> Sequence[int]:
    """Where each row of the wrapped text starts, in characters; an empty text has one row, too."""
    if is_plain(text):
        return range(0, len(text), width) or range(1)
    starts = [0]
    used = 0
    for start, _, cells in split_graphemes(text)[0]:
        if used + cells > width and used:
            starts.append(start)
            used = 0
        used += cells
    return starts


def rows(cells: int, width: int) -> int:
    """The height of a plain text of so many cells; a guess, never far off, where characters are wider."""
    return -(-cells // width) or 1


def window(text: str, cell: int, width: int) -> tuple[int, int, int]:
    """The characters that can be seen whole from a cell on: first, end, and the cells left blank before."""
    if is_plain(text):
        return min(cell, len(text)), min(cell + width, len(text)), 0
    # Not all of a long line is measured for what can be seen of it.
    spans = split_graphemes(text[: 4 * (cell + width) + 64])[0]
    edges = [0, *accumulate(cells for _, _, cells in spans)]
    first = bisect_right(edges, cell - 1)
    last = bisect_right(edges, cell + width) - 1
    if first >= len(spans) or last <= first:
        return len(text), len(text), 0
    return spans[first][0], spans[last - 1][1], edges[first] - cell


def cell_at(text: str, index: int) -> int:
    """The cell where a character starts."""
    return index if text.isascii() else cell_len(text[:index])
