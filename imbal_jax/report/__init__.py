"""report.html: what a run found and missed, for a clinician and for an engineer, in one file.

The file loads nothing from anywhere: styles, plots (SVG) and thumbnails are inside it. It names no
patient, file or folder.
"""

from imbal_jax.report.page import write_report
from imbal_jax.report.result import RunResult, Saliency

__all__ = ["RunResult", "Saliency", "write_report"]
