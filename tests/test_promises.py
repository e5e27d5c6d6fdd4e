"""What docs/promises.md says stands in a test does stand there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parents[1]


def test_every_test_that_is_named_is_there() -> None:
    """Each file or folder, and each test of a file that is named with it."""
    words = (HERE / "docs" / "promises.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?", words)
    assert len(named) > 80
    for file, test in named:
        path = HERE / file
        assert path.exists() or list(path.parent.glob(f"{path.name}*")), file
        if test:
            assert f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"
