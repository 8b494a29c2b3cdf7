"""report.html: the results of a run in one file, for clinicians and engineers.

The file loads nothing from anywhere: styles, plots (SVG) and thumbnails are inside it. It names no
patient, file or folder.
"""

from imbal_jax.report.page import write_report
from imbal_jax.report.result import RunResult, Saliency

__all__ = ["RunResult", "Saliency", "write_report"]
