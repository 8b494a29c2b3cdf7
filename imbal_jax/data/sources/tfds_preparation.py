"""Finds prepared sets of the tensorflow-datasets catalogue on disk, or prepares them."""

import difflib
import re
from pathlib import Path
from typing import Any

from imbal_jax.data.records.array_records import find_folder, prepared_folders
from imbal_jax.errors import InputError
from imbal_jax.files import read_json

PREFIX = "tfds:"
FORMAT = "array_record"


def prepared(name: str, folder: Path | None, download: bool) -> Any:
    """The ``tfds.core.DatasetBuilder`` of a set that is prepared in array_record.

    name, folder, download: as in ``tfds_set.open_named``. Raises InputError, saying in one line what to install,
    to fetch or to run, where it is not and cannot be.
    """
    import tensorflow_datasets as tfds

    match = re.fullmatch(r"(\w+)(?:/([\w.+-]+))?(?::([\d.]+))?", name)
    if match is None:
        raise InputError(
            f"data.source is {PREFIX}{name}: expected tfds:NAME, tfds:NAME/CONFIG or tfds:NAME:VERSION"
        )
    root = Path(tfds.core.constants.DATA_DIR if folder is None else folder).expanduser()
    where = _found(root, [part for part in match.groups() if part])
    if where is not None:
        builder = tfds.builder_from_directory(where)
    else:
        builder = _of_the_catalogue(name, root)
        if not builder.is_prepared():
            _prepare(name, builder, root, folder, download)
    stored = getattr(builder.info.file_format, "value", None)
    if stored != FORMAT:
        raise InputError(
            f"{PREFIX}{name} is stored as {stored} in {builder.data_dir}, which gives no random access: move it away "
            f"and run {_command(name, folder)}"
        )
    return builder


def _found(root: Path, parts: list[str]) -> Path | None:
    """The folder of the prepared set NAME[/CONFIG][/VERSION]: ``root`` itself, or below it."""
    if (root / "dataset_info.json").is_file():
        present = read_json(root / "dataset_info.json", "prepare the set again").get("name")
        if present != parts[0]:
            raise InputError(f"{root} holds the set {present}, {PREFIX}{parts[0]} is asked")
        return root
    for below in (root.joinpath(*parts), *([root.joinpath(*parts[1:])] if root.name == parts[0] else [])):
        if prepared_folders(below):
            return find_folder(below)
    return None


def _of_the_catalogue(name: str, root: Path) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=root, file_format=FORMAT)
    except tfds.core.registered.DatasetNotFoundError as error:
        close = difflib.get_close_matches(
            re.split("[/:]", name)[0], tfds.list_builders(with_community_datasets=False), n=3
        )
        hint = (
            f"did you mean {', '.join(PREFIX + c for c in close)}?"
            if close
            else "see tensorflow.org/datasets"
        )
        raise InputError(f"{PREFIX}{name} is neither under {root} nor in the catalogue: {hint}") from error
    except (ValueError, AssertionError) as error:  # an unknown configuration or version
        raise InputError(f"{PREFIX}{name}: {_one_line(error)}") from error


def _prepare(name: str, builder: Any, root: Path, folder: Path | None, download: bool) -> None:
    by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    manual = root / "downloads" / "manual"
    if by_hand and not (manual.is_dir() and any(manual.iterdir())):
        raise InputError(
            f"{PREFIX}{name} must be fetched by hand: put into {manual} what this says, then turn --data.download "
            f"on: {_one_line(by_hand)}"
        )
    if not download:
        raise InputError(
            f"{PREFIX}{name} is not prepared under {root}: turn --data.download on, or run {_command(name, folder)}"
        )
    try:
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        remedy = "'imbal-jax[tfds-image]'" if error.name == "tensorflow" else error.name
        raise InputError(f"preparing {PREFIX}{name} needs {error.name}: pip install {remedy}") from error
    except Exception as error:  # a set's own code, its server or the disk may raise anything
        raise InputError(
            f"{PREFIX}{name} cannot be prepared ({_one_line(error)}): prepare it where that works, and copy "
            f"it to {root}"
        ) from error


def _command(name: str, folder: Path | None) -> str:
    where = "" if folder is None else f" --data_dir={folder}"
    return f"tfds build {name} --file_format={FORMAT}{where}"


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return (line if len(line) <= 300 else line[:297] + "...") or type(text).__name__
