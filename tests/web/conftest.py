"""Fixtures of the web view's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.domain.time.zone import BusinessZone
from streams.web.readmodel import ReadModel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def model() -> Iterator[ReadModel]:
    """An empty read model."""
    made = ReadModel(BusinessZone("Asia/Shanghai"))
    yield made
    made.close()
