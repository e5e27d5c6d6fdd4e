"""labgateway with its first promise broken on purpose: it acknowledges before the commit. Only to prove that a test sees it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from labgateway.cli import main
from labgateway.gateway.gateway import Gateway

_right = Gateway._keeper  # pyright: ignore[reportPrivateUsage]


def _wrong(self: Gateway, name: str) -> Callable[[Any, Callable[[Any], None]], None]:
    keep = _right(self, name)

    def keep_after(arrival: Any, kept: Callable[[Any], None]) -> None:
        kept(None)
        keep(arrival, lambda _: None)

    return keep_after


Gateway._keeper = _wrong  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]

if __name__ == "__main__":
    sys.exit(main())
