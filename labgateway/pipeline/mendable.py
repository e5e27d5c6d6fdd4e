"""Why a result may be held, by what can cure it."""

from __future__ import annotations

from labgateway.errors import Reason

BY_RULE = frozenset({Reason.FLAG_HOLDS, Reason.OUT_OF_LIMITS, Reason.CRITICAL, Reason.DELTA})
"""Held by a rule of the mapping file; a person may release it as it is."""
MENDABLE = frozenset(
    {
        Reason.CODE_UNKNOWN,
        Reason.UNIT_UNKNOWN,
        Reason.FLAG_UNKNOWN,
        Reason.STATUS_UNKNOWN,
        Reason.BAD_TIME,
        Reason.BAD_TEXT,
        Reason.NOT_A_RESULT,
        Reason.NO_SPECIMEN,
        Reason.SPECIMEN_UNREADABLE,
        Reason.UNMAPPED,
        Reason.UNIT_CHANGED,
        Reason.NOT_A_DECIMAL,
        Reason.TWO_READINGS,
        Reason.NOT_SANE,
        Reason.NOT_COMPUTED,
        Reason.CONTROL_OR_PATIENT,
        *BY_RULE,
        Reason.SEVERAL_TARGETS,
        Reason.MAPPING_BROKEN,
        Reason.DRIVER_BROKEN,
        Reason.NOT_A_PATIENT_ID,
    }
)
"""What a mended driver, mapping or config may cure: such results are read again by ``replay``."""
