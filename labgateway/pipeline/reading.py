"""What a message of an instrument says, and whether it is one of its own."""

from __future__ import annotations

from labgateway.errors import Problem, Reason
from labgateway.instruments.decode import decode
from labgateway.instruments.recognise import candidates
from labgateway.instruments.spec import Driver
from labgateway.model import Decoded
from labgateway.pipeline.rules import InstrumentRules, Rules


def read(raw: bytes, instrument: InstrumentRules, rules: Rules) -> Decoded:
    """What a message of this instrument says. A message that another driver knows as its own is not read."""
    driver = instrument.driver
    if isinstance(driver, Problem):
        return Decoded(None, problem=driver)
    decoded = decode(driver, raw)
    if decoded.problem is None and (other := _stranger(driver, decoded.sender, raw, rules)):
        return Decoded(driver.name, problem=Problem(Reason.UNKNOWN_SENDER, f"it is known to driver {other}"))
    return decoded


def _stranger(driver: Driver, sender: str, raw: bytes, rules: Rules) -> str | None:
    """The driver that knows this sender, when the line's own does not: the cables may be exchanged."""
    pattern = driver.recognise.sender
    if not sender or pattern is None or pattern.fullmatch(sender):
        return None
    known = [other.name for other in candidates(raw, rules.library)]
    return None if not known or driver.name in known else known[0]
