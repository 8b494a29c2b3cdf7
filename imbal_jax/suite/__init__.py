"""Benchmark suites: many runs, their ledger, what follows from them."""
