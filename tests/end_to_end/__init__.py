"""Real processes over loopback TCP: analyzers, the gateway, an EMR."""
