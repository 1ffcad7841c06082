"""The tests that learn come first: each takes minutes, and the last to begin is the one that all others wait for."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In front those of tests/learn, then all others in their order."""
    items.sort(key=lambda item: "learn" not in item.path.parts)
