"""Splits by patient, and draws that make classes rarer."""
