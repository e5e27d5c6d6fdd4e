"""Whose result is it, and which version: results to orders, identity, duplicates and corrections. Pure."""
