"""What one destination wants otherwise in an ORU^R01, and what each version of HL7 has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OruOptions:
    """What one destination wants otherwise.

    status: ``as_sent``, or ``P``: everything that carries a value leaves as preliminary (X, D and W stay).
    structured: SN for ``<5``, ``>=10``, ``1:128``. attachments: send them as OBX of type ED.
    receiving_application, receiving_facility: MSH-5 and MSH-6. version: a key of FORMS. accept, application: MSH-15
    and MSH-16, table 0155; both empty is the original mode.
    """

    status: str = "as_sent"
    structured: bool = False
    attachments: bool = False
    receiving_application: str = ""
    receiving_facility: str = ""
    version: str = "2.5.1"
    accept: str = ""
    application: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """What a version of HL7 has. message: MSH-9. spm: the segment. obx: the last field of OBX that we fill.

    bare_obx: OBX-2 and OBX-4 may be empty. wrong: W stands in table 0085. timing: ORC-7 and OBR-27 are required.
    """

    message: str = "ORU^R01^ORU_R01"
    spm: bool = True
    obx: int = 21
    bare_obx: bool = True
    wrong: bool = True
    timing: bool = False


FORMS = {
    "2.5.1": Form(),
    "2.5": Form(obx=19),
    "2.4": Form(obx=19, spm=False),
    "2.3.1": Form(obx=17, spm=False, bare_obx=False),
    "2.3": Form("ORU^R01", obx=17, spm=False, bare_obx=False, wrong=False, timing=True),
}

AS_USUAL = OruOptions()
