"""The closed list of what a row about one observation may hold, for tables, files and documents; and table 4's fields.

Words only: ``config`` checks columns against them, ``delivery.flat`` fills them.
"""

from __future__ import annotations

FIELDS: dict[str, str] = {
    "id": "our id of the observation, 20 characters, unique for ever: by it a receiver drops a repeat (OBX-21)",
    "replaces": "id of the observation that this one corrects or takes back",
    "message": "our id of the message, the same on every resend (MSH-10)",
    "site": "[gateway] name",
    "facility": "[gateway] facility",
    "specimen": "specimen id (SPM-2)",
    "specimen_type": "specimen type, its code (SPM-4.1)",
    "patient_id": "the order's patient (PID-3.1), without orders the analyzer's",
    "patient_name": "name in one line (PID-5)",
    "birth_date": "as ordered, YYYYMMDD (PID-7)",
    "sex": "as ordered (PID-8)",
    "ward": "PV1-3.1",
    "placer": "number that the EMR gave the order (OBR-2.1)",
    "filler": "OBR-3.1",
    "order_code": "the test or panel that was ordered (OBR-4.1)",
    "code": "the EMR's code of this test (OBX-3.1)",
    "name": "its name in the mapping",
    "loinc": "its LOINC code in the mapping",
    "moh": "its index code of the Ministry of Health in the mapping",
    "value": "the value, exactly as it is to be read (OBX-5); none when it was withheld or is taken back (X, D, W)",
    "unit": "its unit (OBX-6)",
    "range": "reference range (OBX-7): the laboratory's where it declares some, else the analyzer's; none when the unit was converted",
    "flags": "the analyzer's flags (OBX-8), high and low by the laboratory's ranges where `range_flags` says so; parted by blanks",
    "letter": "P preliminary, F final, C corrected, X no result, D deleted, W wrong (OBX-11)",
    "comments": "comments of the analyzer, and notes of the mapping's rules, a line each",
    "original_value": "what was measured, where a declared factor changed it",
    "original_unit": "its unit then",
    "collected_at": "when the specimen was collected, as ordered",
    "measured_at": "when the analyzer measured, by its clock",
    "received_at": "when we received it",
    "released_at": "when it was released to leave",
    "instrument": "name of the instrument in config.toml",
    "model": "its driver",
    "serial": "its serial number, where it says one",
    "operator": "who worked at the analyzer",
    "run": "run or repeat number, where the analyzer says one",
}
"""Every field that a table, file or document may ask for, and what it holds."""

TIMES = frozenset({"collected_at", "measured_at", "received_at", "released_at"})

FIRST_ID = "first_id"
"""Of a table in which a correction takes the place of what it corrects: id of the first version, which the row keeps."""
EARLIER = "earlier"
"""In messages for such a table, in no column: ids of all versions before, oldest first, parted by blanks."""

TABLE_4: dict[str, int | None] = {
    "MA_LK": 100,
    "STT": 10,
    "MA_DICH_VU": 15,
    "MA_CHI_SO": 50,
    "TEN_CHI_SO": 255,
    "GIA_TRI": 50,
    "DON_VI_DO": 50,
    "MO_TA": None,
    "KET_LUAN": None,
    "NGAY_KQ": 12,
    "MA_BS_DOC_KQ": 255,
    "DU_PHONG": None,
}
"""The fields in their order, each with the most bytes it may have; None: no limit."""
TABLE_4_KNOWN = {
    "MA_CHI_SO": "moh",
    "TEN_CHI_SO": "name",
    "GIA_TRI": "value",
    "DON_VI_DO": "unit",
    "NGAY_KQ": "released_at",
}
"""Which field of ours each holds unless it is declared otherwise. STT is counted; the others are the site's to say."""
TABLE_4_MUST = ("MA_LK", "MA_DICH_VU")
"""No order says for sure where these stand: the config must."""
