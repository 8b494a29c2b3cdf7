"""One run on disk: its folder, its outputs, its deployment; evaluate, predict, export, compare."""
