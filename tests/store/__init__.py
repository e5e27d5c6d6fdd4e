"""The store under faults: what is acknowledged is on disk, and nothing succeeds behind a broken one."""
