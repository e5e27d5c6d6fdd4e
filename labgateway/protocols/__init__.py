"""Bytes and time in, events and bytes out. No sockets, no clock, no log."""
