"""The EMR: reads ORU^R01 by splitting, with nothing of labgateway's; keeps what it was told, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One OBX as it arrived."""

    id: str
    control_id: str
    specimen: str
    patient: str
    born: str
    placer: str
    code: str
    value: str
    unit: str
    letter: str


@dataclass
class Chart:
    """What the EMR holds. bodies: by MSH-10; entries: in order of arrival, a repeated message once."""

    bodies: dict[str, bytes] = field(default_factory=dict[str, bytes])
    entries: list[Entry] = field(default_factory=list[Entry])

    def take(self, body: bytes) -> str:
        """Take a message; returns its MSH-10. A repeat must be the same to the byte."""
        segments = [line.split("|") for line in body.decode("utf-8").split("\r") if line]
        header = segments[0]
        assert header[0] == "MSH"
        assert header[8] == "ORU^R01^ORU_R01"
        control_id = header[9]
        if control_id in self.bodies:
            assert self.bodies[control_id] == body, "E2: the same id with other bytes"
            return control_id
        self.bodies[control_id] = body
        patient = born = placer = specimen = ""
        group: list[list[str]] = []
        for row in [*segments[1:], ["ORC"]]:
            match row[0]:
                case "PID":
                    patient, born = row[3].split("^")[0], row[7] if len(row) > 7 else ""
                case "ORC":
                    self._close(group, control_id, (patient, born), placer, specimen)
                    group, specimen = [], ""
                case "OBR":
                    placer = row[2].split("^")[0]
                case "OBX":
                    group.append(row)
                case "SPM":
                    specimen = row[2].split("^")[0].split("&")[0]
                case _:
                    pass
        return control_id

    def _close(
        self, group: list[list[str]], control_id: str, patient: tuple[str, str], placer: str, specimen: str
    ) -> None:
        for short in group:
            row = short + [""] * (22 - len(short))
            self.entries.append(
                Entry(row[21].split("^")[0], control_id, specimen, *patient, placer, row[3].split("^")[0], row[5],
                      row[6].split("^")[0], row[11])
            )  # fmt: skip
