"""The load: ASTM sessions of 40 frames with 36 results, one record a frame, as analyzers send them.

Every message has a specimen id and values of its own, so that a lost, doubled or exchanged result shows.
"""

from __future__ import annotations

CODES = [f"T{n:02d}" for n in range(36)]
RESULTS = len(CODES)
FRAMES = RESULTS + 4


def frame(number: int, text: bytes) -> bytes:
    """One LIS01-A2 frame ended by ETX."""
    body = b"%d%b\r\x03" % (number % 8, text)
    return b"\x02" + body + b"%02X\r\n" % (sum(body) & 0xFF)


def value_of(specimen: int, test: int) -> str:
    """The value that test has on that specimen: unique over all specimens of a run."""
    return f"{specimen}.{test:02d}"


def specimen_id(number: int) -> str:
    """Eight digits behind a letter."""
    return f"B{number:08d}"


HALF = RESULTS // 2


def half_of(number: int) -> range:
    """The tests of a message of ``astm-halves``: message 2n has the first half of specimen n, 2n + 1 the second."""
    return range(HALF) if number % 2 == 0 else range(HALF, RESULTS)


def session(number: int, tests: range = range(RESULTS)) -> list[bytes]:
    """What the analyzer sends, one item for each answer it waits for: ENQ, 40 frames; EOT is sent unanswered."""
    records = [
        b"H|\\^&|||BENCH-1^1.0^77|||||||P|LIS2-A2|20261122081500",
        b"P|1",
        b"O|1|" + specimen_id(number).encode() + b"||^^^ALL|R||||||N||||||||||||||F",
    ]
    records += [
        f"R|{at}|^^^{CODES[n]}|{value_of(number, n)}|mmol/L||N||F||||20261122081500".encode()
        for at, n in enumerate(tests, 1)
    ]
    records.append(b"L|1|N")
    return [b"\x05", *(frame(n + 1, record) for n, record in enumerate(records))]


OBX = 30


def oru(number: int) -> bytes:
    """One HL7 ORU^R01 with 30 results in its MLLP block."""
    segments = [
        f"MSH|^~\\&|BENCH|LAB|||20261122081500||ORU^R01|{number}|P|2.3.1||||||UNICODE",
        "PID|1",
        f"OBR|1||{specimen_id(number)}|ALL|||20261122081500",
    ]
    segments += [f"OBX|{n + 1}|NM|{CODES[n]}||{value_of(number, n)}|mmol/L||N|||F" for n in range(OBX)]
    return b"\x0b" + ("\r".join(segments) + "\r").encode() + b"\x1c\r"
