"""The command line as a program: help with examples, exit codes, one line of JSON an event."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devenv import __version__
from devenv.cli.app import build
from devenv.model.actions import COMMANDS, Action


def devenv(*arguments: str, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_STATE_HOME": str(cwd / "state"), "NO_COLOR": "1"}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    if path is not None:
        env["PATH"] = path
    return subprocess.run(
        [sys.executable, "-m", "devenv", *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )


def test_the_version_needs_no_import_beyond_the_entry_point(tmp_path: Path) -> None:
    """Not a timed test: what takes the time is what is imported."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "devenv", "--version"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"devenv {__version__}\n"
    for heavy in ("cyclopts", "pydantic", "textual", "asyncio", "devenv.cli"):
        assert heavy not in said.stderr


@pytest.mark.parametrize("action", COMMANDS, ids=lambda action: action.name)
def test_every_command_has_help_with_an_example(action: Action, capsys: pytest.CaptureFixture[str]) -> None:
    build()([*action.name.split(), "--help"], exit_on_error=False)
    words = " ".join(capsys.readouterr().out.split())
    assert f"Example: {action.example}" in words
    assert action.help.split(",")[0] in words


def test_what_recover_can_be_forced_to_is_shown_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    build()(["recover", "--help"], exit_on_error=False)
    words = " ".join(re.sub(r"[│ \n]+", " ", capsys.readouterr().out).split())
    assert "devenv recover --from devenv-php-fpm-1 --force" in words


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest(tmp_path: Path) -> None:
    said = devenv("upgade", cwd=tmp_path)
    assert said.returncode == 2
    assert 'Did you mean "upgrade"' in said.stderr
    assert "devenv --help" in said.stderr


def test_a_wrong_option_points_to_the_help_of_its_command(tmp_path: Path) -> None:
    said = devenv("snapshot", "save", "--nmae", cwd=tmp_path)
    assert said.returncode == 2
    assert "devenv snapshot save --help" in said.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")
def test_a_configuration_of_another_user_counts_only_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devenv.toml").write_text('[stack]\nname = "mallory"\n')
    os.chown(tmp_path / "devenv.toml", 4242, -1)
    refused = devenv("config", "show", "--json", cwd=tmp_path)
    assert refused.returncode == 2
    assert "belongs to user 4242" in refused.stdout
    assert "mallory" not in refused.stdout
    assert "mallory" in devenv("config", "show", "--config", "devenv.toml", cwd=tmp_path).stdout
    monkeypatch.setenv("SUDO_UID", "4242")
    assert "mallory" in devenv("config", "show", cwd=tmp_path).stdout
    monkeypatch.delenv("SUDO_UID")
    monkeypatch.setenv("DEVENV_CONFIG", "devenv.toml")
    assert "mallory" in devenv("config", "show", cwd=tmp_path).stdout
    monkeypatch.setenv("DEVENV_CONFIG", "nowhere.toml")
    assert "DEVENV_CONFIG names it" in devenv("config", "show", cwd=tmp_path).stderr


def test_a_wrong_configuration_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "devenv.toml").write_text("[stack]\nprot = 1\n")
    said = devenv("config", "show", cwd=tmp_path)
    assert said.returncode == 2
    assert "nearest is stack.port" in said.stderr
    assert said.stdout == ""


def test_json_is_an_event_a_line(tmp_path: Path) -> None:
    said = devenv("config", "show", "--json", cwd=tmp_path)
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert [event["event"] for event in events] == ["action-started", "answer", "action-ended"]
    assert events[1]["data"]["stack"]["port"] == 8080


def test_errors_are_events_too(tmp_path: Path) -> None:
    said = devenv("logs", "nginx", "--json", cwd=tmp_path)
    failed = [json.loads(line) for line in said.stdout.splitlines()][-2]
    assert failed["event"] == "action-failed"
    assert failed["next"]
    assert said.returncode == failed["exit_code"] == 2


@pytest.mark.parametrize("command", ["up", "down", "status", "verify"])
def test_without_an_engine_the_environment_is_not_fit(tmp_path: Path, command: str) -> None:
    said = devenv(command, cwd=tmp_path, path=str(tmp_path))
    assert said.returncode == 4
    assert "docker is not there" in said.stderr
    assert "devenv doctor" in said.stderr


def test_what_destroys_asks_and_without_a_terminal_wants_a_yes(tmp_path: Path) -> None:
    said = devenv("reset", cwd=tmp_path)
    assert said.returncode == 2
    assert "--yes" in said.stderr
    assert "snapshot volume" in said.stderr


def test_the_schema_is_json(tmp_path: Path) -> None:
    assert json.loads(devenv("config", "schema", cwd=tmp_path).stdout)["title"] == "devenv.toml"
