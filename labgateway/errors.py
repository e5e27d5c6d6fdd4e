"""What can go wrong, in words for the person who can mend it.

Imports nothing of ours. A ``Reason`` says why something waits for a person: what happened and what
to do; both stand on the status page and in ``labgateway parked`` exactly as written here.
No text here, and no ``detail`` that goes with it, may hold patient data: codes, units, field
positions and ids of our own only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique


@unique
class Reason(Enum):
    """Why a result, a transmission or a delivery is parked: what happened, and what to do."""

    # The transmission as a whole
    INCOMPLETE = (
        "The line broke before the message ended.",
        "Nothing to do if the instrument sends it again; otherwise send the specimen again from the instrument.",
    )
    UNREADABLE = (
        "The message cannot be read in the form that its driver declares.",
        "Look at it with `labgateway decode`; mend the driver or the instrument's host settings, then replay.",
    )
    UNKNOWN_SENDER = (
        "The sender is not the instrument that is configured on this line.",
        "Check the cabling and the address; if the sender is right, add it to the driver's [recognise].",
    )
    DRIVER_BROKEN = (
        "The driver of this instrument has mistakes.",
        "Run `labgateway check`, mend what it names, then replay.",
    )
    MAPPING_BROKEN = (
        "The mapping file of this instrument has mistakes.",
        "Run `labgateway check`, mend what it names, then replay.",
    )
    DEFECT = (
        "labgateway itself failed on this message; that is a defect of labgateway, not yours.",
        "Keep the message, report it to the developers with its number; replay after the next version.",
    )
    ORDER_REFUSED = (
        "The instrument refused or cancelled the order.",
        "Look at the instrument; the specimen has no result from it.",
    )
    NOT_ASKED = (
        "The instrument asked for its work, and an order could not be told to it.",
        "Correct the order or the mapping as the detail says, then let the instrument ask again.",
    )

    # What the instrument said
    NO_SPECIMEN = (
        "The result came without a specimen id.",
        "Read the barcode at the instrument and send again, or type the result by hand.",
    )
    SPECIMEN_UNREADABLE = (
        "The instrument could not read the barcode of this specimen.",
        "Check the label and run the specimen again.",
    )
    CODE_UNKNOWN = (
        "The instrument sent a test code that its driver does not declare.",
        "Add the code and its unit to the driver, and a line to the mapping; then replay.",
    )
    UNIT_UNKNOWN = (
        "The instrument sent a unit that its driver does not declare for this test.",
        "Set the instrument back, or change driver and mapping together; then replay.",
    )
    FLAG_UNKNOWN = (
        "The instrument sent a flag that its driver does not declare.",
        "Look it up in the instrument's manual, add it to [words] of the driver, then replay.",
    )
    STATUS_UNKNOWN = (
        "The instrument sent a result status that its driver does not declare.",
        "Look it up in the instrument's manual, add it to [words] of the driver, then replay.",
    )
    BAD_TIME = (
        "The time of the result is not a possible date and time.",
        "Set the instrument's clock, then send the specimen again.",
    )
    BAD_TEXT = (
        "The message holds bytes that its declared encoding does not know.",
        "Set [line] encoding of the driver to what the instrument sends, then replay.",
    )
    NOT_A_RESULT = (
        "The row is neither a result nor anything else that the driver declares.",
        "Add it to [[rows]] of the driver, then replay.",
    )

    # What the mapping says
    UNMAPPED = (
        "No line of the mapping file answers this test code.",
        "Add a line under [tests], or name it under [leave_out] with the reason; it then flows by itself.",
    )
    UNIT_CHANGED = (
        "The unit differs from the one that the mapping file declares.",
        "Set the instrument back, or correct `comes` and `times` in the mapping; then retry.",
    )
    NOT_A_DECIMAL = (
        "The value is no plain number, so the declared factor cannot be applied.",
        "Read it in the message and decide; a text value needs a mapping line without `times`.",
    )
    TWO_READINGS = (
        "The number can be read in two ways: its comma or point may be decimal or part thousands.",
        "Look at the instrument; set `decimal_comma` in the mapping, or release the result as it stands, or reject it.",
    )
    NOT_SANE = (
        "The value lies outside the limits `sane` of the mapping file.",
        "Check the specimen; release the result if it is true, reject it if it is not.",
    )
    FLAG_HOLDS = (
        "The instrument marked the result with a flag that the mapping file holds.",
        "Look at the specimen and the instrument; release the result if it is right, repeat or reject it if it is not.",
    )
    OUT_OF_LIMITS = (
        "The value lies outside the limits within which results go out by themselves.",
        "Hold it against the specimen and the patient; release it if it is right, reject it if it is not.",
    )
    CRITICAL = (
        "The value is critical, and the mapping file wants a person to see it first.",
        "Check it, tell the ward at once, and release it.",
    )
    DELTA = (
        "The value is further from the patient's other value than the mapping file allows.",
        "Check that tube and patient belong together; release the result if it is true, reject it if it is not.",
    )
    CONTROL_OR_PATIENT = (
        "By its form this specimen id is control material (mapping file or driver), and the EMR has an order for it.",
        "Correct [control] of the mapping file (or driver), or the order; a corrected file lets the result flow by itself.",
    )
    NOT_COMPUTED = (
        "A computed value was ordered, and what it is computed from does not allow it.",
        "Look at the results it needs, as the detail says; it is computed by itself as soon as they allow it.",
    )
    SEVERAL_TARGETS = (
        "The mapping offers several EMR tests for this code and not exactly one of them was ordered.",
        "Correct the order in the EMR, or release the result to the right test.",
    )

    # Matching to orders
    NO_ORDER = (
        "No order with this specimen id came within the waiting time.",
        "Order the test in the EMR for this specimen, or reject the result.",
    )
    AMBIGUOUS_ORDER = (
        "More than one order could be meant.",
        "Correct the orders in the EMR, or release the result to the right one.",
    )
    IDENTITY_CONFLICT = (
        "The instrument and the order name different patients.",
        "Check tube, label and order side by side; release only what you have proved, reject the rest.",
    )
    NOT_A_PATIENT_ID = (
        "The specimen id does not have the form of a patient's specimen on this site.",
        "Read the barcode and send again; if the id is right, correct `specimen_pattern` in config.toml.",
    )
    NOT_ORDERED = (
        "The test was measured, but nobody ordered it on this specimen.",
        "Add the test to the order in the EMR, or reject the result.",
    )
    ORDER_CANCELLED = (
        "The order was cancelled in the EMR.",
        "Order it again if the result is wanted, or reject the result.",
    )
    ORDER_CHANGED = (
        "The order was changed to another patient after the result was matched.",
        "Check tube and order side by side, then release or reject.",
    )
    MANUAL_RELEASE = (
        "This instrument is set to be released by a person.",
        "Look at the result and release or reject it.",
    )
    RERUN_DIFFERS = (
        "The same test of the same specimen came again with another value.",
        "Release the one that is right; the other one is kept.",
    )
    OTHER_INSTRUMENT = (
        "Another instrument has already reported this test of this specimen.",
        "Release the one that is right; the other one is kept.",
    )
    OTHER_TUBE = (
        "Another tube of the same order has already answered this test.",
        "Release the one that is right: take back or reject the other one first.",
    )
    STATUS_REGRESSION = (
        "The result claims an earlier status than the one that was already reported.",
        "Look at both; release only if the instrument is right.",
    )

    VALUE_WITHHELD = (
        "The instrument withholds a value that it has already reported.",
        "If the reported value stands, reject this one; if it does not, correct or retract it.",
    )
    EARLIER_HELD = (
        "An earlier result of the same test of this specimen is still held.",
        "Compare the two; release the one that is right and reject the other one.",
    )
    REJECTED_BEFORE = (
        "The same result was rejected by a person before.",
        "Release it if it is a new measurement that is right; otherwise reject it again.",
    )
    MAYBE_REPEATED = (
        "The same test of this specimen id came again, and nothing proves that it is the same tube.",
        "Look at the tube: release the result if it belongs to another specimen, reject it if it is a repeat.",
    )
    READ_OTHERWISE = (
        "Read again, this row of the message says another test or specimen than what was sent or decided of it before.",
        "Look at the message with `labgateway decode`: release this if it is right, and take back what was wrong.",
    )

    # Delivery
    REFUSED = (
        "The destination refused the message.",
        "Read its answer, correct the cause there or in the mapping, then retry.",
    )

    NOT_THERE = (
        "The destination took a result and does not hold it (any more).",
        "Ask whoever keeps it why; `labgateway resend` sends the delivery again; then dismiss this.",
    )
    DIFFERS_THERE = (
        "The destination holds something else than it was sent.",
        "Compare both, correct it there, then dismiss this; where it is right again, the next comparison closes it.",
    )

    @property
    def what(self) -> str:
        """What happened, one sentence."""
        return self.value[0]

    @property
    def cure(self) -> str:
        """What a person should do, one sentence."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason with the particulars of one case.

    detail: which code, unit, field or line; never patient data. Empty when the reason says it all.
    """

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        """One line: NAME: what (detail)."""
        return f"{self.reason.name}: {self.reason.what}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One mistake in a file that a person wrote: where, what, and the cure.

    line: counted from 1; None when the mistake has no line (a missing file, a missing key).
    """

    file: str
    line: int | None
    key: str
    what: str
    cure: str

    def __str__(self) -> str:
        """``file:line: key: what`` and the cure indented below."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} {self.what}\n  {self.cure}"


class LabgatewayError(Exception):
    """Whatever we raise on purpose."""


class ComplaintsError(LabgatewayError):
    """A file cannot be used; holds every complaint at once."""

    def __init__(self, complaints: list[Complaint]) -> None:
        super().__init__("\n".join(str(c) for c in complaints))
        self.complaints = complaints


class StoreError(LabgatewayError):
    """The store could not take or give something; nothing was acknowledged for it."""


class StoreFullError(StoreError):
    """The disk is full: refuse and let the instrument offer the message again."""


class StoreBusyError(StoreError):
    """The store is locked by someone else or takes too long: refuse for now."""


class StoreBrokenError(StoreError):
    """An fsync or other I/O error: this process must not acknowledge anything any more and must end.

    SQLite's next commit after a failed fsync succeeds as if nothing had happened, so only a new
    process that reads the disk again can be trusted.
    """


class NodeLostError(StoreBrokenError):
    """Another node has taken over what this one served: it must not write or send any more, and must end."""
