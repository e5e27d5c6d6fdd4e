"""A hospital's day with planted conflicts: what is sent, what must become of it, and the count of both."""
