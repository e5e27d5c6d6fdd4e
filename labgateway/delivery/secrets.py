"""Passwords and tokens: read from their files when they are needed, so that a renewed one counts at once."""

from __future__ import annotations

from pathlib import Path


class SecretError(Exception):
    """The file cannot be read; the words name no content."""


def read_secret(file: Path | None) -> str | None:
    """What the file holds, without blanks around it; None without a file. Raises SecretError."""
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SecretError(
            f"{file.name} cannot be read: put a file there, readable for labgateway, that holds the secret alone"
        ) from None
    if not text:
        raise SecretError(f"{file.name} is empty: it must hold the secret and nothing else")
    return text
