"""The one place where the parts meet: config -> Gateway. Starts no task of its own; who runs it hands in ``spawn``."""

from labgateway.gateway.gateway import Gateway

__all__ = ["Gateway"]
