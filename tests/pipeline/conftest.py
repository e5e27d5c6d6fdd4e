"""A laboratory a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.mapped_lab import Lab


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Open laboratories: the mapping's text, then what the site's policy says."""
    opened: list[Lab] = []

    def make(mapping: str, **more: Any) -> Lab:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(Lab(folder, mapping, **more))
        return opened[-1]

    yield make
    for lab in opened:
        lab.close()
