"""Where the log is looked at: at its end, or at a line, which stays where it is whatever comes and goes."""

from __future__ import annotations

from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.widget import Widget

from devenv.logs.lens import Lens

_SIDEWAYS = 8


class LogScroll(ScrollView, can_focus=True, inherit_bindings=False):
    """Follows the end until a person scrolls up. Nothing is animated: lines would overtake it."""

    class Changed(Message):
        """What a status line tells has changed: the lines, the search, or whether the end is followed."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogScroll.Changed)

    def __init__(self, lens: Lens) -> None:
        super().__init__()
        self.lens = lens
        self.following = True
        self._paused_at = 0
        self._anchor = (0, 0)
        """The line at the top, and which of its rows; it stays there while the end is not followed."""
        self._ours = False
        """The view is being moved by us, not by a person."""

    @property
    def room(self) -> Size:
        """What is left beside the scrollbars; `size` is with them."""
        return self.scrollable_content_region.size

    @property
    def new(self) -> int:
        """Lines that came since the end is not followed."""
        shown = self.lens.shown
        return 0 if self.following else len(shown) - shown.row_of(self._paused_at)

    def follow(self) -> None:
        self.following = True
        self.rest()
        self.post_message(self.Changed())

    def pause(self) -> None:
        if self.following:
            self.following = False
            self._paused_at = self.lens.store.end
        self.hold()
        self.post_message(self.Changed())

    def rest(self) -> None:
        """Go to the end, or back to the line that the view stays with."""
        if self.following:
            # Whoever holds the scrollbar is not pulled away from where he is.
            if not self.is_vertical_scrollbar_grabbed:
                self.go(self.scroll_x, self.max_scroll_y)
            return
        shown = self.lens.shown
        seq, sub = self._anchor
        row = shown.row_of(seq)
        top = shown.top(row)
        self.go(self.scroll_x, min(top + sub, max(top, shown.top(row + 1) - 1)))

    def hold(self) -> None:
        """Stay with the line that is at the top now."""
        shown = self.lens.shown
        if shown.height:
            row, sub = shown.at(min(self.scroll_offset.y, shown.height - 1))
            self._anchor = (shown.seqs[row], sub)

    def resize_content(self, size: Size) -> None:
        # Assigning it would lay out the whole screen; only the scrollbars have to know.
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self._ours = True
            self._scroll_update(size)
            self._ours = False

    def go(self, x: float, y: float) -> None:
        """A move of ours; the end is followed or not, as before."""
        if (round(x), round(y)) != tuple(self.scroll_offset):
            self._ours = True
            self.scroll_to(x, y, animate=False, force=True)
            self._ours = False

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._ours or round(old_value) == round(new_value):
            return
        # At the very end it may also be a larger screen that has pushed the view down.
        if new_value < self.max_scroll_y:
            self.pause()
        elif not self.following:
            self.following = True
            self.post_message(self.Changed())

    def action_top(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        self.follow()

    def action_line_up(self) -> None:
        self._down(-1)

    def action_line_down(self) -> None:
        self._down(1)

    def action_half_page_up(self) -> None:
        self._down(-max(1, self.room.height // 2))

    def action_half_page_down(self) -> None:
        self._down(max(1, self.room.height // 2))

    def action_page_up(self) -> None:
        self._down(-max(1, self.room.height - 1))

    def action_page_down(self) -> None:
        self._down(max(1, self.room.height - 1))

    def action_left(self) -> None:
        self.scroll_to(x=self.scroll_offset.x - _SIDEWAYS, animate=False)

    def action_right(self) -> None:
        self.scroll_to(x=self.scroll_offset.x + _SIDEWAYS, animate=False)

    def _down(self, rows: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + rows, animate=False)
