"""Reads picture files, and fits pictures to the square arrays of a geometry."""
