"""When certificates end. Read from PEM files by the few lines of DER that it takes; checks nothing else of them.

Certificate ::= SEQUENCE { TBSCertificate ::= SEQUENCE { [0] version OPTIONAL, serialNumber, signature, issuer,
                           validity ::= SEQUENCE { notBefore, notAfter }, ... } ... }         RFC 5280, 4.1
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

WARN_BEFORE = timedelta(days=30)

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


@dataclass(frozen=True, slots=True)
class Ending:
    """A file whose certificate ends soon, or has ended: the earliest of those in it. at: aware UTC."""

    path: Path
    at: datetime

    def words(self, now: datetime) -> str:
        """For a person."""
        days = (self.at - now).days
        when = f"ends in {days} day{'' if days == 1 else 's'}" if self.at > now else "has ended"
        return (
            f"The certificate in {self.path} {when} ({self.at:%Y-%m-%d}). Put a renewed file there; it counts at once."
        )


def ending(files: Iterable[Path], now: datetime) -> list[Ending]:
    """Which files hold a certificate that ends within WARN_BEFORE. What cannot be read is passed over: TLS itself says it."""
    found: list[Ending] = []
    for path in files:
        try:
            ends = [
                not_after(ssl.PEM_cert_to_DER_cert(pem)) for pem in _PEM.findall(path.read_text("ascii", "replace"))
            ]
        except (OSError, ValueError, IndexError):
            continue
        if ends and min(ends) - now < WARN_BEFORE:
            found.append(Ending(path, min(ends)))
    return found


def not_after(der: bytes) -> datetime:
    """The end of a certificate's validity, aware UTC. Raises ValueError or IndexError for what is no certificate."""
    certificate = _inside(der, 0)[0]
    at, end = _inside(der, certificate)
    if der[at] == _VERSION:
        at = _inside(der, at)[1]
    for _ in range(3):  # serial number, signature, issuer
        at = _inside(der, at)[1]
    if at >= end or der[at] != _SEQUENCE:
        raise ValueError("no certificate")
    not_before = _inside(der, at)[0]
    at = _inside(der, not_before)[1]
    start, end = _inside(der, at)
    text = der[start:end].decode("ascii")
    if der[at] == _UTC_TIME:  # YYMMDDHHMMSSZ, 1950 to 2049
        text = ("20" if text[:2] < "50" else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at ``at`` begins and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[start : start + size]), start + size
    if start + length > len(der):
        raise ValueError("cut off")
    return start, start + length
