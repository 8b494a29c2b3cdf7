"""Mask files: reading them as classes of pixels, finding them, writing them."""
