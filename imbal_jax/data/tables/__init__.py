"""Label tables and lists of files: rows, cells, columns, patients, given splits."""
