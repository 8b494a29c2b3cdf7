"""Where images and labels come from: folders, public sets, phantoms, tensorflow-datasets."""
