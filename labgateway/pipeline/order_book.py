"""Orders from the EMR: stored, answered, and what waited for them judged again, in one transaction."""

from __future__ import annotations
