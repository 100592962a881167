"""Colours. Success and failure are blue-green and orange, which the colour-blind tell apart; see also
Okabe and Ito, "Color Universal Design". No state is told by its colour alone."""

from __future__ import annotations

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    "devenv-dark",
    primary="#56B4E9",
    secondary="#CC79A7",
    accent="#F0E442",
    success="#2BC79A",
    warning="#E69F00",
    error="#FF8A5C",
    foreground="#E6E6E6",
    background="#10151B",
    surface="#161D26",
    panel="#1F2935",
    dark=True,
)
LIGHT = Theme(
    "devenv-light",
    primary="#00588A",
    secondary="#8F3B6C",
    accent="#5C4B00",
    success="#006070",
    warning="#7A4B00",
    error="#A33A00",
    foreground="#1A1A1A",
    background="#FBFBF8",
    surface="#F1F1EC",
    panel="#E3E3DC",
    dark=False,
)
_MORE = (
    *("link-color", "link-background", "link-color-hover", "link-background-hover", "border"),
    *("scrollbar", "scrollbar-hover", "scrollbar-active", "scrollbar-corner-color"),
    *("scrollbar-background", "scrollbar-background-hover", "scrollbar-background-active"),
    *("footer-key-foreground", "block-hover-background"),
)
"""What Textual has a colour of its own for."""
PLAIN = Theme(
    "devenv-plain",
    primary="ansi_default",
    secondary="ansi_default",
    accent="ansi_default",
    success="ansi_default",
    warning="ansi_default",
    error="ansi_default",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    ansi=True,
    variables={
        **dict.fromkeys((*BUILTIN_THEMES["ansi-dark"].variables, *_MORE), "ansi_default"),
        "input-cursor-text-style": "reverse",
        # Not reverse, which Textual loses on its way into a list, a tick or a button.
        "block-cursor-text-style": "bold underline",
        "button-focus-text-style": "bold underline",
        "block-cursor-blurred-text-style": "underline",
    },
)
"""No colour at all, as NO_COLOR asks for: bold, dim and reverse are what is left."""

THEMES = (DARK, LIGHT, PLAIN)
