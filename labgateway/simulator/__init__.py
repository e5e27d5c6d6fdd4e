"""Plays an instrument: sends its messages as the analyzer would, and takes what the host sends back. For tests and demos.

    messages -> framing -> [fault] -> transport        ASTM: ENQ, frames, EOT, six tries, the whole message again
             <- answers <-           <-                HL7: one block, its acknowledgment awaited
                                                       raw: each transmission, the answer of its framing awaited
                                                       files: into a folder, whole at once

Works on any transport in either role, and on a cable in memory. Not a model of a device: it says what it is
given. A specimen is replaced in the records before they are framed, so every checksum is right.
"""

from labgateway.simulator.player import Player, play
from labgateway.simulator.script import FAULTS, MAX_TEXT, Fault, Script, Summary, with_specimen

__all__ = ["FAULTS", "MAX_TEXT", "Fault", "Player", "Script", "Summary", "play", "with_specimen"]
