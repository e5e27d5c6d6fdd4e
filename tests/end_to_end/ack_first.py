"""labgateway with its first promise broken on purpose: it acknowledges before the commit. Only to prove that a test sees it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from labgateway.cli import main
from labgateway.gateway import keeping

_right = keeping.keeper


def _wrong(*parts: Any) -> Callable[[Any, Callable[[Any], None]], None]:
    keep = _right(*parts)

    def keep_after(arrival: Any, kept: Callable[[Any], None]) -> None:
        kept(None)
        keep(arrival, lambda _: None)

    return keep_after


keeping.keeper = _wrong

if __name__ == "__main__":
    sys.exit(main())
