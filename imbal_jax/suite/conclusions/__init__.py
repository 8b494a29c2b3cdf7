"""What the lines of a ledger show: comparisons in a cell, over cells, by regime, and whether they can be believed."""
