"""Rewrites the expected results beside every driver's captures: ``make bless``. Never bless what you have not read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from labgateway.captures import read_capture
from labgateway.cli.decode_command import as_object, shipped_drivers
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import FILE, Driver, load


def expected_text(driver: Driver, capture: Path) -> str:
    """What the driver says of a capture now, as the text of its expected file: one object a line."""
    objects = [
        as_object(result, said)
        for message in read_capture(capture.read_bytes(), protocol=driver.protocol)
        for said in [decode(driver, message)]
        for result in said.results
    ]
    lines = [json.dumps({k: v for k, v in o.items() if k != "driver"}, ensure_ascii=False) for o in objects]
    return "[\n" + ",\n".join(f"  {line}" for line in lines) + "\n]\n" if lines else "[]\n"


def captures_of(folder: Path) -> list[Path]:
    """The captures of a driver's folder, whatever their kind."""
    return sorted(p for p in (folder / "captures").glob("*") if p.suffix != ".json")


def expected_file(capture: Path) -> Path:
    """Where the expected results of a capture stand."""
    return capture.with_name(f"{capture.stem}.expected.json")


def main(names: list[str]) -> int:
    """Rewrite the files of the named drivers, or of all; says what changed."""
    for file in sorted(shipped_drivers().glob(f"*/{FILE}")):
        if names and file.parent.name not in names:
            continue
        driver = load(file.parent)
        for capture in captures_of(file.parent):
            target = expected_file(capture)
            text = expected_text(driver, capture)
            if not target.is_file() or target.read_text() != text:
                target.write_text(text)
                print(f"rewritten: {target.relative_to(shipped_drivers().parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
