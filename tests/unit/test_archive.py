"""Log lines on the disk: whole, bounded, and never in the way of what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.logs.archive import KEPT, KEPT_SHOWN, Archive
from devenv.model.events import LogLine


def line(text: str) -> LogLine:
    return LogLine("devenv-httpd-1", text, time=0.0)


def test_every_line_is_whole(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "logs")
    archive.write([line("x" * 1_000_000), line("two\x1b[31m")])
    archive.close()
    first, second = archive.path.read_text().splitlines()
    assert first.endswith("x" * 1_000_000)
    assert second.endswith("devenv-httpd-1 | two\x1b[31m")


def test_a_run_that_shows_nothing_leaves_nothing(tmp_path: Path) -> None:
    Archive(tmp_path / "logs").close()
    assert not (tmp_path / "logs").exists()


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        (tmp_path / f"2026010{number % 10}T000000.log").touch()
    archive = Archive(tmp_path)
    archive.write([line("now")])
    archive.close()
    assert len(list(tmp_path.glob("*.log"))) == KEPT + 1
    assert archive.path.exists()


def test_only_the_newest_of_what_was_saved_on_request_are_kept(tmp_path: Path) -> None:
    names = [f"shown-20260101T0000{number:02}.txt" for number in range(KEPT_SHOWN + 3)]
    for name in names:
        (tmp_path / name).touch()
    archive = Archive(tmp_path)
    archive.write([line("now")])
    archive.close()
    assert sorted(path.name for path in tmp_path.glob("shown-*")) == names[3:]


def test_a_file_that_has_grown_too_large_makes_room(tmp_path: Path) -> None:
    archive = Archive(tmp_path, limit=1000)
    for number in range(100):
        archive.write([line(f"{number} {'x' * 50}")])
    archive.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 1200


def test_a_disk_that_refuses_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    archive = Archive(tmp_path / "logs")
    archive.write([line("one")])
    assert archive.failed
    archive.write([line("two")])


def test_a_full_disk_is_told_once_and_not_raised_when_it_is_over(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no device that is always full here")
    archive = Archive(tmp_path)
    archive.path.symlink_to(full)
    archive.write([line("one")])
    assert archive.failed == "No space left on device"
    archive.close()
    archive.close()
