"""Deliveries to destinations: how a report is written, sent, answered, retried and parked."""
