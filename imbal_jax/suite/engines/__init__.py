"""Engines run the addresses of a suite: local processes, or a Ray cluster."""
