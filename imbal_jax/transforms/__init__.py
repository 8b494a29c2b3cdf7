"""On-device image transforms: augmentation, mixing of images and labels, synthesis of features."""
