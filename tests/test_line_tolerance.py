"""What a driver declares of a line that does not keep to the standard: it works there, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from labgateway.captures import read_wire
from labgateway.cli.decode_command import library
from labgateway.instruments.driver import load
from labgateway.protocols.astm_frames import ACK, ENQ, EOT, NAK, frame
from labgateway.protocols.astm_rules import Checksums, Framing, LinkRules, Numbers
from labgateway.transports.memory import Scheduler
from tests.delivery.emr import Emr
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import seen
from tests.line_kit import Journal, line, message, taped

TEXT = message(7, results=2)
BARE = b"\x021" + TEXT + b"\x03\r\n"
TOLERANT = {
    "no checksum": (LinkRules(checksums=Checksums.OPTIONAL), [ENQ, BARE, EOT]),
    "no number, no checksum": (
        LinkRules(checksums=Checksums.OPTIONAL, numbers=Numbers.ABSENT), [ENQ, b"\x02" + TEXT + b"\x03\r\n", EOT],
    ),
    "tokens": (LinkRules(framing=Framing.TOKENS), [ENQ, b"\x02", TEXT + b"\x03", EOT]),
    "records at once": (LinkRules(framing=Framing.RECORDS), [TEXT]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLERANT)
def test_each_tolerance_is_its_drivers_only(name: str) -> None:
    """With its rules the message is kept whole and acknowledged; with the standard's nothing is."""
    for rules in (TOLERANT[name][0], LinkRules()):
        scheduler = Scheduler()
        journal = Journal(scheduler)
        _, tape = taped(scheduler, line(scheduler, journal, link_rules=rules))
        for piece in TOLERANT[name][1]:
            tape.channel.send(piece)
            scheduler.run_for(1)
        kept = [data for data in journal.complete() if TEXT in data]
        assert len(kept) == (rules is TOLERANT[name][0])
        if rules is not TOLERANT[name][0]:
            assert tape.heard.replace(ENQ, b"").count(ACK) <= 1  # of the enquiry


@pytest.mark.parametrize("rules", [None, LinkRules(checksums=Checksums.OPTIONAL)])
def test_what_is_safe_for_all_needs_no_declaring(rules: LinkRules | None) -> None:
    """Lower-case digits, ETB on every frame, no LF, ENQ and EOT with nothing between; a damaged one is refused."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, link_rules=rules))
    records = [record + b"\r" for record in TEXT.split(b"\r") if record]
    pieces = [ENQ, EOT, ENQ]
    for number, record in enumerate(records, 1):
        one = frame(number, record, last=number == len(records))
        pieces.append(one[:-4] + one[-4:-2].lower() + b"\r")
    damaged = pieces[-2].replace(b"R|2", b"R|8")
    pieces[-2:-1] = [damaged, pieces[-2]]
    answers = b""
    for piece in [*pieces, EOT]:
        tape.channel.send(piece)
        scheduler.run_for(1)
    answers = tape.heard
    assert answers == ACK * 2 + ACK * (len(records) - 2) + NAK + ACK * 2
    assert len(journal.complete()) == 1
    assert b"R|8" not in journal.complete()[0]


def test_records_at_once_are_kept() -> None:
    """Two messages without a frame: the first ends with L, of the second the cable is pulled inside a value."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    cable, tape = taped(scheduler, line(scheduler, journal, link_rules=LinkRules(framing=Framing.RECORDS)))
    tape.channel.send(TEXT + TEXT[: TEXT.index(b"R|2") + 12])
    scheduler.run_for(1)
    cable.tear()
    scheduler.run_for(1)
    assert [data.startswith(TEXT) for data in journal.complete()] == [True]
    assert [(row.complete, row.data.count(b"R|")) for row in journal.incomplete()] == [(False, 2)]
    assert tape.heard == b""


def test_messages_without_l_are_whole_at_the_end_of_the_session() -> None:
    """Declared: each frame is kept before it is acknowledged, and EOT makes the message whole."""
    text = TEXT.removesuffix(b"L|1|N\r")
    for end, whole in (("every_frame", 1), ("L", 0)):
        scheduler = Scheduler()
        journal = Journal(scheduler)
        _, tape = taped(scheduler, line(scheduler, journal, message_end=end))
        for piece in (ENQ, frame(1, text), EOT):
            tape.channel.send(piece)
            scheduler.run_for(1)
        scheduler.run_for(30)
        assert len(journal.complete()) == whole
        assert len(journal.incomplete()) == 1 - whole


KEYS = """schema = 1
title = "T"
maker = "M"
codes = "open"
sources = ["s"]
protocol = "astm"
[line]
{line}
[where]
specimen = "O-3"
code = "R-3.4"
value = "R-4"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('checksum = "none"', "required, optional"),
        ('framing = "bare"', "frames, tokens, records"),
        ('numbers = "any"', "strict, loose, absent"),
        ('end = "EOT"', "L, session"),
        ('replies = [{ when = "(", say = "x" }]', "no regular expression"),
        (r"replies = [{ when = '^R', say = '\g<id>' }]", "cannot be said"),
        ("replies = [{ when = '^R' }]", "must be a text"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, words: str) -> None:
    """A slip in [line] is a complaint with what may stand there."""
    from labgateway.errors import ComplaintsError

    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "driver.toml").write_text(KEYS.format(line=text), encoding="utf-8")
    with pytest.raises(ComplaintsError) as raised:
        load(folder)
    assert words in str(raised.value)


async def test_a_maglumi_through_the_running_gateway(tmp_path: Path) -> None:
    """Its own transcript, token by token: every answer as there; its result arrives, and its query is answered likewise."""
    driver = library().drivers["snibe_maglumi"]
    path = sorted((driver.folder / "captures").glob("*.wire"))[0]
    assert b"\x02" in read_wire(path.read_bytes()).sent()
    port = free_port()
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "m.toml").write_text(
        'instrument = "m"\nchecked = "test"\n[tests]\n"FT4 II" = { emr = "FT4" }\n', encoding="utf-8"
    )
    async with Emr() as emr:
        text = (
            '[matching]\nwithout_order = "send"\n[instrument.m]\ndriver = "snibe_maglumi"\nmapping = "m.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
            f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr.port}\n'
        )
        with Gateway(tmp_path, text) as gateway:

            def talk() -> bytes:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as analyzer:
                    for way, data in read_wire(path.read_bytes()).lines:
                        if way.value == "<":
                            analyzer.sendall(data)
                        else:
                            assert analyzer.recv(1) == data
                    # "No order" for what it asked about, in its own form.
                    heard = b""
                    for answer in (ENQ, b"\x02"):
                        assert analyzer.recv(1) == answer
                        analyzer.sendall(ACK)
                    while not heard.endswith(b"\x03"):
                        heard += analyzer.recv(4096)
                    analyzer.sendall(ACK)
                    assert analyzer.recv(1) == EOT
                    return heard

            heard = await asyncio.to_thread(talk)
            assert heard.startswith(b"H|") and heard.endswith(b"\r\x03")
            await seen(emr, 1)
            assert [one.value for one in emr.charts.values()] == ["1.33"]
            assert not gateway.events("line.defect")
