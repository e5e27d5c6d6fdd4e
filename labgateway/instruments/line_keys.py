"""[line] of a driver.toml: how its instruments are connected and what they say on the line."""

from __future__ import annotations

import re
from typing import get_args

from labgateway.instruments import text
from labgateway.instruments.keys import Table
from labgateway.instruments.place_keys import read_pattern
from labgateway.instruments.spec import (
    KINDS,
    Flow,
    LineSettings,
    Parity,
    Reply,
    Serial,
)


def read_line(table: Table) -> LineSettings:
    """The settings of a [line] table, defaults where it says nothing; what is wrong goes to its complaints."""
    kinds = table.texts("kinds")
    for kind in kinds:
        if kind not in KINDS:
            table.wrong("kinds", f'"{kind}" is no kind of line.', f"Use some of: {', '.join(KINDS)}.")
    serial = table.table("serial")
    settings = Serial(
        baud=_baud(serial),
        bits=int(serial.number("bits", 8, (5, 6, 7, 8))),
        parity=serial.choice("parity", get_args(Parity), "none"),
        stop=serial.number("stop", 1, (1, 1.5, 2)),
        flow=serial.choice("flow", get_args(Flow), "none"),
    )
    serial.done()
    encoding = table.text("encoding") or None
    if encoding and not text.is_known(encoding):
        known = f"utf-8, latin-1, {', '.join(text.OWN)}"
        table.wrong("encoding", f'"{encoding}" is not known.', f"Use {known}, or another that Python knows.")
    queries = table.flag("queries", default=False)
    replies = tuple(reply for each in table.tables("replies") if (reply := _reply(each)))
    found = LineSettings(
        kinds or LineSettings().kinds,
        settings,
        queries,
        encoding,
        replies,
        checksum=table.choice("checksum", ("required", "optional"), "required"),
        numbers=table.choice("numbers", ("strict", "loose", "absent"), "strict"),
        framing=table.choice("framing", ("frames", "tokens", "records"), "frames"),
        silence_s=table.number("silence_s", 2),
        acks_eot=table.flag("acks_eot", default=False),
        end=table.choice("end", ("L", "session"), "L"),
    )
    table.done()
    return found


def _baud(serial: Table) -> int:
    """As config.toml takes it: whole, 50 to 4 000 000."""
    said = serial.peek("baud")
    found = serial.number("baud", 9600)
    if found == said and (isinstance(found, float) or not 50 <= found <= 4_000_000):
        serial.wrong("baud", f"{found} is not possible.", "Write a whole number from 50 to 4000000, such as 9600.")
    return int(found)


def _reply(table: Table) -> Reply | None:
    when = read_pattern(table, "when", table.take("when"))
    say = table.take("say")
    if not isinstance(say, str) or not say:
        table.wrong("say", "must be a text.", 'Write what is said, such as say = "SE".')
    elif when is not None:
        try:
            # Without any text every group is empty: a wrong template is found before it is needed.
            if found := re.compile(f"{when.pattern}|").match(""):
                found.expand(say).encode("latin-1")
        except (re.error, IndexError, UnicodeEncodeError) as error:
            table.wrong("say", f"cannot be said: {error}.", r"Write Latin-1; \g<name> stands for a group of `when`.")
    table.done()
    return Reply(when, say) if when is not None and isinstance(say, str) else None
