"""Folders of image files with a table of labels: listing, reading, patients, copies."""
