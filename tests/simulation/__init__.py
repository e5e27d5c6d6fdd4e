"""The gateway's own code from bytes to bytes, under a clock of our own, with crashes: against a model that knows the truth."""
