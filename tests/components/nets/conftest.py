"""Slow tests of the largest networks go to `make test-big`: CI has smaller ones of each family."""

from __future__ import annotations

from pathlib import Path

import pytest

LARGEST = {
    "inception_resnet_v2", "nasnet_cifar", "nasnet_large", "pnasnet_large", "resnet_v1_200",
    "resnet_v2_200",
}  # fmt: skip
_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_FOLDER) and item.get_closest_marker("slow"):
            parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
            if LARGEST.intersection(value for value in parameters if isinstance(value, str)):
                item.add_marker(pytest.mark.big)
