"""A folder whose files harm the process that reads them; where worker processes can import it."""

import multiprocessing
import os
import signal
import time
from pathlib import PosixPath

from picture_folders import MARKER


class Trapped(PosixPath):
    """A folder in which looking at some names has consequences for the process that reads."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        about = super().stat(follow_symlinks=follow_symlinks)
        if multiprocessing.parent_process() is not None:
            if self.name == "deadly.dcm":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.name == "endless.dcm":
                time.sleep(60)
            if self.name == "odd.dcm":
                raise RuntimeError(f"{MARKER}, a text that nobody foresaw")
            if self.name == "once.dcm" and not (self.parent / "died").exists():
                (self.parent / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return about
