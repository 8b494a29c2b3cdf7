"""Sources of data sets: public sets, phantoms, tensorflow-datasets."""
