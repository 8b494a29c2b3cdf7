"""The report of a suite: one HTML page, one Markdown page, and the figures as SVG files.

Everything in it is computed from the lines of the ledger. The pages load nothing from anywhere.
"""

from imbal_jax.suite.report.write import figure_names, write, write_figure

__all__ = ["figure_names", "write", "write_figure"]
