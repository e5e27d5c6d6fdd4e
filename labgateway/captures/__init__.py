"""Captures: what went over a wire, as raw bytes or as a readable transcript (``*.wire``); and the same without people."""

from labgateway.captures.transcripts import (
    Capture,
    CaptureError,
    Way,
    Wire,
    is_wire,
    open_capture,
    read_capture,
    read_wire,
    wire_of,
    write_wire,
)

__all__ = [
    "Capture",
    "CaptureError",
    "Way",
    "Wire",
    "is_wire",
    "open_capture",
    "read_capture",
    "read_wire",
    "wire_of",
    "write_wire",
]
