"""The numbers that a command left on disk, as arrays by name, and how two such sets differ.

Read with orbax, numpy and json alone, by what files are called, so that two versions of the package can be compared
whose modules and folders lie elsewhere: ``seedN`` folders are left out of the names.
"""

import csv
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

VERSION = 2  # raised whenever the same files would give other arrays; names the entries of a cache
NOT_OUTPUTS = {"cache", "phantoms", "records", "checkpoints", "tensorboard"}
"""Folders whose files are inputs, or are read in another way."""

JSON_FILES = ("results.json", "result.json", "model.json", "comparison.json", "deployment.json")
NOT_NUMBERS = (
    "seconds",
    "imbal_jax",
    "jax",
)  # keys whose values differ from run to run or version to version
EXPORTED_IMAGES = 8

Outputs = dict[str, np.ndarray]


def read_outputs(folder: Path) -> Outputs:
    """Every checkpoint's arrays, every number of metrics, scores, results and predictions, below ``folder``."""
    found: Outputs = {}
    for prefix, values in _parts(folder):
        for name, value in values.items():
            full = f"{prefix}:{name}"
            if full in found:
                raise ValueError(f"{full} was written twice: a case has one seed")
            found[full] = np.asarray(value)
    return found


def _parts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.rglob("checkpoints/*/*/_METADATA")):
        item = path.parent
        if item.parent.name.isdecimal():
            yield _name(item, folder), read_checkpoint(item)
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder).parts
        if not path.is_file() or NOT_OUTPUTS & set(within[:-1]):
            continue
        if path.name == "metrics.jsonl":
            yield _name(path, folder), read_metrics(path)
        elif path.name in JSON_FILES:
            yield _name(path, folder), _flat(json.loads(path.read_text()))
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                yield _name(path, folder), dict(arrays)
        elif path.suffix == ".csv":
            yield _name(path, folder), read_csv(path)
        elif path.suffix == ".stablehlo":
            yield _name(path, folder), call_exported(path)


def _name(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts
    return "/".join(part for part in parts if not re.fullmatch(r"seed\d+", part))


def read_checkpoint(item: Path) -> dict[str, np.ndarray]:
    """The arrays of one item that Orbax saved, by their paths in the tree."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax misses a file that a nested item does not have
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(item).item_metadata.tree
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        restored = checkpointer.restore(item, args=ocp.args.PyTreeRestore(restore_args=plain))
    leaves = jax.tree_util.tree_flatten_with_path(restored)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _plain_dtype(np.asarray(leaf))
        for path, leaf in leaves
    }


def _plain_dtype(values: np.ndarray) -> np.ndarray:
    """bfloat16, which numpy's files do not hold, as float32, which holds each of its values."""
    return values if values.dtype.kind in "biufUS" else values.astype(np.float32)


def read_metrics(path: Path) -> dict[str, float]:
    """The numbers of ``metrics.jsonl`` as kind/step/name; null is NaN."""
    values: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for record in map(json.loads, path.read_text().splitlines()):
        place = f"{record.get('kind')}/{record.get('step')}"
        seen[place] += 1
        place += f"#{seen[place]}" if seen[place] > 1 else ""
        for name, value in record.items():
            if value is None or isinstance(value, int | float):
                values[f"{place}/{name}"] = np.nan if value is None else float(value)
    return values


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of a JSON value by their paths; a list of runs is keyed by their methods."""
    if isinstance(value, dict):
        items: list[tuple[str, Any]] = [(k, v) for k, v in value.items() if k not in NOT_NUMBERS]
    elif isinstance(value, list):
        keys = [item.get("method") if isinstance(item, dict) else None for item in value]
        named = None not in keys and len(set(keys)) == len(keys)
        items = [(str(keys[place] if named else place), item) for place, item in enumerate(value)]
    else:
        return {
            prefix: np.nan if value is None else float(value) if isinstance(value, int | float) else value
        }
    return {name: leaf for k, v in items for name, leaf in _flat(v, f"{prefix}/{k}" if prefix else k).items()}


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table: numbers, or text where one cell is no number."""
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    columns = {}
    for place, heading in enumerate(rows[0] if rows else ()):
        cells = [row[place] if place < len(row) else "" for row in rows[1:]]
        try:
            columns[heading] = np.array([float(cell) if cell else np.nan for cell in cells])
        except ValueError:
            columns[heading] = np.array(cells, dtype=np.str_)
    return columns


def call_exported(path: Path) -> dict[str, np.ndarray]:
    """What an exported program gives for a few images of noise."""
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    takes = program.in_avals[0]
    high = np.iinfo(takes.dtype).max
    shape = (EXPORTED_IMAGES, *takes.shape[1:])
    images = np.random.default_rng(0).integers(0, high, shape, takes.dtype, endpoint=True)
    leaves = jax.tree_util.tree_flatten_with_path(jax.jit(program.call)(images))[0]
    return {jax.tree_util.keystr(p, simple=True, separator="/"): np.asarray(leaf) for p, leaf in leaves}


def digest(outputs: Mapping[str, np.ndarray]) -> str:
    """BLAKE2b of names, shapes, types and bytes."""
    total = blake2b(digest_size=16)
    for name in sorted(outputs):
        total.update(f"{name}\0{_digest(outputs[name])}\0".encode())
    return total.hexdigest()


def _digest(values: np.ndarray) -> str:
    values = np.ascontiguousarray(values)
    if values.dtype.kind == "f":  # one NaN is as good as another
        values = np.where(np.isnan(values), np.asarray(np.nan, values.dtype), values)
    about = f"{values.dtype}{values.shape}".encode()
    return blake2b(about + values.tobytes(), digest_size=16).hexdigest()


@dataclass
class Comparison:
    """How the outputs of one tree differ from those of another.

    absolute, relative: the largest differences of numbers, at ``where`` and ``relative_where``. unlike: arrays of
    other shapes, types or texts, and numbers that only one side has defined. lost, new: outputs that only the first,
    or only the second, has; moved: how many more are under another name, with the same last part and the same bits.
    finite: whether every loss is. skipped: updates that the second left out, for want of a finite loss or gradient.
    differing: the names of all numbers that differ.
    """

    compared: int = 0
    equal: int = 0
    moved: int = 0
    absolute: float = 0.0
    where: str = ""
    relative: float = 0.0
    relative_where: str = ""
    unlike: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    finite: bool = True
    skipped: float = 0.0
    differing: list[str] = field(default_factory=list)

    def within(self, tolerance: float) -> bool:
        return not self.unlike and not self.lost and not self.skipped and self.absolute <= tolerance

    def folders(self) -> str:
        """Below which folders something differs, as run/focal."""
        found = dict.fromkeys("/".join(name.split(":")[0].split("/")[:2]) for name in self.differing)
        names = list(found)
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if names[8:] else "")

    def line(self) -> str:
        """What to print."""
        parts = []
        if self.absolute:
            parts.append(
                f"largest difference {self.absolute:.1g} in {self.where}, relative {self.relative:.1g} in "
                f"{self.relative_where} ({self.compared - self.equal} of {self.compared} differ, in {self.folders()})"
            )
        for what, names in (("unlike", self.unlike), ("lost", self.lost)):
            if names:
                parts.append(f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if names[3:] else ''}")
        if self.skipped:
            parts.append(
                f"{self.skipped:g} updates without a finite loss or gradient: nothing is shown by this case"
            )
        said = "; ".join(parts) or f"equal to the bit ({self.compared} arrays)"
        said += f"; {self.moved} under other names" if self.moved else ""
        return said + (f"; {len(self.new)} more in B, as {self.new[0]}" if self.new else "")


def compare(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> Comparison:
    """``b`` beside ``a``, name by name."""
    result = Comparison()
    pairs = [(name, a[name], b[name]) for name in a if name in b]
    lost, new = [name for name in a if name not in b], [name for name in b if name not in a]
    waiting = defaultdict(list)
    for name in new:
        waiting[_last(name), _digest(b[name])].append(name)
    for name in lost:
        same = waiting[_last(name), _digest(a[name])]
        if same:
            result.moved += 1
            new.remove(same.pop(0))
        else:
            result.lost.append(name)
    result.new = new
    for name, first, second in pairs:
        _compare_one(result, name, first, second)
    result.skipped = sum(float(v) for n, v in b.items() if "metrics.jsonl:" in n and n.endswith("/skipped"))
    losses = [values for name, values in b.items() if name.endswith("/loss")]
    result.finite = all(np.isfinite(values).all() for values in losses)
    return result


def _last(name: str) -> str:
    return re.split("[/:]", name)[-1]


def _compare_one(result: Comparison, name: str, a: np.ndarray, b: np.ndarray) -> None:
    result.compared += 1
    if _digest(a) == _digest(b):
        result.equal += 1
        return
    numbers = a.dtype.kind in "biuf" and b.dtype.kind in "biuf"
    if a.shape != b.shape or a.dtype != b.dtype or not numbers:
        result.unlike.append(f"{name} ({a.dtype} {list(a.shape)}, {b.dtype} {list(b.shape)})")
        return
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not np.isfinite(np.where(same, 0, a) + np.where(same, 0, b)).all():
        result.unlike.append(f"{name} (undefined or infinite in one)")
        return
    result.differing.append(name)
    gap = np.abs(np.where(same, 0, a) - np.where(same, 0, b))
    scale = np.maximum(np.abs(a), np.abs(b))
    relative = np.divide(gap, scale, out=np.zeros_like(gap), where=gap > 0)
    if gap.max() > result.absolute:
        result.absolute, result.where = float(gap.max()), name
    if relative.max() > result.relative:
        result.relative, result.relative_where = float(relative.max()), name
