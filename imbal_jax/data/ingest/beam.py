"""Reads and writes on the machines of an Apache Beam runner, over a file system that all of them see.

The functions that read a file and write a shard are those of one machine, and so are journal and records. The
description of a pipeline, which runners show and keep, holds keyed hashes and numbers, no file name and no key.
"""

import shlex
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import apache_beam
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.folders.listing import image_files
from imbal_jax.data.ingest.journal import Segment
from imbal_jax.data.ingest.reading import Job, Task, read_file
from imbal_jax.data.pseudonyms import Key, read_key
from imbal_jax.errors import InputError

Element = tuple[
    int, str, bool
]  # place among the sorted files, keyed hash of the path, whether a row names it


class ReadFiles(apache_beam.DoFn):
    """Reads files into the journal, one segment a bundle; emits 1 for each file."""

    def __init__(self, job: Job, journal: Path) -> None:
        self.job, self.journal = job, journal

    def setup(self) -> None:
        self.silence = ExitStack()
        self.silence.enter_context(quiet())
        self.key = read_key(self.job.key_file)

    def teardown(self) -> None:
        self.silence.close()

    def start_bundle(self) -> None:
        self.segment: Segment | None = None

    def process(self, element: Element) -> Iterable[int]:
        place, name, named = element
        files = files_below(self.job.folder)
        path = files[place] if place < len(files) else ""
        if self.key.of("file", path) != name:
            raise InputError("a file was added or removed while the pipeline ran: start it again")
        self.segment = self.segment or Segment(self.journal)
        self.segment.append(*read_file(self.job, Task(path, named), self.key))
        yield 1

    def finish_bundle(self) -> None:
        if self.segment is not None:
            self.segment.close()


@cache
def files_below(folder: Path) -> Sequence[str]:
    """Listed once a process: a list in the pipeline would show the names."""
    return image_files(folder)


def read_files_with_beam(
    job: Job, files: Sequence[str], tasks: Sequence[Task], journal: Path, words: str, key: Key
) -> None:
    """Read ``tasks`` into ``journal``. files: everything below the folder, sorted, as the tasks were made from."""
    elements = elements_of(files, tasks, key)
    with apache_beam.Pipeline(options=pipeline_options(words)) as pipeline:
        _ = (
            pipeline
            | "Files" >> apache_beam.Create(elements)
            | "Spread" >> apache_beam.Reshuffle()
            | "Read" >> apache_beam.ParDo(ReadFiles(job, journal))
        )


def elements_of(files: Sequence[str], tasks: Sequence[Task], key: Key) -> list[Element]:
    """The element of the pipeline for each task."""
    places = {path: place for place, path in enumerate(files)}
    return [(places[task.path], key.of("file", task.path), task.named) for task in tasks]


def download_config(words: str) -> tfds.download.DownloadConfig:
    """The configuration by which tensorflow-datasets writes its shards with the runner."""
    options = pipeline_options(words)
    runner = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    return tfds.download.DownloadConfig(beam_options=options, beam_runner=runner)


def check_beam(words: str) -> None:
    """Raise InputError for a runner that does not exist."""
    runner = pipeline_options(words).view_as(StandardOptions).runner
    try:
        create_runner(runner or StandardOptions.DEFAULT_RUNNER)
    except (ValueError, ImportError):
        raise InputError(
            f"--beam has the runner {runner}: DirectRunner, DataflowRunner, FlinkRunner ..."
        ) from None


def pipeline_options(words: str) -> PipelineOptions:
    """Options from ``runner=DirectRunner direct_num_workers=2``; dashes are optional."""
    return PipelineOptions([f"--{word.lstrip('-')}" for word in shlex.split(words)])
