"""Splits by patient, and draws at a chosen imbalance."""
