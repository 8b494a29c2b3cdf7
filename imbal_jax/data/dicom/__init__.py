"""Reads DICOM files: opening within limits, decoding, grey scale."""
