"""The files and folders that config.toml names beside drivers and mappings: secrets, certificates, queries. Opens no port.

A part of the gateway whose file is not there does not run: its orders do not come, its results wait. That is to be
said before the start, not after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.errors import Complaint, LabgatewayError

if TYPE_CHECKING:
    from labgateway.config import Config
    from labgateway.toml_lines import KeyPath

_ELSEWHERE = frozenset({"template_file"})
"""Looked at where it is read."""


def mistakes(config: Config, index: dict[KeyPath, int]) -> Iterator[Complaint]:
    """What is wrong with every file that a section names by a key that ends in ``_file``, and with its ``tls``."""
    from labgateway.toml_lines import line_of

    for where, section in _sections(config):
        for key, what, cure in _of(section):
            path = (*where, *key)
            yield Complaint(str(config.file), line_of(index, path), ".".join(map(str, path)), what, cure)


def notes(config: Config) -> Iterator[str]:
    """Folders that are not there (now): a share may not be mounted yet."""
    for where, section in _sections(config):
        line = getattr(section, "line", section)
        folder = getattr(line, "path", None)
        if isinstance(folder, Path) and not folder.is_dir():
            yield f"[{'.'.join(map(str, where))}] the folder {folder} is not there: make it, or mount its share"


def _sections(config: Config) -> Iterator[tuple[KeyPath, object]]:
    yield ("store",), config.store
    for kind, sections in (
        ("instrument", config.instruments),
        ("orders", config.orders),
        ("destination", config.destinations),
    ):
        for name, section in sections.items():
            yield (kind, name), section


def _of(section: object) -> Iterator[tuple[KeyPath, str, str]]:
    """Key inside the section, what is wrong, what to do."""
    if not is_dataclass(section):
        return
    for one in fields(section):
        value = getattr(section, one.name)
        if one.name == "tls":
            yield from ((("tls",), what, cure) for what, cure in _encryption(value))
        elif isinstance(value, Path) and one.name.endswith("_file") and one.name not in _ELSEWHERE:
            yield from (((one.name,), what, cure) for what, cure in _text(value))
        else:
            yield from (((one.name, *key), what, cure) for key, what, cure in _of(value))


def _text(path: Path) -> Iterator[tuple[str, str]]:
    cure = "Put a file there, readable for labgateway, that holds what the key names and nothing else."
    try:
        if not path.read_text(encoding="utf-8").strip():
            yield f"{path.name} is empty.", cure
    except FileNotFoundError:
        yield f"{path.name} is not there.", cure
    except (OSError, UnicodeDecodeError):
        yield f"{path.name} cannot be read.", cure


def _encryption(keys: object) -> Iterator[tuple[str, str]]:
    from labgateway.config import ListenTls, TlsKeys
    from labgateway.transports import tls

    match keys:
        case ListenTls():
            files = tls.server(keys.certificate_file, keys.key_file, keys.ca_file)
        case TlsKeys():
            files = tls.client(keys.ca_file, keys.certificate_file, keys.key_file, keys.pinned_file)
        case _:
            return
    try:
        tls.context(files)
    except LabgatewayError as error:
        what, _, cure = str(error).partition(". ")
        yield f"{what}.", cure
