"""`labgateway emr`: the test EMR orders a tube and prints what comes; both over real sockets."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime

import pytest

from labgateway.cli import main
from labgateway.cli.emr_command import order_message
from labgateway.protocols import hl7, mllp

ORU = (
    b"MSH|^~\\&|LABGATEWAY|X|EMR|X|20261128||ORU^R01|7|P|2.5.1\rOBR|1\r"
    b"OBX|1|NM|WBC^Leukocytes^L||6.42|10*9/L||H|||F\rSPM|1|T1001\r"
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answer(port: int, message: bytes) -> bytes:
    for _ in range(200):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
                line.sendall(mllp.wrap(message))
                return line.recv(4096)
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    raise AssertionError("nobody listens")


def test_results_are_printed_and_answered(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(main(["emr", "--port", str(port), "--results", "1"])))
    thread.start()
    assert b"MSA|AA|7" in answer(port, ORU)
    thread.join(10)
    assert ended == [0]
    assert "T1001            WBC^Leukocytes                           6.42 10*9/L H F" in capsys.readouterr().out


def test_its_orders_are_orders() -> None:
    message = order_message("T1001", ["CBC"], "", 1, datetime(2026, 11, 28, tzinfo=UTC))
    rows = hl7.read(message).rows
    assert [row.name for row in rows] == ["MSH", "PID", "ORC", "OBR", "SPM"]
    assert rows[-1].value(2, 1) == "T1001"


def test_without_a_gateway_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emr", "--port", str(free_port()), "--to", str(free_port()), "--order", "T1:CBC"]) == 1
    assert "No gateway takes orders on port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["emr", "--order", "T1"])
