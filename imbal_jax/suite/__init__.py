"""Suites of many runs: what is run, how it is measured, what follows."""
