"""Labels tables: cells, columns, rows, patients, splits."""
