"""Fixtures of the ingest's tests: a hospital export, and one whose every text is marked."""

from hospitals import hospital
from marked_hospitals import hospital as marked_hospital

__all__ = ["hospital", "marked_hospital"]
