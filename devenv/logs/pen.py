"""Colours and emphasis as a terminal is asked for them (SGR), in Rich's words."""

from __future__ import annotations

from functools import lru_cache

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_COLOURS = (*_NAMES, *(f"bright_{name}" for name in _NAMES))
_ON = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse", 9: "strike", 21: "underline"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",), 29: ("strike",)}
_ORDER = ("bold", "dim", "italic", "underline", "reverse", "strike")
_MOST = 64
"""Parameters of one sequence that are read; a terminal reads 16 or 32."""


class Pen:
    """What the next characters look like. Hidden and blinking text is shown plainly."""

    def __init__(self) -> None:
        self.style = ""
        self._colour = ""
        self._ground = ""
        self._emphasis: frozenset[str] = frozenset()

    def change(self, parameters: str) -> None:
        """By the parameters of one sequence; what is malformed or unknown changes nothing."""
        codes = _codes(parameters)
        at = 0
        while at < len(codes):
            at = self._apply(codes, at)
        self.style = _words(self._colour, self._ground, self._emphasis)

    def _apply(self, codes: tuple[int, ...], at: int) -> int:
        """Obey the code at `at`, and tell where the next one is."""
        code = codes[at]
        if code == 0:
            self._colour = self._ground = ""
            self._emphasis = frozenset()
        elif code in _ON:
            self._emphasis |= {_ON[code]}
        elif code in _OFF:
            self._emphasis -= set(_OFF[code])
        elif code in (38, 48, 58):
            colour, at = _colour(codes, at)
            if code == 38 and colour:
                self._colour = colour
            elif code == 48 and colour:
                self._ground = colour
        elif 30 <= code <= 37 or 90 <= code <= 97:
            self._colour = _COLOURS[code - 30 if code < 90 else code - 82]
        elif 40 <= code <= 47 or 100 <= code <= 107:
            self._ground = _COLOURS[code - 40 if code < 100 else code - 92]
        elif code == 39:
            self._colour = ""
        elif code == 49:
            self._ground = ""
        return at + 1


@lru_cache(1024)
def _codes(parameters: str) -> tuple[int, ...]:
    """The numbers; sub-parameters by colons are brought to the older form with semicolons."""
    if len(parameters) > 5 * _MOST:
        parameters = parameters[: 5 * _MOST].rpartition(";")[0]
    codes: list[int] = []
    for parameter in parameters.split(";")[:_MOST]:
        first, *rest = parameter.split(":")
        codes.append(_number(first))
        if first == "4" and rest[:1] == ["0"]:
            codes[-1] = 24
        elif first in ("38", "48", "58") and rest:
            # 38:2:<space>:r:g:b, where the colour space may be left out.
            values = rest[1:] if rest[0] != "2" or len(rest) < 5 else rest[2:5]
            codes += [_number(rest[0]), *map(_number, values)]
    return tuple(codes)


def _number(digits: str) -> int:
    """-1 is no code at all: the digits are none, or too many to mean anything."""
    if not digits:
        return 0
    return int(digits) if digits.isdecimal() and len(digits) <= 3 else -1


def _colour(codes: tuple[int, ...], at: int) -> tuple[str, int]:
    """The colour that 38 or 48 at `at` stands for, and where it ends; none where it is malformed."""
    kind = codes[at + 1] if at + 1 < len(codes) else -1
    if kind == 5 and at + 2 < len(codes):
        return _indexed(codes[at + 2]), at + 2
    if kind == 2 and at + 4 < len(codes):
        red, green, blue = codes[at + 2 : at + 5]
        if all(0 <= value <= 255 for value in (red, green, blue)):
            return f"#{red:02x}{green:02x}{blue:02x}", at + 4
        return "", at + 4
    return "", len(codes)


def _indexed(number: int) -> str:
    """A colour of the 256: 16 named ones, a cube of 6 by 6 by 6, 24 greys."""
    if not 0 <= number <= 255:
        return ""
    if number < 16:
        return _COLOURS[number]
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return f"#{grey:02x}{grey:02x}{grey:02x}"
    steps = ((number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6)
    return "#" + "".join(f"{step * 40 + 55 if step else 0:02x}" for step in steps)


@lru_cache(1024)
def _words(colour: str, ground: str, emphasis: frozenset[str]) -> str:
    # Text in the colour of its own ground is hidden; a log hides nothing.
    if ground and ground == colour:
        ground = ""
    words = [word for word in _ORDER if word in emphasis]
    words += [colour] if colour else []
    words += ["on", ground] if ground else []
    return " ".join(words)
