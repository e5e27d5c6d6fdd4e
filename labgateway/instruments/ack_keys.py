"""[ack] of driver.toml to AckProfile: how the instrument wants to be acknowledged (HL7). The keys stand in docs/drivers.md."""

from __future__ import annotations

from labgateway.instruments.keys import Table
from labgateway.protocols.hl7 import STANDARD_ACK, AckMode, AckProfile, Wanted

ECHO = "echo"


def read_ack(table: Table) -> AckProfile:
    """What the file does not say is as HL7 2.5.1 has it."""
    usual = STANDARD_ACK
    profile = AckProfile(
        mode=AckMode(table.choice("mode", tuple(AckMode), usual.mode)),
        wanted=Wanted(table.choice("wanted", tuple(Wanted), usual.wanted)),
        kind=table.text("kind", usual.kind),
        version=table.text("version") or None,
        sender=_pair(table, "sender"),
        receiver=_pair(table, "receiver"),
        accept_text=table.text("text"),
        msa6=table.text("msa6"),
        msh15=_or_echo(table, "msh15"),
        msh16=_or_echo(table, "msh16"),
        msh21=_or_echo(table, "msh21"),
        echo_control_id=table.flag("echo_control_id", default=False),
        err_zero=table.flag("err_zero", default=False),
        charset=table.text("msh18") or None,
        final_cr=table.flag("final_cr", default=True),
        offset=table.flag("offset", default=False),
        commit_block=table.flag("commit_block", default=False),
    )
    table.done()
    return profile


def _or_echo(table: Table, key: str) -> str | None:
    said = table.text(key)
    return None if said == ECHO else said


def _pair(table: Table, key: str) -> tuple[str, str] | None:
    """Application and facility; None: the instrument's own, turned round."""
    if not table.has(key):
        return None
    said = table.texts(key, blank=True)
    if len(said) != 2:
        table.wrong(key, "must be application and facility.", f'Write {key} = ["LIS", ""].')
        return None
    return said[0], said[1]
