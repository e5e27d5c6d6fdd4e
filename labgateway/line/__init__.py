"""One instrument's line: pump bytes, keep, and only then acknowledge. The one place where protocol and transport meet.

    transport --bytes--> conversation --machine--> frame, block --keep--> journal
              <--answer-------------------------------------- commit

Not the journal, not what a message means, and no policy of the site. A Line may hold several connections; each
has its own conversation, and nothing of one is ever joined with another's.

The one promise: what is acknowledged is on disk (DESIGN section 2, rule 1).
"""

from labgateway.line.arrival import Arrival, Control, Keep, Kept, Stats, Told
from labgateway.line.line import Line

__all__ = ["Arrival", "Control", "Keep", "Kept", "Line", "Stats", "Told"]
