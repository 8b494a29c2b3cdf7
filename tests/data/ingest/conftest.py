"""The marked hospital, for every test of the ingest."""

from marked_hospitals import hospital

__all__ = ["hospital"]
