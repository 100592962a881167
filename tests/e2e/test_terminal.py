"""The terminal interface as a person has it: on a real engine, in a real terminal, at its worst moments."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from devenv.engine.store import Store
from tests.e2e.conftest import Devenv, docker, make
from tests.e2e.relayed import Engine
from tests.e2e.terminal import PATIENCE, Tmux, Window, terminal, until
from tests.e2e.test_interruptions import MARK, left_behind
from tests.e2e.witness import held, one_owner

pytestmark = pytest.mark.engine

HEALTHY = r"^ devenv .* ● healthy"
HANDING_OVER = r"▸ step [45] of 7"
VERIFIED = "✓  CONTENT VERIFIED"
WRITERS = 3
COLOUR = re.compile(r"\x1b\[(?:[0-9;:]*[;:])?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;:m]")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devenv]:
    folder = tmp_path_factory.mktemp("term")
    made = make(folder, "devenv-term")
    # Not what the person who runs the tests has chosen for themselves.
    preferences = folder / "config" / "devenv" / "tui.toml"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(f"writers = {WRITERS}\n")
    made.environment["XDG_CONFIG_HOME"] = str(folder / "config")
    made("reset", "--yes")
    made.done("build", "--release", "v1")
    made.done("build", "--release", "v2")
    try:
        yield made
    finally:
        made("reset", "--yes")


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        pytest.skip("there is no tmux; python -m tests.setup installs it")
    with terminal() as one:
        yield one


@pytest.fixture
def devenv(stack: Devenv) -> Devenv:
    """A stack that runs, of any of two releases."""
    stack.done("up")
    return stack


def opened(tmux: Tmux, devenv: Devenv, **options: Any) -> Window:
    window = tmux.open(devenv, **options)
    window.until(HEALTHY, "✓ up ")
    return window


def upgrading(window: Window, devenv: Devenv, *, probe: bool = False) -> str:
    """Begin one to the other release; that is on its way when this returns."""
    release = "v1" if one_owner(devenv)["release"] == "v2" else "v2"
    window.press("u")
    window.until("─ Upgrade ─")
    fill_in(window, release)
    for key in () if probe else ("Tab", "Space"):
        before = line_of(window, "probe: write")
        window.press(key)
        until(f"{key} shows", lambda before=before: line_of(window, "probe: write") != before)
    assert ("▐X▌" in window.text()) == probe
    window.until(f"to release {release} ")
    window.press("Enter")
    window.until(HANDING_OVER)
    return release


@contextmanager
def waiting_for_its_lease(devenv: Devenv) -> Iterator[None]:
    """An upgrade that is begun within comes to the hand-over, and goes on from there when the block ends."""
    [php] = devenv.containers("php-fpm")
    with held(["docker", "exec", "--interactive", php]):
        yield


def fill_in(window: Window, release: str) -> None:
    """What is typed before the field reacts is lost: then all of it is typed again.

    Textual acts on a key that is bound (C-u) after letters that came later, so each waits for the other.
    """
    for patience in (1, 5, 20, PATIENCE):
        with suppress(AssertionError):
            window.press("C-u")
            window.until(r"to release *(│|$)", patience=patience)
            window.type(release)
            window.until(f"to release {release} ", patience=patience)
            return
    pytest.fail(f"the field does not take {release}:\n{window.text()}")


def line_of(window: Window, words: str) -> str:
    """As it looks: what has the focus, what is chosen, is told by colours as well."""
    return next((line for line in window.styled().splitlines() if words in line), "")


def receipts(devenv: Devenv) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((devenv.state / "receipts").glob("*.json"))]


def at_work(devenv: Devenv) -> str:
    return Store(devenv.state).at_work()


def leave(window: Window) -> None:
    window.press("q")
    assert window.code() == 0, window.text()


def test_the_whole_story_on_a_terminal_of_80_by_24(tmux: Tmux, stack: Devenv) -> None:
    window = tmux.open(stack)
    window.until(HEALTHY, "✓ up ", re.escape(stack.stack.url))
    one_owner(stack)

    with waiting_for_its_lease(stack):
        assert upgrading(window, stack, probe=True) == "v2"
        both = window.until(
            r"v1  \S+-php-fpm-1 .*v2  \S+-php-fpm-2",
            r"● open.*▸ (asks for the lease|waits for the owner)",
            "still writing",
        )
    assert re.search(r"╭─ old ─+╮╭─ new ─+╮", both)
    told = window.until(VERIFIED, "lost", "symfony_demo_post +30 +30  = same")
    assert re.search(rf"{WRITERS} writers  acknowledged [1-9]\d*  failed 0  lost 0  twice 0", told), told
    assert re.search(r"^ devenv .* v2 .* ● healthy", told), told

    window.press("b")
    window.until("─ Rollback ─")
    window.press("Enter")
    window.until("▸ step")
    window.until(VERIFIED, r"failed 0  lost 0", r"^ devenv .* v1 .* ● healthy")

    leave(window)
    said = window.text()
    assert f"v1 goes on at {stack.stack.url}" in said
    assert "v2 → v1: content verified" in said
    assert window.ask("alternate_on") == "0"
    assert one_owner(stack)["release"] == "v1"
    assert [one["verified"] for one in receipts(stack)] == [True, True]


def test_a_probe_that_is_started_on_the_way_is_counted_in_the_receipt(tmux: Tmux, devenv: Devenv) -> None:
    window = opened(tmux, devenv)
    with waiting_for_its_lease(devenv):
        upgrading(window, devenv)
        window.until("off: p starts it")
        window.press("p")
        window.until(rf"{WRITERS} writers  acknowledged \d+ .*still writing")
    told = window.until(VERIFIED, "lost 0")
    leave(window)
    probe = receipts(devenv)[-1]["probe"]
    assert f"acknowledged {probe['acknowledged']}  failed 0  lost 0" in told
    assert probe["acknowledged"] > 0


@pytest.mark.parametrize("shell", [False, True], ids=["leader of its session", "in a shell"])
def test_an_upgrade_whose_terminal_goes_away_ends_whole(tmux: Tmux, devenv: Devenv, shell: bool) -> None:
    mark, before = secrets.token_hex(8), len(receipts(devenv))
    program = ("bash", "--norc", "-i") if shell else ()
    window = tmux.open(devenv, *program, alone=True, **{MARK: mark})
    if shell:
        window.type(f"{shlex.quote(sys.executable)} -m devenv up\n")
    window.until(HEALTHY, "✓ up ")
    release = upgrading(window, devenv)
    window.kill()
    until("no process is left", lambda: left_behind(mark) == [])
    assert one_owner(devenv)["release"] == release
    assert len(receipts(devenv)) == before + 1
    assert receipts(devenv)[-1]["verified"]
    assert at_work(devenv) == ""
    assert not crash_log(devenv).exists(), crash_log(devenv).read_text()


def crash_log(devenv: Devenv) -> Path:
    return devenv.state.parent / "crash.log"


def test_who_leaves_in_the_middle_reads_the_rest_in_lines(tmux: Tmux, devenv: Devenv) -> None:
    mark = secrets.token_hex(8)
    window = opened(tmux, devenv, **{MARK: mark})
    with waiting_for_its_lease(devenv):
        release = upgrading(window, devenv)
        window.press("q")
        window.until("─ Quit ─", "upgrade is at work")
        window.press("Down", "Enter")
        window.until("upgrade goes on to its end; Ctrl-C cancels it")
    assert window.code() == 0, window.text()
    said = window.text()
    assert re.search(r"^✓ receipt ", said, re.MULTILINE), said
    assert re.search(r"^✓ content verified", said, re.MULTILINE), said
    assert one_owner(devenv)["release"] == release
    assert left_behind(mark) == []


def test_who_cancels_and_leaves_leaves_one_owner(tmux: Tmux, devenv: Devenv) -> None:
    mark = secrets.token_hex(8)
    window = opened(tmux, devenv, **{MARK: mark})
    with waiting_for_its_lease(devenv):
        release = upgrading(window, devenv)
        window.press("q")
        window.until("─ Quit ─")
        window.press("Down", "Down", "Enter")
        assert window.code() == 130, window.text()
    assert one_owner(devenv)["release"] != release
    assert left_behind(mark) == []
    assert at_work(devenv) == ""


def test_an_upgrade_that_is_cancelled_in_time_leaves_the_old_instance_serving(
    tmux: Tmux, devenv: Devenv
) -> None:
    before = one_owner(devenv)["release"]
    window = opened(tmux, devenv)
    with waiting_for_its_lease(devenv):
        upgrading(window, devenv)
        window.press("X")
        window.until("─ Cancel ─", "y yes")
        window.press("y")
        window.until("upgrade was cancelled", rf"^ devenv .* {before} .* ● healthy")
    assert one_owner(devenv)["release"] == before
    window.press("q")
    assert window.code() == 130


def test_stopped_and_continued_on_the_way_an_upgrade_goes_on(tmux: Tmux, devenv: Devenv) -> None:
    window = tmux.open(devenv, "bash", "--norc", "-i", PS1="$ ")
    window.type(f"{shlex.quote(sys.executable)} -m devenv up\n")
    window.until(HEALTHY, "✓ up ")
    with waiting_for_its_lease(devenv):
        release = upgrading(window, devenv)
        window.press("C-z")
        window.until(r"Stopped .*devenv up")
        assert window.ask("alternate_on") == "0"
        window.type("fg\n")
        assert "Stopped" not in window.until(HANDING_OVER, "╭─ old ─")
    window.until(VERIFIED, HEALTHY, "q Quit")
    window.press("q")
    window.until("goes on at")
    window.type("echo code=$?\n")
    window.until("^code=0")
    assert one_owner(devenv)["release"] == release


def test_a_second_one_is_refused_with_words_and_stays_usable(tmux: Tmux, devenv: Devenv) -> None:
    first = opened(tmux, devenv)
    mark = secrets.token_hex(8)
    with waiting_for_its_lease(devenv):
        release = upgrading(first, devenv)
        second = tmux.open(devenv, **{MARK: mark})
        told = second.until(
            "✗ another devenv is at work on this stack", "why: ", "next: wait until it is done"
        )
        assert re.search(r"`devenv upgrade`, process \d+", told), told
    first.until(VERIFIED)
    # It sees what the other one does, and can do the next thing itself.
    second.until(rf"^ devenv .* {release} .* ● healthy")
    second.press("v")
    second.until("─ Verify ─")
    second.press("Escape")
    os.kill(second.process, signal.SIGTERM)
    assert second.code() == 0, second.text()
    assert f"{release} goes on at" in second.text()
    assert left_behind(mark) == []
    leave(first)


def test_a_window_that_is_made_tiny_and_large_all_the_while_breaks_nothing(
    tmux: Tmux, devenv: Devenv
) -> None:
    # Some shells export a size, which is not true for long.
    window = opened(tmux, devenv, COLUMNS="80", LINES="24")
    with waiting_for_its_lease(devenv):
        release = upgrading(window, devenv)
        window.resize(20, 5)
        window.until("20x5 is too small", "What runs goes on")
    for number in range(50):
        window.resize(20 + 3 * (number * 7 % 50), 5 + number * 11 % 50)
    window.resize(80, 24)
    window.until(VERIFIED, rf"^ devenv .* {release} .* ● healthy", "q Quit")
    leave(window)
    assert one_owner(devenv)["release"] == release
    assert not crash_log(devenv).exists(), crash_log(devenv).read_text()


DEVENV = f"{shlex.quote(sys.executable)} -m devenv"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"TERM=dumb {DEVENV} up", True),
        (f"CI=1 {DEVENV} up", True),
        (f"{DEVENV} up --no-tui", True),
        (f"{DEVENV} up </dev/null", True),
        (f"{DEVENV} up <&-", True),
        (f"{DEVENV} up | cat", True),
        (f"{DEVENV} up 2>&1 | cat", True),
        (f"{DEVENV} up 2>/dev/null", True),
        (f"{DEVENV} up 2>&-", True),
        (f"{DEVENV} up >&-", False),
    ],
)
def test_what_is_no_terminal_to_press_keys_on_gets_lines_and_the_url(
    tmux: Tmux, devenv: Devenv, command: str, told: bool
) -> None:
    window = tmux.open(devenv, "bash", "-o", "pipefail", "-c", command)
    assert window.code() == 0, window.text()
    said = window.text()
    assert (devenv.stack.url in said.splitlines()) == told, said
    if "2>" not in command or "2>&1" in command:
        assert re.search(r"^✓ containers +\d", said, re.MULTILINE), said


def test_without_colour_each_state_is_still_told(tmux: Tmux, devenv: Devenv) -> None:
    window = opened(tmux, devenv, NO_COLOR="1")
    window.press("B")
    window.until("─ Build which release")
    before = line_of(window, "│ v2 ")
    window.press("Down")
    until("the cursor is seen to move", lambda: line_of(window, "│ v2 ") != before)
    window.press("Escape")
    with waiting_for_its_lease(devenv):
        upgrading(window, devenv)
        during = window.styled()
    window.until(VERIFIED)
    for styled in (during, window.styled()):
        assert COLOUR.search(styled) is None, styled
    assert "= same" in window.text()
    leave(window)
    assert COLOUR.search(window.styled()) is None
    coloured = opened(tmux, devenv)
    assert COLOUR.search(coloured.styled()), "the same look at a screen with colours finds them"
    leave(coloured)


def test_what_a_container_writes_does_nothing_to_the_terminal(tmux: Tmux, devenv: Devenv) -> None:
    tmux("set-option", "-s", "set-clipboard", "on")
    [php] = devenv.containers("php-fpm")
    window = opened(tmux, devenv)
    title = window.ask("pane_title")
    hostile = (
        r"\033]52;c;aG9zdGlsZQ==\007", r"\033]0;hostile\007", r"\033]2;hostile\033\\", r"\033khostile\033\\",
        r"\033[2J\033[H", r"\033[?1049l", r"\033[?25h\033c", r"\033[31mred", r"\r\033[1A\033[K",
        r"\0\010\b\177", r"\033P+q544e\033\\", r"\302\233[2J", r"\302\2352;hostile\007", r"\033[6n\033[c",
        r"\377\376", r"[bold]x[/",
    )  # fmt: skip
    for number, line in enumerate(hostile):
        docker("exec", php, "sh", "-c", f"printf 'line {number} {line} end{number}\\n' >/proc/1/fd/2")
    window.press("5")
    told = window.until(*(rf"end{number}\b" for number in range(len(hostile))))
    assert re.search(r"^ devenv .* ● healthy", told), told
    assert re.search(r"q Quit( +\S+ \S+)? *\Z", told), told
    assert window.ask("pane_title") == title
    assert window.ask("alternate_on") == "1"
    assert tmux("list-buffers") == ""
    # It would have arrived: what a person copies does.
    window.press("C-y")
    until("it is copied", lambda: "bytes" in tmux("list-buffers"))
    leave(window)


def test_an_engine_that_is_not_there_is_told_with_what_to_do(tmux: Tmux, devenv: Devenv) -> None:
    window = tmux.open(devenv, DOCKER_HOST="unix:///nowhere.sock")
    window.until(
        "✗ the container engine does not answer", "why: ", "next: .*devenv doctor", "engine does not"
    )
    window.press("D")
    window.until("─ Doctor ─", "container engine")
    window.press("Escape")
    window.press("q")
    assert window.code() == 4
    assert re.search(r"last error: .*unix:///nowhere.sock", window.text(), re.DOTALL)


def test_an_engine_that_goes_away_is_told_and_found_again(tmux: Tmux, devenv: Devenv, tmp_path: Path) -> None:
    with Engine(tmp_path / "engine.sock") as engine:
        window = opened(tmux, devenv, DOCKER_HOST=engine.host)
        engine.stop()
        window.until("✗ engine does not answer")
        engine.start()
        window.until(HEALTHY)
        [php] = devenv.containers("php-fpm")
        docker("exec", php, "sh", "-c", "echo logged again >/proc/1/fd/2")
        told = window.until("logged again")
        assert told.count("ready to handle connections") <= 1, told
        leave(window)
