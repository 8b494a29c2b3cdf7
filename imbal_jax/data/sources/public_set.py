"""The description of a public data set: its origin, licence and files, and how it is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry, Fit, Geometry
from imbal_jax.data.sources.download import fetch
from imbal_jax.errors import InputError

Split = dict[str, np.ndarray]
Loaded = tuple[Dataset, Split | None]
"""The data set, and the source's own split (name -> indices) where it is to be used."""


@dataclass(frozen=True)
class File:
    """A published file. md5, sha256: None where the source publishes no checksum."""

    name: str
    url: str
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Example:
    """One image [size, size, C] with its public names.

    labels: one class, 1 and 0 for each of many labels, or a mask [size, size].
    """

    id: str
    patient: str
    labels: list[int] | np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class Streamed:
    """A set that is read image by image, so that it need not fit in memory.

    split: ids -> the source's own split (name -> indices), or None.
    geometry: how the pictures become arrays.
    notes: lines to print, complete once all examples have been read.
    """

    classes: tuple[str, ...]
    examples: Iterator[Example]
    split: Callable[[Sequence[str]], Split | None]
    geometry: Geometry
    notes: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    read: (this set, folder, geometry, download) -> Loaded.
    read_stream: the same for a set larger than memory; it returns None where the set has to be read at once.
    placement: what to put into the folder by hand. files: what ``download`` fetches.
    prepared: SHA-256 of the condensed copies that published results were made with.
    """

    name: str
    read: Callable[["PublicSet", Path, AskedGeometry, bool], Loaded]
    homepage: str
    licence: str
    citation: str
    placement: str
    files: tuple[File, ...]
    prepared: Mapping[str, str] = field(default_factory=dict)
    read_stream: Callable[["PublicSet", Path, AskedGeometry, bool], Streamed | None] | None = None

    def load(self, folder: Path | None, asked: AskedGeometry, *, download: bool = False) -> Loaded:
        """The whole set. folder: None is refused. Raises InputError where the files are missing or damaged."""
        return self.read(self, self._given(folder), asked, download)

    def stream(self, folder: Path | None, asked: AskedGeometry, *, download: bool = False) -> Streamed | None:
        """The set image by image, or None where it has to be loaded at once."""
        if self.read_stream is None:
            return None
        return self.read_stream(self, self._given(folder), asked, download)

    def _given(self, folder: Path | None) -> Path:
        if folder is None:
            raise InputError(f"the folder of the {self.name} images is not given: {self.placement}")
        return Path(folder)

    def fetch(self, folder: Path, allowed: bool) -> None:
        """Download the files into ``folder``; InputError, saying what to place there, where that is not allowed."""
        if not allowed:
            raise InputError(f"no images in {folder}: {self.placement}, or turn download on")
        for file in self.files:
            fetch(file.url, folder / file.name, md5=file.md5, sha256=file.sha256)


def keeps_condensed(fit: Fit | None) -> bool:
    """Whether a condensed copy, which holds squeezed squares, has the fit that is asked for."""
    return fit in (None, "squeeze", "square")


def squeezed_note(condensed: Path) -> str:
    return f"{condensed.name} holds squeezed squares: --data.fit squeeze, for these and all later pictures"


def shrunk_note(condensed: Path) -> str:
    return (
        f"{condensed.name} was shrunk by its maker's filter: pictures that are scored later differ a little"
    )


def grey_notes(dropped: int) -> tuple[str, ...]:
    return (f"{dropped:,} colour pictures made grey: --data.channels 3 keeps them",) if dropped else ()
