"""Packages of npm that judge what we send. Fetched once into a cache outside the tree; without npm the test is skipped."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def packages(*wanted: str) -> Path:
    """A folder whose node_modules holds these, each ``name@version``. Skips the test when they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed here")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir()) / "labgateway-tests-npm"
    folder = cache / hashlib.sha256(" ".join(sorted(wanted)).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
            done = subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", *wanted],
                cwd=folder, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            if done.returncode:
                pytest.skip(f"npm could not fetch {', '.join(wanted)}: {done.stderr.strip()[-200:]}")
            (folder / "installed").touch()
    return folder
