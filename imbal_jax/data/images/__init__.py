"""Picture files and one geometry for training and serving."""
