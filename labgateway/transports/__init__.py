"""Bytes to and from one instrument: TCP, serial, folder, memory. Knows no protocol."""
