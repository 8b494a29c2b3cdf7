"""Data sets: reading, labels, splits, records and feeding."""
