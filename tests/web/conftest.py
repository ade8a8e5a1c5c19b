"""What the tests of the web view share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from streams.web.readmodel import ReadModel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def model() -> Iterator[ReadModel]:
    """An empty read model."""
    made = ReadModel(ZoneInfo("Asia/Shanghai"))
    yield made
    made.close()
