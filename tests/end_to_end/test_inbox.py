"""An unknown code through the running gateway: it waits, is seen in the inbox, accepted, and flows in its order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.delivery.emr import Emr
from tests.end_to_end.test_first_light import MAPPING, Site, seen, send_astm, xn

UNKNOWN = MAPPING.replace('PLT = { emr = "PLT" }\n', "").replace(', "PLT"]', "]")


async def test_an_unknown_code_from_its_first_result_to_the_emr(tmp_path: Path) -> None:
    """Nobody's results are lost or changed; what the draft says is in use only when somebody has signed it."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        live = tmp_path / "mappings" / "xn1.toml"
        live.write_text(UNKNOWN, encoding="utf-8")
        with site.gateway as gateway:
            for specimen, plt in (("SB001", "250"), ("SB002", "251"), ("SB003", "252")):
                await asyncio.to_thread(send_astm, site.xn, xn(specimen, plt=plt))
            await seen(emr, 6)

            def command(*words: str) -> str:
                return gateway.run("mapping", *words).stdout

            (entry,) = json.loads(await asyncio.to_thread(command, "inbox", "xn1", "--json"))
            assert (entry["key"], entry["waiting"], entry["reason"]) == ("PLT", 3, "UNMAPPED")
            assert "SB00" not in json.dumps(entry) and "250" not in json.dumps(entry)
            shown = await asyncio.to_thread(command, "inbox")
            assert "PLT: 3 results wait since" in shown and 'PLT = { emr = "?"' in shown
            draft = tmp_path / "mappings" / "xn1.draft.toml"
            await asyncio.to_thread(command, "inbox", "accept", "xn1", "PLT")
            assert "is not decided yet" in await asyncio.to_thread(command, "check", str(draft))
            draft.unlink()
            await asyncio.to_thread(command, "inbox", "accept", "xn1", "PLT", "--emr", "PLATELETS")
            # What the XN can send besides stands in no line of this small file: that is all that is wrong.
            checked = await asyncio.to_thread(command, "check", str(draft))
            assert "1 mistake (" in checked and "can also send" in checked
            assert "reported as PLATELETS" in await asyncio.to_thread(command, "diff", "xn1")
            assert live.read_text(encoding="utf-8") == UNKNOWN
            await asyncio.to_thread(
                command, "accept", "xn1", "--by", "Hoa", "--against", "the screen", "--despite", "a test"
            )
            await seen(emr, 9)
            told = [one for one in emr.charts.values() if one.code == "PLATELETS"]
            assert [(one.specimen.split("^")[0], one.value) for one in told] == [
                ("SB001", "250"), ("SB002", "251"), ("SB003", "252"),
            ]  # fmt: skip
            assert json.loads(await asyncio.to_thread(command, "inbox", "xn1", "--json")) == []
