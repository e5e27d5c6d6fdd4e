"""When certificates end, read by our few lines of DER and judged by a library that knows all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from labgateway.transports.certificates import ending, not_after

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2101])
def test_the_end_is_read_in_both_forms_of_time(year: int) -> None:
    """Up to 2049 the year has two digits, from 2050 on four; RSA and the rest do not matter."""
    end = datetime(year, 3, 1, 12, 30, 5, tzinfo=UTC)
    leaf = trustme.CA().issue_cert("emr.example", not_after=end)
    pem = leaf.cert_chain_pems[0].bytes()
    found = x509.load_pem_x509_certificate(pem)
    assert found.not_valid_after_utc == end
    assert not_after(found.public_bytes(Encoding.DER)) == end


def test_thirty_days_before(tmp_path: Path) -> None:
    """31 days: nothing. 29: said, in words that name the file. Over: said. No certificate: passed over."""
    authority = trustme.CA()
    for name, days in (("late", 31), ("soon", 29), ("gone", -1)):
        leaf = authority.issue_cert(
            "emr.example", not_before=NOW - timedelta(days=400), not_after=NOW + timedelta(days=days)
        )
        (tmp_path / name).write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    (tmp_path / "key").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    files = [tmp_path / name for name in ("late", "soon", "gone", "key", "missing")]
    found = ending(files, NOW)
    assert [one.path.name for one in found] == ["soon", "gone"]
    assert "ends in 29 days (2026-12-21)" in found[0].words(NOW)
    assert "has ended" in found[1].words(NOW)
