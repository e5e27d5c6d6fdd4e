"""The stimuli of the robustness table, at which the open-source peers were tried: all answered right here.

Each stimulus is a list of (bytes, what must be answered). They run as written, and again byte by byte. Number 21
is not in the table; here it is the keep-alive, an ENQ with nothing but EOT behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from labgateway.protocols.astm_frames import frame
from labgateway.protocols.astm_link import Frame, Opened
from tests.protocols.astm_kit import ACK, ENQ, EOT, NAK, QUERY, Line

H, P, ORDER, R, L = (
    b"H|\\^&|||Example Haem 3\r",
    b"P|1\r",
    b"O|1|S-17||^^^HGB\r",
    b"R|1|^^^^HGB^1|13.4|g/dL\r",
    b"L|1|N\r",
)
ALL = [H, P, ORDER, R, L]
WHOLE = [frame(n, record) for n, record in enumerate(ALL, 1)]
NORMAL = [(ENQ, ACK), *((piece, ACK) for piece in WHOLE), (EOT, b"")]
LONG = b"M|1|" + b"x" * 32_000 + b"\r"


@dataclass(frozen=True)
class Stimulus:
    """What is sent and what must come back; the texts that must be handed out, session by session."""

    steps: list[tuple[bytes, bytes]]
    sessions: list[list[bytes]] = field(default_factory=lambda: [ALL])
    settle: float = 0.0
    """Seconds of silence behind each step."""


STIMULI = {
    "01 normal": Stimulus(NORMAL),
    "02 frame split in two segments": Stimulus(
        [(ENQ, ACK), *[step for piece in WHOLE for step in ((piece[:7], b""), (piece[7:], ACK))], (EOT, b"")]),
    "03 byte at a time": Stimulus(NORMAL),
    "04 ENQ and frame in one segment": Stimulus([(ENQ + WHOLE[0], ACK + ACK), *((p, ACK) for p in WHOLE[1:]), (EOT, b"")]),
    "05 whole session in one segment": Stimulus([(ENQ + b"".join(WHOLE) + EOT, ACK * 6)]),
    "06 EOT and ENQ in one segment": Stimulus([*NORMAL[:-1], (EOT + ENQ, ACK), *NORMAL[1:]], [ALL] * 2),
    "07 lower-case checksum": Stimulus([(ENQ, ACK), *((p[:-4] + p[-4:].lower(), ACK) for p in WHOLE), (EOT, b"")]),
    "08 no checksum": Stimulus([(ENQ, ACK), (WHOLE[0][:-4] + b"\r\n", NAK), (EOT, b"")], [[]]),
    "09 bad checksum, then again": Stimulus(
        [*NORMAL[:4], (WHOLE[3].replace(b"13.4", b"19.4"), NAK), *NORMAL[4:]]),
    "10 repeated frame": Stimulus([*NORMAL[:5], NORMAL[4], *NORMAL[5:]]),
    "11 skipped frame number": Stimulus([*NORMAL[:2], (WHOLE[2], NAK), *NORMAL[2:]]),
    "12 record split by ETB": Stimulus(
        [(ENQ, ACK), (frame(1, H), ACK), (frame(2, R[:9], last=False), ACK), (frame(3, R[9:]), ACK), (EOT, b"")],
        [[H, R[:9], R[9:]]]),
    "13 all records in one frame": Stimulus([(ENQ, ACK), (frame(1, b"".join(ALL)), ACK), (EOT, b"")], [[b"".join(ALL)]]),
    "14 32 kB frame": Stimulus([(ENQ, ACK), (frame(1, H), ACK), (frame(2, LONG), ACK), (EOT, b"")], [[H, LONG]]),
    "15 cut in the middle, then anew": Stimulus([*NORMAL[:3], (EOT, b""), *NORMAL], [[H, P], ALL]),
    "16 ENQ in a session": Stimulus([*NORMAL[:3], *NORMAL], [[H, P], ALL], settle=0.4),
    "17 frame numbers wrap": Stimulus(
        [(ENQ, ACK), *((frame(n, b"R|%d\r" % n), ACK) for n in range(1, 20)), (EOT, b"")],
        [[b"R|%d\r" % n for n in range(1, 20)]]),
    "18 frame ends with CR and no LF": Stimulus([(ENQ, ACK), *((p[:-1], ACK) for p in WHOLE), (EOT, b"")]),
    "18 frame ends with LF and no CR": Stimulus([(ENQ, ACK), *((p[:-2] + b"\n", ACK) for p in WHOLE), (EOT, b"")]),
    "18 frame ends with its checksum": Stimulus([(ENQ, ACK), *((p[:-2], ACK) for p in WHOLE), (EOT, b"")]),
    "19 bare records": Stimulus([(b"".join(ALL), b""), *NORMAL], settle=1.1),
    "20 bare records in a session": Stimulus([(ENQ, ACK), (b"".join(ALL), b""), (EOT, b""), *NORMAL], [[], ALL]),
    "21 keep-alive": Stimulus([(ENQ, ACK), (EOT, b""), (ENQ + EOT, ACK), *NORMAL], [[], [], ALL]),
    "22 stray EOT first": Stimulus([(EOT, b""), *NORMAL]),
    "23 stray ACK first": Stimulus([(ACK, b""), (NAK, b""), *NORMAL]),
    "24 host query": Stimulus([(ENQ, ACK), (frame(1, QUERY), ACK), (EOT, b"")], [[QUERY]]),
}  # fmt: skip


def _run(stimulus: Stimulus, *, bytewise: bool) -> Line:
    line = Line()
    for data, answer in stimulus.steps:
        pieces = [data[at : at + 1] for at in range(len(data))] if bytewise else [data]
        got = b"".join(line.exchange(*pieces)) + (line.wait(stimulus.settle) if stimulus.settle else b"")
        assert got == answer, data[:40]
    return line


@pytest.mark.parametrize("bytewise", [False, True], ids=["as written", "byte by byte"])
@pytest.mark.parametrize("name", STIMULI)
def test_stimulus(name: str, bytewise: bool) -> None:
    """The right answers, the right frames, no session merged into another, and the next session works."""
    stimulus = STIMULI[name]
    line = _run(stimulus, bytewise=bytewise)
    sessions: list[list[bytes]] = []
    for event in line.events:
        match event:
            case Opened():
                sessions.append([])
            case Frame():
                sessions[-1].append(event.text)
            case _:
                pass
    assert sessions == stimulus.sessions
    line.wait(2)
    assert line.exchange(*(data for data, _ in NORMAL)) == [answer for _, answer in NORMAL]
