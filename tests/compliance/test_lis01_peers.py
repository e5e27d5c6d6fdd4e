"""An independent implementation of E1381-95 as judge: labmcp-astm-lis (Apache-2.0), its simulator and its receiver.

It is of the test extra; where it is not installed, these tests do not run.
"""

from __future__ import annotations

import queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols.astm_frames import MAX_TEXT_E1381, frames, unframe
from labgateway.protocols.astm_link import Closed, Link, Sent
from labgateway.protocols.astm_records import read_records
from tests.protocols.astm_kit import ENQ, EOT, Line

driver = pytest.importorskip("labmcp_astm_lis.driver")
simulator = pytest.importorskip("labmcp_astm_lis.simulator")

records = st.lists(st.text("ABHLOPQR0123456789|^\\&. ä", min_size=1, max_size=600), min_size=1, max_size=12)


@given(records)
def test_the_same_frames(texts: list[str]) -> None:
    """Both build the same bytes from the same records, cut at 240 and counted modulo 8."""
    message = b"".join(text.encode("latin-1") + b"\r" for text in texts)
    theirs: list[bytes] = []
    for text in texts:
        theirs += driver.build_frames(text, len(theirs) + 1)
    assert list(frames(message, size=MAX_TEXT_E1381)) == theirs


@given(records)
def test_their_receiver_takes_what_our_sender_sends(texts: list[str]) -> None:
    """Session by session, record by record."""
    got: list[str] = []
    ended: list[bool] = []
    peer = driver.E1381Receiver(got.append, ended.append)
    link = Link()
    link.start(frames(b"".join(text.encode("latin-1") + b"\r" for text in texts), size=MAX_TEXT_E1381), 0.0)
    while out := link.bytes_to_send():
        if out == ENQ:
            link.feed(peer.on_enq(), 0.0)
        elif out == EOT:
            peer.on_eot()
        else:
            link.feed(peer.on_frame(out), 0.0)
    assert link.next_event() == Sent()
    assert got == texts
    assert ended == [True]


def test_our_receiver_takes_what_their_analyzer_sends() -> None:
    """Two messages, one record of two frames, one frame damaged on its first way: whole, and each thing once."""
    incoming: queue.Queue[bytes] = queue.Queue()
    messages = simulator.default_messages()
    analyzer = simulator.ASTMAnalyzerSimulator(messages, gap_s=0.01)
    line = Line()
    analyzer.attach(incoming.put)
    try:
        while line.events.count(Closed()) < len(messages):
            data = incoming.get(timeout=10)
            while answer := line.feed(data):
                data = analyzer.handle_bytes(answer)
    finally:
        analyzer.stop()
    assert analyzer.messages_sent == 2
    assert analyzer.naks_received == 1
    texts = unframe(b"".join(event.raw for event in line.events if isinstance(event, tuple))).messages
    assert [[row.delimiters.field.join(row.fields) for row in read_records(t.decode())] for t in texts] == messages
