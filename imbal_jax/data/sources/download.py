"""Downloads a file once, complete and verified."""

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from imbal_jax.errors import InputError

BLOCK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte


def fetch(
    url: str,
    destination: Path,
    *,
    md5: str | None = None,
    sha256: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download ``url`` to ``destination``, unless it is there already; return ``destination``.

    md5, sha256: hexadecimal checksums that the file must have, new or already there.
    progress: called with the bytes so far and the bytes in all (0 where the server does not say).

    The file appears under its name only when it is complete and verified. Raises InputError, naming the
    remedy, for a wrong checksum, an incomplete transfer, or an unreachable address.
    """
    destination = Path(destination)
    if destination.exists():
        _verify(destination, f"{destination} (remove it to download it again)", md5, sha256)
        return destination
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder of {destination}: {error}") from error
    try:
        with partial.open("wb") as out:
            _transfer(url, out, progress)
        _verify(partial, f"what {url} sent", md5, sha256)
        partial.replace(destination)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error) or type(error).__name__
        raise InputError(
            f"cannot download {url} ({reason}): place the file by hand at {destination}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return destination


def _transfer(url: str, out: BinaryIO, progress: Callable[[int, int], None] | None) -> None:
    # No user agent of a browser: Zenodo answers 403 to scripts that claim to be one.
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        total = int(response.headers.get("Content-Length") or 0)
        done = 0
        while block := response.read(BLOCK):
            out.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
    if total and done != total:
        raise OSError(f"the transfer ended after {done} of {total} bytes")


def _verify(path: Path, what: str, md5: str | None, sha256: str | None) -> None:
    for name, expected in (("md5", md5), ("sha256", sha256)):
        if expected is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != expected.lower():
            raise InputError(f"{what} has {name} {found}, expected {expected.lower()}")
