"""DICOM files to pictures: opening with limits, decoding, grey scale."""
