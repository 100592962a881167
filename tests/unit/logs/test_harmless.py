"""Nothing that a program said can steer a terminal."""

from __future__ import annotations

from devenv.logs.harmless import harmless
from devenv.model import events as e

EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\x08\r\u202e"


def test_words_of_every_depth_are_made_harmless_and_lines_stay_lines() -> None:
    failed = harmless(e.ActionFailed(EVIL, "why", EVIL, f"one\n{EVIL}\nthree"))
    assert isinstance(failed, e.ActionFailed)
    assert failed.log_tail.split("\n")[::2] == ["one", "three"]
    phase = harmless(e.PhaseReached("found", "owner", "a", "v1", 1.0, {"why": EVIL, "deep": [EVIL, 1]}))
    command = harmless(e.CommandStarted(1, ("docker", EVIL)))
    for event in (failed, phase, command):
        assert not set(str(e.as_json(event)).replace("\\n", "")) & set("\x1b\x07\x9b\x08\r\u202e")
        assert "52;c;" in str(e.as_json(event)), "what was said is told"


def test_what_is_harmless_is_left_as_it_is() -> None:
    event = e.Notice("größer: ✓ done\nand more")
    assert harmless(event) == event
    plain = e.Answer("status", {"instances": [{"name": "devenv-php-fpm-1"}]})
    assert harmless(plain) is plain
