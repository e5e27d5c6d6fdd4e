"""Facts about a line to findings: a row for each, both languages filled, the cause that explains most first."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.doctor import Facts, Observed, Severity, diagnose
from labgateway.doctor.line_words import WORDS

LISTEN = Facts("xn1", "tcp-listen", "astm", "sysmex_xn", port=5101, allow=("10.20.0.31/32",), watched_s=30,
               trouble="waiting for the instrument to call")  # fmt: skip
TALKS = replace(LISTEN, connected=True, called=1, trouble="")
DIAL = Facts("c1", "tcp", "astm", "roche_cobas_classic", host="10.20.0.32", port=4000, watched_s=30)
SERIAL = Facts("u1", "serial", "astm", "sysmex_xp", device="/dev/ttyUSB0", setting="baud = 9600", watched_s=30)
GOOD = Observed(bytes_from=900, bytes_to=20, seems="astm", frames=9, enquiries=1, acks=10, messages=1, results=5,
                senders=("XN-550",), known_by=("sysmex_xn",))  # fmt: skip


def seen(base: Facts = TALKS, **more: object) -> Facts:
    return replace(base, observed=replace(GOOD, **more))  # type: ignore[arg-type]


CASES: list[tuple[str, Facts]] = [
    ("well", seen()),
    ("store_broken", replace(seen(), trouble="the store cannot be trusted any more; nothing is acknowledged")),
    ("port_shut", replace(LISTEN, trouble="port 5101 on 0.0.0.0 is in use by another program.")),
    ("nobody_calls", LISTEN),
    ("both_listen", replace(LISTEN, listens=True, host="10.20.0.31")),
    ("strangers", replace(LISTEN, turned_away=7, last_refused="line.stranger 10.20.0.99:4001")),
    ("occupied", replace(seen(), turned_away=2, last_refused="line.occupied 10.20.0.31:4002")),
    ("turned_away", replace(seen(), turned_away=2, last_refused="line.full 10.20.0.31:4002")),
    ("nobody_listens", replace(DIAL, trouble="cannot connect: nothing listens there")),
    ("both_call", replace(DIAL, trouble="cannot connect: nothing listens there", calls=True)),
    ("cannot_connect", replace(DIAL, trouble="cannot connect: no answer")),
    ("no_such_name", replace(DIAL, trouble="cannot connect: the name cannot be resolved")),
    ("serial_shut", replace(SERIAL, trouble="cannot open /dev/ttyUSB0: no permission; add the service's user to dialout")),
    ("folder_trouble", Facts("f", "folder", "table", "x", trouble="/srv is no folder")),
    ("serial_silent", SERIAL),
    ("connected_silent", TALKS),
    ("not_an_instrument", replace(TALKS, observed=Observed(bytes_from=200, seems="tls", garbage=0.5))),
    ("not_an_instrument", replace(TALKS, observed=Observed(bytes_from=200, seems="web"))),
    ("wrong_speed", replace(SERIAL, observed=Observed(bytes_from=80, garbage=0.6))),
    ("speed_found", replace(SERIAL, best="baud = 19200", best_fits=True, observed=Observed(bytes_from=80, garbage=0.6))),
    ("garbage", replace(TALKS, observed=Observed(bytes_from=80, garbage=0.6))),
    ("wrong_protocol", replace(TALKS, observed=Observed(bytes_from=300, seems="hl7", frames=1, messages=1))),
    ("wrong_protocol", replace(TALKS, protocol="hl7", observed=Observed(bytes_from=300, seems="astm", frames=3))),
    ("wrong_protocol", replace(TALKS, observed=Observed(bytes_from=300, seems="raw", frames=3))),
    ("no_checksums", seen(no_checksums=9, messages=0, acks=0)),
    ("bad_checksums", seen(bad_checksums=9, messages=0, naks=9, acks=1)),
    ("some_bad_checksums", seen(bad_checksums=2, frames=20)),
    ("nak_loop", seen(naks=6, acks=1)),
    ("nak_to_enq", seen(naks=6, acks=0, frames=0, messages=0, results=0, senders=())),
    ("contention", seen(contentions=4)),
    ("enq_only", seen(enquiries=4, frames=0, messages=0, results=0, senders=(), bytes_from=4)),
    ("ack_not_taken", seen(repeats=4)),
    ("all_parks", replace(seen(), parks="MAPPING_BROKEN: xn1.toml")),
    ("another_driver", seen(senders=("BC-5380",), sender_fits=False, known_by=("mindray_bc",))),
    ("sender_unknown", seen(senders=("ZZ-9",), sender_fits=False, known_by=())),
    ("no_specimen", seen(no_specimen=5)),
    ("encoding", seen(marked=1)),
    ("clock", seen(clock_s=-7 * 3600.0)),
    ("one_reason", replace(seen(), parked={"UNMAPPED": 9}, stored=10)),
    ("nothing_seen", Facts("f", "folder", "table", "x")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts"), CASES, ids=[f"{n}-{name}" for n, (name, _) in enumerate(CASES)])
def test_each_finding(name: str, facts: Facts) -> None:
    """The first finding is the one that explains it; its words are filled in both languages."""
    found = diagnose(facts)
    assert found[0].name == name, [one.name for one in found]
    for lang in ("en", "vi"):
        for words in found[0].said(lang):
            assert words and "{" not in words.replace('{ kind = "tcp', "")


def test_every_finding_has_a_case_and_words_that_fit() -> None:
    """No finding without a test; both languages name the same particulars."""
    assert {name for name, _ in CASES} == set(WORDS)
    for name, languages in WORDS.items():
        fields = [
            {f for text in languages[lang] for _, f, _, _ in string.Formatter().parse(text) if f}
            for lang in ("en", "vi")
        ]
        assert fields[0] == fields[1], name


def test_a_blocking_cause_stands_alone() -> None:
    """With the wrong protocol no word about specimens or checksums; refused callers are said with any cause."""
    hl7 = Observed(bytes_from=300, seems="hl7", no_specimen=3, results=3)
    facts = replace(TALKS, turned_away=3, last_refused="line.stranger 10.0.0.9:1", observed=hl7)
    assert [one.name for one in diagnose(facts)] == ["wrong_protocol"]
    both = replace(LISTEN, listens=True, host="10.20.0.31", turned_away=3, last_refused="line.stranger 10.0.0.9:1")
    assert [one.name for one in diagnose(both)] == ["both_listen", "strangers"]


def test_what_works_is_not_complained_about() -> None:
    """A few parked results, a clock two minutes off, one repeat, a quiet line that worked an hour ago: no bad finding."""
    facts = replace(seen(clock_s=120.0, repeats=1), parked={"UNMAPPED": 2, "NO_ORDER": 2}, stored=100)
    assert [one.name for one in diagnose(facts)] == ["well"]
    quiet = replace(TALKS, last_message_h=1.0)
    assert [one.severity for one in diagnose(quiet)] == [Severity.DOUBT]


@given(
    facts=st.builds(
        Facts,
        instrument=st.just("x"),
        kind=st.sampled_from(["tcp-listen", "tcp", "serial", "folder"]),
        protocol=st.sampled_from(["astm", "hl7", "bci"]),
        driver=st.just("d"),
        parked=st.dictionaries(st.sampled_from(["UNMAPPED", "NOPE"]), st.integers(0, 9)),
        observed=st.builds(
            Observed,
            garbage=st.floats(0, 1),
            seems=st.sampled_from(["", "astm", "hl7", "raw", "tls", "web", "text"]),
            clock_s=st.none() | st.floats(-1e7, 1e7),
        ),
    )
)
def test_whatever_the_facts_there_is_an_answer(facts: Facts) -> None:
    """Never nothing, never an error; words always fill."""
    found = diagnose(facts)
    assert found
    assert all(one.as_json(lang) for one in found for lang in ("en", "vi"))
