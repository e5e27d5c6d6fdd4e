"""What is wrong with a line, or with an installation: facts in, findings out, in words for the person who can mend it.

    bytes and events --observe--> Facts --diagnose--> Finding(what, why, do), the most likely cause first

Pure: who gathers the facts (the command line, the control socket) is elsewhere. A finding never quotes a message.
"""

from labgateway.doctor.facts import Facts, Heard, Observed
from labgateway.doctor.findings import Finding, Severity
from labgateway.doctor.host import HostFacts, examine
from labgateway.doctor.line import diagnose
from labgateway.doctor.observing import observe
from labgateway.doctor.serial_try import Setting, best, score

__all__ = [
    "Facts",
    "Finding",
    "Heard",
    "HostFacts",
    "Observed",
    "Setting",
    "Severity",
    "best",
    "diagnose",
    "examine",
    "observe",
    "score",
]
