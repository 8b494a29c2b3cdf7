"""A title made from the data, where the config has none."""

from collections.abc import Mapping, Sequence

from imbal_jax.console import percent
from imbal_jax.report.html import counted, listed

NAMED = 4  # classes that a title names


def title_of(
    split_table: Sequence[Mapping[str, object]],
    classes: Sequence[str],
    negative_class: str | None,
    grouped_by: str = "patient",
) -> str:
    """``nodule and mass in 1,000 images of 600 patients; rarest: mass, 9 (0.9 %)``.

    split_table: a row a split, with its images, its patients and the images of each class.
    """
    findings = [name for name in classes if name != negative_class]
    names = (
        findings if len(findings) <= NAMED else [*findings[: NAMED - 1], f"{len(findings) - NAMED + 1} more"]
    )
    images = _total(split_table, "images")
    if not images:
        return listed(names)
    patients = _total(split_table, "patients")
    of = f" of {counted(patients, grouped_by)}" if patients and patients < images else ""
    text = f"{listed(names)} in {counted(images, 'image')}{of}"
    held = {name: count for name in findings if (count := _total(split_table, name)) is not None}
    if not held:
        return text
    rarest = min(held, key=lambda name: held[name])
    named = f"; rarest: {rarest}," if len(findings) > 1 else ":"
    return f"{text}{named} {held[rarest]:,} ({percent(held[rarest] / images)})"


def _total(table: Sequence[Mapping[str, object]], key: str) -> int | None:
    """The sum over the splits; None where one does not count it."""
    counts = [row.get(key) for row in table]
    whole = [int(count) for count in counts if isinstance(count, int)]
    return sum(whole) if whole and len(whole) == len(counts) else None
