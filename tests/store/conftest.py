"""A store on disk, and messages for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from labgateway.store.engine import Store


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a new store may be made."""
    return f"sqlite:///{tmp_path}/data/labgateway.db"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A new store."""
    opened = Store.open(url)
    yield opened
    await opened.close()
