"""What config.toml may say: one frozen dataclass a section, every key with its default (DESIGN 5.1).

The types of the fields, with what they check, stand in checks.py, lines in lines.py, the destinations in destinations.py. Secrets
stand in files of their own, named by keys that end in ``_file``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from labgateway.config.checks import (
    ONLY,
    Address,
    Database,
    File,
    Files,
    Hours,
    Regex,
    Text,
    Texts,
    TimeZone,
    YesNo,
    wrong,
)
from labgateway.config.destinations import DestinationSection
from labgateway.config.lines import LineSection, TcpLine, TcpListenLine
from labgateway.config.orders import OrdersSection
from labgateway.errors import Complaint, ComplaintsError

SecondIds = tuple[Literal["patient", "birth_date", "sex", "name"], ...]
CheckDigit = Literal["", "luhn", "mod11", "iso7064-11-2", "iso7064-37-2", "iso7064-97-10", "isbt128"]


def _time_of_day(value: str) -> str:
    if value and not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", value):
        raise wrong("is no time of day.", 'Write hours and minutes, such as "03:30", or "" for never.')
    return value


def _keep_days(value: int) -> int:
    if value and not 30 <= value <= 36500:
        cure = (
            "Write 0 to keep everything, or at least 30 days; how long results must be kept is said by law, not by us."
        )
        raise wrong("is too short or too long.", cure)
    return value


@dataclass(frozen=True, slots=True, config=ONLY)
class Gateway:
    """[gateway]: who we are, and where our files are. name: MSH-3, facility: MSH-4 of what we send.

    daily_at: when, by the site's clock, destinations are compared with what they were sent and old rows are taken out; "" never.
    two_persons: a changed mapping file is accepted by two different people. sensitive: EMR tests that a
    destination may leave out, or be the only one to get.
    """

    name: Annotated[str, Field(min_length=1, max_length=180)] = "LABGATEWAY"
    facility: Annotated[str, Field(max_length=180)] = ""
    timezone: TimeZone = "Asia/Ho_Chi_Minh"
    data: File = Field(default="data", validate_default=True)
    mappings: File = Field(default="mappings", validate_default=True)
    drivers: Files = Field(default=("drivers",), validate_default=True)
    two_persons: YesNo = False
    daily_at: Annotated[str, AfterValidator(_time_of_day)] = "03:30"
    sensitive: Texts = ()


@dataclass(frozen=True, slots=True, config=ONLY)
class Store:
    """[store]. url: None until `load` has put the SQLite file in [gateway] data there.

    keep_days: what is done with is taken out after so many days; 0: never.
    """

    url: Database | None = Field(default=None, repr=False)
    password_file: File | None = None
    keep_days: Annotated[int, AfterValidator(_keep_days)] = 0


@dataclass(frozen=True, slots=True, config=ONLY)
class Matching:
    """[matching]. Hours may be fractions. specimen_pattern: "" takes every id; check_digit: "" checks none."""

    window_h: Hours = 72
    wait_h: Hours = 240
    alarm_h: Hours = 24
    without_order: Literal["wait", "send"] = "wait"
    not_ordered: Literal["hold", "leave_out", "send"] = "hold"
    second_ids: SecondIds = ("patient", "birth_date", "sex")
    specimen_pattern: Regex = ""
    check_digit: CheckDigit = ""


@dataclass(frozen=True, slots=True, config=ONLY)
class Instrument:
    """[instrument.NAME]. mapping: absolute, inside [gateway] mappings unless written absolute.

    orders: whether it gets its orders from us; "driver": as the driver says. orders_line: a second connection on which an
    HL7 instrument wants them, None: they go on the first. second_ids: instead of those in [matching],
    None: those.
    """

    driver: Text
    mapping: File
    line: LineSection
    release: Literal["auto", "manual"] = "auto"
    orders: Literal["driver", "off", "asked", "unasked"] = "driver"
    orders_line: TcpListenLine | TcpLine | None = None
    second_ids: SecondIds | None = None


@dataclass(frozen=True, slots=True, config=ONLY)
class Console:
    """[console]: absent, no console."""

    listen: Address = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True, config=ONLY)
class Nodes:
    """[nodes]: absent, this gateway is alone on its store. name: of this node. lease_s: silent for so long, it is lost."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
    lease_s: Annotated[float, Field(ge=8, le=300, allow_inf_nan=False)] = 15


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config.toml that has no mistake.

    file: absolute. version: SHA-256 (hex) over the text of config.toml and of every mapping and template file
    it names, so that one version stands for one way of treating a message. Names keep the order of the file.
    """

    file: Path
    version: str
    gateway: Gateway
    store: Store
    matching: Matching
    instruments: dict[str, Instrument]
    orders: dict[str, OrdersSection]
    destinations: dict[str, DestinationSection]
    console: Console | None
    nodes: Nodes | None = None

    @property
    def store_url(self) -> str:
        """The database address, the password of [store] password_file filled in. Never log it.

        Raises ComplaintsError when that file cannot be read.
        """
        url = self.store.url or ""
        if self.store.password_file is None:
            return url
        try:
            password = self.store.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            cure = "Put a readable file there that holds the password and nothing else."
            name = str(self.store.password_file)
            raise ComplaintsError([Complaint(name, None, "store.password_file", "cannot be read.", cure)]) from None
        return re.sub(r"://([^:@/]*)(:[^@/]*)?@", lambda m: f"://{m[1]}:{quote(password, safe='')}@", url, count=1)
