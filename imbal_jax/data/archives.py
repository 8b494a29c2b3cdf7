"""Files of a public set, loose in a folder or inside the archives that its source publishes."""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path


def find(folder: Path, pattern: str) -> Path | None:
    """The first match in the folder or, failing that, in one of its subfolders."""
    return next(iter([*sorted(folder.glob(pattern)), *sorted(folder.glob(f"*/{pattern}"))]), None)


def pictures(folder: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture below the folder, or, where there is none, in the archives there."""

    def wanted(name: str) -> bool:
        return name.lower().endswith(suffix) and not Path(name).name.startswith("._")  # macOS droppings

    loose = [path for path in folder.rglob("*") if wanted(path.name)]
    for path in loose:
        yield str(path), path.read_bytes()
    if loose:
        return
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in filter(wanted, archive.namelist()):
                yield name, archive.read(name)
    for path in sorted([*folder.glob("*.tar.gz"), *folder.glob("*.tgz")]):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and wanted(member.name):
                    yield member.name, archive.extractfile(member).read()
