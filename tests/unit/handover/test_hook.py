"""What the hook leaves behind where it fails."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from devenv.handover import __main__ as gate
from devenv.handover.problem import Problem
from devenv.handover.settings import Settings

FAILED = {"error": "it is not there", "why": "it is gone", "next": "recover"}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Kubernetes reads the last words of a container. Its gate has failed."""

    def ask(settings: Settings, verb: str) -> dict[str, Any]:
        return {"role": "fresh", "failed": FAILED}

    monkeypatch.setattr(gate, "_ask", ask)
    monkeypatch.setattr(gate, "_LAST_WORDS", tmp_path / "termination-log")
    return tmp_path / "termination-log"


def test_kubernetes_is_told_why_the_container_ends(words: Path, settings: Settings) -> None:
    words.touch()
    with pytest.raises(Problem, match="it is not there"):
        gate._hook(argparse.Namespace(), settings)
    assert json.loads(words.read_text()) == FAILED


def test_where_nobody_keeps_last_words_none_are_written(words: Path, settings: Settings) -> None:
    with pytest.raises(Problem, match="it is not there"):
        gate._hook(argparse.Namespace(), settings)
    assert not words.exists()
