"""Data sets stored as array_record files, with their index and checksums."""
