"""Where images, labels and patients come from."""
