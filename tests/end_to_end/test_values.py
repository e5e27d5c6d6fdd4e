"""What a mapping file says about values, through the running gateway: a rule, a range, a computed value, a control."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.delivery.emr import Emr
from tests.end_to_end.test_first_light import MAPPING, Site, oml, seen, send_astm, send_hl7, states, xn

VALUES = (
    MAPPING.replace('"PLT"]', '"PLT", "RATIO"]').replace(
        'PLT = { emr = "PLT" }', 'PLT = { emr = "PLT", unit = "10*9/L", times = 1, limits = [100, 400] }'
    )
    + """
[ranges]
HGB = { from = "18y", low = 130, high = 175 }
[computed]
RATIO = { emr = "RATIO", formula = "PLT / WBC", unit = "1", decimals = 1 }
[control]
"LYPHO-1" = { lot = "44231", level = "1" }
"""
)


async def test_a_rule_a_range_a_computed_value_and_a_control(tmp_path: Path) -> None:
    """Held with the rule's words; released by a person, and the value that was computed of it follows; QC stays here."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        (tmp_path / "mappings" / "xn1.toml").write_text(VALUES, encoding="utf-8")
        with site.gateway as gateway:
            await asyncio.to_thread(send_hl7, site.orders, oml("S1001"))
            await asyncio.to_thread(send_astm, site.xn, xn("LYPHO-1"), xn("S1001", plt="521"))
            await states(gateway, held=1)
            shown = (await asyncio.to_thread(gateway.run, "parked", "--json")).stdout
            (item,) = [one for one in map(json.loads, shown.splitlines()) if one["reason"] == "OUT_OF_LIMITS"]
            assert "limits 100 to 400" in json.dumps(item)
            release = ("--version", str(item["version"]), "--by", "Hoa", "--because", "checked")
            await asyncio.to_thread(gateway.run, "parked", "release", item["id"], *release)
            await seen(emr, 4)
            told = [(one.code, one.value) for one in emr.charts.values()]
            assert told[2:] == [("PLT", "521"), ("RATIO", "100.0")]
            bodies = b"".join(one.raw for one in emr.received).decode()
            assert "|130-175|" in bodies and "RATIO = PLT / WBC" in bodies
            (series, *_) = json.loads((await asyncio.to_thread(gateway.run, "qc", "xn1", "--json")).stdout)
            assert (series["lot"], series["n"]) == ("44231", 1)
            assert "LYPHO" not in bodies
            assert not emr.complaints
