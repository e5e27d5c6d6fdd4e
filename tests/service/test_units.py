"""The systemd files are ones that systemd takes, and as closed as we say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@needs_systemd
def test_the_unit_verifies(tmp_path: Path) -> None:
    """systemd-analyze verify finds nothing, with the program where the unit says it is."""
    unit = (UNITS / "labgateway.service").read_text()
    program = tmp_path / "labgateway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "labgateway.service").write_text(unit.replace("/opt/labgateway/bin/labgateway", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "labgateway.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "labgateway.service" not in done.stderr, done.stderr


@needs_systemd
def test_the_sandbox_stays_closed() -> None:
    """The exposure score stays at or below 1.5 of 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(UNITS / "labgateway.service")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_COLORS": "0"},
    )
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze knows no offline security check")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_unit_says_what_the_service_needs() -> None:
    """Type=notify with a watchdog, restart, its own state directory, serial lines."""
    unit = (UNITS / "labgateway.service").read_text()
    for line in ("Type=notify", "WatchdogSec=", "Restart=always", "StateDirectory=labgateway", "dialout"):
        assert line in unit
