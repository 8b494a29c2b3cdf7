"""Limits on parsing a DICOM file: no more bytes than it has, no more elements than a radiograph has.

Elements and items are counted while they are read, before they become objects: an empty item takes 8 bytes in a file,
a thousandth of that in a deflated file, and 300 bytes in memory.
"""

import io
import zlib

from imbal_jax.data.images.refusal import READS_LIMIT

PIECE = 2**18  # bytes


class TooLargeError(Exception):
    """Too many elements. Raised inside pydicom's parser and caught in ``dicom_file``."""


class CutError(Exception):
    """A deflated file ends too early. Internal, like TooLargeError."""


class DeflatedError(Exception):
    """The rest of the file is deflated, and pydicom is about to inflate it at once. Internal, like TooLargeError."""


class BoundedFile(io.BufferedReader):
    """A stream that returns no more bytes than the file has, in at most READS_LIMIT reads.

    pydicom takes one to three reads for every element and item. spent: whether the limit was reached, since pydicom
    replaces some exceptions by others.
    """

    def __init__(self, raw: io.RawIOBase | io.BytesIO, length: int) -> None:
        super().__init__(raw, 2**16)
        self.length, self.reads, self.spent = length, 0, False

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise DeflatedError  # the one case in which pydicom asks for everything
        self.reads += 1
        if self.reads > READS_LIMIT:
            self.spent = True
            raise TooLargeError
        # Python allocates as many bytes as are asked for, and a damaged header asks for 4 GiB.
        return super().read(min(size, self.length))


def inflate(stream: io.BufferedIOBase, limit: int) -> bytes:
    """The rest of ``stream`` inflated in pieces, since its size is not known beforehand."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces, total = [], 0
    while not inflater.eof:
        piece = inflater.unconsumed_tail or stream.read1(PIECE)
        pieces.append(inflater.decompress(piece, PIECE))
        total += len(pieces[-1])
        if total > limit:
            raise TooLargeError
        if (
            not piece and not inflater.eof
        ):  # an empty piece flushes what the inflater holds back, which is little
            raise CutError
    return b"".join(pieces)
