"""Scores the images at a path with a finished run and writes a row an image, as it goes, whatever a row holds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from imbal_jax.console import say
from imbal_jax.data.images.geometry import COLOUR_DROPPED
from imbal_jax.data.images.refusal import REASONS, ReadError
from imbal_jax.data.ingest.progress import progress
from imbal_jax.engine import hosts
from imbal_jax.errors import InputError
from imbal_jax.files import CsvFile
from imbal_jax.runs.deployment import Inputs
from imbal_jax.runs.parts import join_parts, own_part, own_share
from imbal_jax.runs.read_images import Passed, Read, batches, images_at, unreadable_file


@dataclass
class Prediction:
    """What was written. scored: images. called: of each finding, how many. refused: files by reason.
    colour_dropped: pictures in colour that were made grey, as the network takes them."""

    scored: int = 0
    called: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    colour_dropped: int = 0


class Scorer(Protocol):
    """What a run makes of images."""

    @property
    def opening(self) -> str:
        """What is said before the first image."""

    @property
    def headings(self) -> list[str]:
        """Of the table's columns."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """What ``row`` takes, of images [N, H, W, channels]."""

    def row(self, read: Read, predicted: Any, found: Prediction) -> list[str]:
        """The row of an image, whose calls are counted in ``found``; ReadError where its file is no good."""

    def ending(self, found: Prediction) -> str:
        """What is said of the images that were scored."""


def score_images(
    scorer: Scorer,
    inputs: Inputs,
    path: Path,
    out: Path,
    *,
    key_file: Path | None,
    names: Path | None,
    batch_size: int,
    workers: int,
    console: Console,
) -> Prediction:
    """Arguments and errors as for ``predict.predict``. inputs: what the network takes."""
    count, images, passed = hosts.first_then_others(
        lambda: images_at(path, inputs, out, key_file, workers, console)
    )
    hosts.check_same("number of images", lambda: count, "give all of them the same folder")
    found = Prediction()
    say(console, scorer.opening)
    unread = unreadable_file(out)
    with ExitStack() as stack:
        advance = stack.enter_context(progress(console, "scored", "images", len(own_share(range(count)))))
        linked = stack.enter_context(CsvFile(own_part(names), private=True))
        listed = stack.enter_context(CsvFile(own_part(unread)))
        table = stack.enter_context(CsvFile(own_part(out)))
        if hosts.is_first():
            table.row(scorer.headings)
            listed.row(("id", "reason"))
            linked.row(("id", "path"))
        for batch in batches(images, batch_size):
            for read, row in _rows(batch, scorer, found):
                if isinstance(row, str):
                    found.refused[row] += 1
                    listed.row((read.id, row))
                else:
                    table.row(row)
                if read.name:
                    linked.row((read.id, read.name))
            table.flush()
            advance(len(batch))
        for read in passed.reads if hosts.index() == hosts.count() - 1 else ():
            listed.row((read.id, read.reason))
            linked.row((read.id, read.name))
        if not found.scored and hosts.count() == 1:
            table.discard()
    found = _of_all(found)
    join_parts(names, private=True)
    join_parts(unread)
    join_parts(out, keep=bool(found.scored))
    hosts.by_first(lambda: _finish(scorer, found, out, passed, console))
    if not found.scored:
        raise InputError(f"none of the {count} files could be read: see {unread}")
    return found


def _of_all(found: Prediction) -> Prediction:
    """What all processes have found."""
    every = [Prediction(**each) for each in hosts.gathered(vars(found))]
    return Prediction(
        scored=sum(each.scored for each in every),
        called=sum((Counter(each.called) for each in every), Counter()),
        refused=sum((Counter(each.refused) for each in every), Counter()),
        colour_dropped=sum(each.colour_dropped for each in every),
    )


def _finish(scorer: Scorer, found: Prediction, out: Path, passed: Passed, console: Console) -> None:
    if not (found.refused or passed.reads):
        unreadable_file(out).unlink()
    say(console, _ending(scorer, found, out, passed))


def _rows(batch: Sequence[Read], scorer: Scorer, found: Prediction) -> Iterator[tuple[Read, list[str] | str]]:
    """The row of each image, or the reason why there is none."""
    good = [read.pixels for read in batch if read.pixels is not None]
    predicted = iter(scorer.predict(np.stack(good)) if good else ())
    for read in batch:
        if read.pixels is None:
            yield read, read.reason
            continue
        try:
            row = scorer.row(read, next(predicted), found)
        except ReadError as error:
            yield read, error.reason
            continue
        found.scored += 1
        found.colour_dropped += COLOUR_DROPPED in read.flags
        yield read, row


def _ending(scorer: Scorer, found: Prediction, out: Path, passed: Passed) -> str:
    lines = [
        f"unreadable {count:,}: {reason}: {REASONS[reason]}"
        for reason, count in sorted(found.refused.items())
    ]
    lines += passed.lines
    if found.refused or passed.reads:
        lines.append(f"listed in {unreadable_file(out)}")
    if found.colour_dropped:
        lines.append(f"{found.colour_dropped:,} colour pictures made grey, which is what the network takes")
    if found.scored:
        lines.append(scorer.ending(found))
    return "\n".join(lines)
