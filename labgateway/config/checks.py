"""What a value in config.toml may be: types for the fields of sections, each with its check in plain words.

Pydantic checks types, ranges and unknown keys; the checks that need words of their own are the small functions
at the top, each ends in `wrong(what, cure)`. Paths arrive absolute: they count from the folder of the config
file.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

ONLY = ConfigDict(extra="forbid")
"""Of every section: a key that it does not know is a mistake."""

_HL7_PLACE = re.compile(r"[A-Z][A-Z0-9]{2}-[1-9][0-9]?(\.[1-9][0-9]?){0,2}")


def wrong(what: str, cure: str) -> PydanticCustomError:
    """The exception that a check raises: what is wrong and what to do, each a sentence."""
    return PydanticCustomError("labgateway", "{what}", {"what": what, "cure": cure})


def _absolute(value: object, info: ValidationInfo) -> Path:
    """A path as text, counted from the folder of the config file; a mapping's from the folder of mappings.

    Both folders come in the context of the check, as ``base`` and ``mappings``.
    """
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise wrong("must be a path.", 'Write it in quotes, such as "data".')
    folders: dict[str, Path] = info.context or {}
    return folders.get("mappings" if info.field_name == "mapping" else "base", Path()) / value


def _device(value: object, info: ValidationInfo) -> str:
    if isinstance(value, str) and "://" in value:
        if not re.fullmatch(r"rfc2217://[^\s/:@?]+:[0-9]{1,5}", value):
            cure = (
                'Write "rfc2217://10.20.0.40:4001"; a converter that passes bytes as they are is a line of kind "tcp".'
            )
            raise wrong("is no address of a converter.", cure)
        return value
    return str(_absolute(value, info))


def _stop_bits(value: float) -> float:
    if value not in (1, 1.5, 2):
        raise wrong("is not possible.", "Write 1, 1.5 or 2.")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        cure = 'Write a name of the IANA list, such as "Asia/Ho_Chi_Minh"; if it is one, install the package tzdata.'
        raise wrong("is no time zone that this machine knows.", cure) from None
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        cure = "Mend it, or leave it empty to take every id; in single quotes '...' a backslash stands for itself."
        raise wrong(f"is no regular expression: {error}.", cure) from None
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        cure = 'Write a network such as "10.20.0.0/24", or one address such as "10.20.0.31".'
        raise wrong("is no network.", cure) from None


def _host(value: str) -> str:
    if not value or "/" in value or any(c.isspace() or not c.isprintable() for c in value):
        cure = 'Write a name or an address alone, such as "10.20.0.31"; the port has its own key.'
        raise wrong("is no host.", cure)
    return value


def _hl7_place(value: str) -> str:
    if not _HL7_PLACE.fullmatch(value):
        cure = 'Write SEGMENT-FIELD or SEGMENT-FIELD.COMPONENT, such as "SPM-2.1".'
        raise wrong("is no place in an HL7 message.", cure)
    return value


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise wrong("must be an address and a port.", 'Write both, such as "127.0.0.1:8080".')
    return value


def _web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
        cure = 'Write it whole and without a password, such as "https://emr.example/fhir".'
        raise wrong("is no web address.", cure)
    return value


def _database(value: str) -> str:
    if not re.match(r"(sqlite|postgresql)(\+[a-z0-9]+)?://", value):
        cure = 'Write "sqlite:///data/labgateway.db" or "postgresql+psycopg://user@host/labgateway".'
        raise wrong("must be the address of an SQLite or PostgreSQL database.", cure)
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


File = Annotated[Path, BeforeValidator(_absolute)]
Files = tuple[File, ...]
Device = Annotated[str, BeforeValidator(_device)]
"""Absolute path of a serial port, or the URL of a converter."""
StopBits = Annotated[float, Field(strict=True), AfterValidator(_stop_bits)]
Text = Annotated[str, Field(min_length=1)]
Texts = tuple[Text, ...]
YesNo = Annotated[bool, Field(strict=True)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
"""Of a listener; 0 lets the system choose a free one (tests)."""
RemotePort = Annotated[int, Field(strict=True, ge=1, le=65535)]
Networks = tuple[Annotated[str, AfterValidator(_network)], ...]
Connections = Annotated[int, Field(strict=True, ge=1, le=64)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86400, allow_inf_nan=False)]
Hours = Annotated[float, Field(strict=True, ge=0, le=87600, allow_inf_nan=False)]
Place = Annotated[str, AfterValidator(_hl7_place)]
Places = Annotated[tuple[Place, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Database = Annotated[str, AfterValidator(_database)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
Regex = Annotated[str, AfterValidator(_regex)]
Address = Annotated[str, AfterValidator(_address)]
