"""Which module goes first, where they share lanes."""

from __future__ import annotations

import pytest

_LONGEST = (
    "test_kubernetes_faults", "test_platforms", "test_faults", "test_kubernetes", "test_kind_faults",
    "test_contract", "test_interruptions", "test_existing", "test_handover", "test_terminal", "test_registry",
    "test_kubernetes_nodes", "test_story", "test_containerd_store", "test_kind", "test_builder",
)  # fmt: skip
"""Longest first: one that begins last keeps the whole run waiting, with the other lane idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
