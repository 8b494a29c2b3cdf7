"""A run fed from disk is the run on data in memory: the same batches, the same metrics, also after a restart."""

import gc
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prepared import prepare
from rich.console import Console

from imbal_jax import train
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.data import read as sources
from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.feeding.pipeline import Pipeline, Resident
from imbal_jax.data.feeding.pixel_statistics import SAMPLE, pixel_statistics
from imbal_jax.data.feeding.plans import Plans
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.feeding.stream import AHEAD, DRAWN, STEPS, HostBatches, read_ahead, slices
from imbal_jax.data.load import load
from imbal_jax.data.records.record_set import RecordImages, open_records
from imbal_jax.errors import InputError
from imbal_jax.methods import ClassArrays, find_method
from imbal_jax.report.pictures import _Album
from imbal_jax.runs.claim import claim
from imbal_jax.sampling import batch_indices, make_plan, resample
from imbal_jax.transforms.augment import Augment

QUIET = Console(quiet=True)
RNG = np.random.default_rng(0)
LABELS = (np.arange(96) % 6 == 0).astype(np.int32)
IMAGES = RNG.integers(60, 120, (96, 16, 16, 1)).astype(np.uint8)
IMAGES[LABELS == 1, 4:9, 4:9] += 90
PATIENTS = np.arange(96) // 2
SPLITS = {"train": np.arange(60), "validation": np.arange(60, 78), "test": np.arange(78, 96)}
METHOD = "stratified,mixing=mixup,deferred=composition+weights,defer=0.5,weights=inverse"
"""With partners, and another composition later on."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("set"), IMAGES, LABELS, PATIENTS, SPLITS)


def config(folder: Path, method: str = METHOD, **options: object) -> Config:
    return Config(
        name="records",
        methods=(find_method(method),),
        data=Data(source="records", dir=folder, negative_class="normal"),
        model=Model(name="cnn", options={"width": 2, "stages": 1}),
        optim=Optim(learning_rate=1e-2),
        train=Train(
            **{"epochs": 2, "batch_size": 8, "evaluations": 2, "steps_per_dispatch": 4, "devices": 1}
            | options
        ),
        augment=Augment(flip=True),
    )


def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the same set be read whole."""
    on_disk = sources._records

    def whole(*arguments: object) -> object:
        data, indices = on_disk(*arguments)
        return replace(data, images=data.images[:]), indices

    monkeypatch.setattr(sources, "_records", whole)


def host_batches(images: object, places: np.ndarray | None = None) -> tuple[HostBatches, Plans]:
    labels = LABELS[SPLITS["train"]]
    items = resample(labels, "over", 0)
    plans = Plans(
        plan=make_plan(labels[items], 8, "balanced", seed=1, num_shards=2),
        before=make_plan(labels[items], 8, "natural", seed=1, num_shards=2),
        switch=np.int32(5),
        partner=make_plan(labels[items], 8, "reversed", seed=2, num_shards=2),
        items=items,
    )
    return HostBatches(images=images, labels=labels, plans=plans, places=places), plans


# Batches


def test_batches_from_disk_are_those_from_memory_bit_for_bit(folder: Path) -> None:
    streamed, plans = host_batches(open_records(folder).images.select(SPLITS["train"]))
    resident, _ = host_batches(IMAGES)
    for step in (0, 4, 5, DRAWN - 1, DRAWN, 12_345, STEPS - 1):
        drawn = np.asarray(batch_indices(plans.before if step < 5 else plans.plan, step))
        partners = np.asarray(batch_indices(plans.partner, step))
        for batch in (streamed[step], resident[step]):
            assert set(batch) == {"images", "labels", "places", "partner_images", "partner_labels"}
            np.testing.assert_array_equal(batch["images"], IMAGES[plans.items[drawn]])
            np.testing.assert_array_equal(batch["labels"], LABELS[plans.items[drawn]])
            np.testing.assert_array_equal(batch["partner_images"], IMAGES[plans.items[partners]])
            np.testing.assert_array_equal(batch["partner_labels"], LABELS[plans.items[partners]])
            np.testing.assert_array_equal(batch["places"], np.arange(8))


def test_the_inputs_of_a_step_are_those_that_the_device_makes_of_resident_data(folder: Path) -> None:
    streamed, plans = host_batches(open_records(folder).images.select(SPLITS["train"]))
    labels = LABELS[SPLITS["train"]]
    shared = Shared(
        ClassArrays(class_weights=None, counts=np.bincount(labels)),
        **pixel_statistics(IMAGES[:60]),
        images_key=np.asarray(jax.random.key_data(jax.random.key(3))),
        switch=np.array([5, 0], np.int32),
        mixing_steps=np.array([0, 100], np.int32),
    )
    resident = jax.tree.map(jnp.asarray, Resident(IMAGES[:60], labels, plans, shared))
    pipeline = Pipeline(Augment(flip=True, shift=0.2), find_method(METHOD).image_mixing)
    for step in (2, 7):
        expected = pipeline.from_device(resident, jnp.int32(step), None)
        found = pipeline.inputs(jax.tree.map(jnp.asarray, streamed[step]), shared, jnp.int32(step))
        for name in ("inputs", "labels", "share", "partner_labels"):
            np.testing.assert_array_equal(found[name], expected[name])


def test_reading_ahead_gives_the_batches_of_its_steps_from_any_start(folder: Path) -> None:
    batches, _ = host_batches(open_records(folder).images)
    for start in (0, 3, 1000):
        ahead = read_ahead(batches, start)
        for step in range(start, start + AHEAD + 2):
            same(next(ahead), batches[step])
        ahead.close()


def test_processes_that_read_give_the_same_batches(folder: Path) -> None:
    batches, _ = host_batches(open_records(folder).images)
    ahead = read_ahead(batches, 4, workers=2)
    try:
        for step in range(4, 10):
            same(next(ahead), batches[step])
    finally:
        ahead.close()
    assert not multiprocessing.active_children()


def test_batches_that_went_through_a_pickle_are_the_same(folder: Path) -> None:
    batches, _ = host_batches(open_records(folder).images, np.arange(4, 8))
    batches[0]  # what was drawn and opened stays behind
    again = pickle.loads(pickle.dumps(batches))
    for step in (0, 9):
        same(again[step], batches[step])


def test_a_process_reads_its_own_places_only(folder: Path) -> None:
    read = []

    class Watched(RecordImages):
        def _read(self, row: int) -> np.ndarray:
            read.append(row)
            return super()._read(row)

    images = open_records(folder).images
    watched = Watched(images.files, images.stored, images.rows)
    whole, _ = host_batches(images)
    for places in (np.arange(4), np.array([1, 6, 7])):
        read.clear()
        part = host_batches(watched, places)[0][3]
        same(part, {name: value[places] for name, value in whole[3].items()})
        assert len(read) <= 2 * len(places)  # images and their partners


def test_slices_from_disk_are_those_from_memory(folder: Path) -> None:
    images = open_records(folder).images
    for size in (7, 32, 96, 100):
        found, expected = list(slices(images, size)), list(slices(images[:], size))
        assert [len(part) for part in found] == [len(part) for part in expected]
        np.testing.assert_array_equal(np.concatenate(found), IMAGES)
        np.testing.assert_array_equal(np.concatenate(expected), IMAGES)
    assert list(slices(images.select([]), 7)) == []


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


# Whole runs


@pytest.mark.parametrize("method", [METHOD, "perturbed_oversample"])
def test_training_from_disk_is_training_from_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    streamed = train.fit(config(folder, method), tmp_path / "disk", console=QUIET)[0]
    in_memory(monkeypatch)
    resident = train.fit(config(folder, method), tmp_path / "memory", console=QUIET)[0]
    np.testing.assert_allclose(streamed.scores, resident.scores, atol=1e-5)
    assert len(streamed.history) == len(resident.history) > 2
    for ours, theirs in zip(streamed.history, resident.history, strict=True):
        assert (ours["kind"], ours["step"]) == (theirs["kind"], theirs["step"])
        for name, value in theirs.items():
            if isinstance(value, float) and "second" not in name and name != "time":
                assert ours[name] == pytest.approx(value, abs=1e-4, nan_ok=True), name


def test_a_run_that_was_stopped_goes_on_from_its_step_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = config(folder, epochs=3, evaluations=3)
    whole = train.fit(options, tmp_path / "whole", console=QUIET)[0]

    class StopHere(Exception):
        pass

    real, calls = train.evaluation, []

    def stop_at_the_second(*arguments: object) -> dict[str, float]:
        calls.append(0)
        if len(calls) == 2:
            raise StopHere
        return real(*arguments)

    monkeypatch.setattr(train, "evaluation", stop_at_the_second)
    with pytest.raises(StopHere):
        train.fit(options, tmp_path / "other", console=QUIET)
    monkeypatch.setattr(train, "evaluation", real)
    resumed = train.fit(options, tmp_path / "other", console=QUIET)[0]
    np.testing.assert_array_equal(resumed.scores, whole.scores)
    assert resumed.best_step == whole.best_step


def test_a_second_stage_and_a_corrected_score_work_from_disk(folder: Path, tmp_path: Path) -> None:
    options = config(folder, "crt", epochs=1, evaluations=1)
    options = replace(options, methods=(*options.methods, find_method("nearest_mean")))
    results = train.fit(options, tmp_path, console=QUIET)
    assert all(np.isfinite(result.scores).all() for result in results)
    assert "data:image/png;base64" in (tmp_path / "report.html").read_text()


def test_sixteen_bits_train_like_eight_where_they_are_the_same_grey(tmp_path: Path) -> None:
    scores = []
    for name, images in {"8": IMAGES, "16": IMAGES.astype(np.uint16) * 257}.items():  # 65535 = 255 x 257
        prepare(tmp_path / name, images, LABELS, PATIENTS, SPLITS)
        scores.append(
            train.fit(config(tmp_path / name, "ce", epochs=1), tmp_path / f"run{name}", console=QUIET)[
                0
            ].scores
        )
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-5)


def test_a_thumbnail_of_sixteen_bits_is_that_of_eight() -> None:
    deep = _Album(IMAGES.astype(np.uint16) * 257)
    assert deep.figure(3, "x", None) == _Album(IMAGES).figure(3, "x", None) != ""


def test_nothing_of_the_reading_is_left_after_a_run(folder: Path, tmp_path: Path) -> None:
    train.fit(config(folder, "ce", epochs=1), tmp_path, console=QUIET)
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("grain"):
            thread.join(timeout=10)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("grain")]


def test_damage_that_training_meets_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    open_records(copy)
    path = sorted(copy.glob("*train*"))[0]
    data = bytearray(path.read_bytes())
    data[5000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="is damaged") as caught:
        train.fit(config(copy, "ce"), tmp_path / "run", console=QUIET)
    assert "\n" not in str(caught.value)


# What is loaded


def test_the_stored_splits_are_used_and_nothing_is_read(folder: Path, tmp_path: Path) -> None:
    said = []
    splits = load(config(folder), tmp_path, said.append)
    assert not isinstance(splits.train.images, np.ndarray)
    for name, indices in SPLITS.items():
        part = getattr(splits, name)
        np.testing.assert_array_equal(part.images[:], IMAGES[indices])
        np.testing.assert_array_equal(part.labels, LABELS[indices])
    assert any("96 records of 16 x 16 x 1 uint8" in line for line in said)


def test_draws_of_an_imbalance_are_views_of_the_training_split(folder: Path, tmp_path: Path) -> None:
    options = config(folder)
    options = replace(options, data=replace(options.data, imbalance=10.0))
    drawn = load(options, tmp_path, lambda text: None)
    assert drawn.train.images.shape == (55, 16, 16, 1)  # 50 common, 5 rare
    assert (drawn.train.labels == 1).sum() == 5
    np.testing.assert_array_equal(drawn.test.images[:], IMAGES[SPLITS["test"]])
    again = drawn.train.take(np.array([3, 0]))
    np.testing.assert_array_equal(again.images[:], drawn.train.images[[3, 0]])


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"validation": np.arange(60), "test": np.arange(60, 96)}, "has no train part"),
        ({**SPLITS, "test": np.arange(77, 96)}, "shares 1 of .* patients between"),
    ],
)
def test_a_set_without_usable_splits_is_refused_unless_it_is_split_anew(
    splits: dict, said: str, tmp_path: Path
) -> None:
    prepare(tmp_path / "set", IMAGES, LABELS, PATIENTS, splits)
    options = config(tmp_path / "set")
    with pytest.raises(InputError, match=said):
        load(options, tmp_path, lambda text: None)
    anew = load(replace(options, data=replace(options.data, split="patient")), tmp_path, lambda text: None)
    patients = [set(np.unique(getattr(anew, name).groups)) for name in SPLITS]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]


def test_a_split_that_a_set_lacks_is_taken_from_its_training_split(tmp_path: Path) -> None:
    stored = {"train": np.arange(60), "test": np.arange(60, 96)}
    prepare(tmp_path / "set", IMAGES, LABELS, PATIENTS, stored)
    splits = load(config(tmp_path / "set"), tmp_path, lambda text: None)
    np.testing.assert_array_equal(splits.test.images[:], IMAGES[60:])
    assert 0 < len(splits.validation) < 30
    assert len(splits.train) + len(splits.validation) == 60
    assert not set(splits.train.groups) & set(splits.validation.groups)


def test_a_folder_must_be_named(tmp_path: Path) -> None:
    options = config(tmp_path)
    with pytest.raises(InputError, match=r"--data\.dir DIR"):
        load(replace(options, data=replace(options.data, dir=None)), tmp_path, print)


def test_statistics_of_many_images_are_of_a_sample_that_is_the_same_from_disk_and_memory(
    folder: Path,
) -> None:
    records = open_records(folder)
    many = RNG.integers(0, 96, SAMPLE + 500)
    from_disk = pixel_statistics(records.images.select(many))
    stored = IMAGES[np.concatenate(list(SPLITS.values()))]
    from_memory = pixel_statistics(stored[many])
    assert from_disk == from_memory
    values = stored[many] / 255
    np.testing.assert_allclose(from_disk["mean"], values.mean(), rtol=1e-3)
    np.testing.assert_allclose(from_disk["deviation"], values.std(), rtol=1e-3)
    deep = pixel_statistics(stored.astype(np.uint16) * 257)
    np.testing.assert_allclose(deep["mean"], pixel_statistics(stored)["mean"], rtol=1e-6)


def test_a_data_set_on_disk_is_checked_without_reading_it(folder: Path) -> None:
    records = open_records(folder)

    class Unread(RecordImages):
        def _read(self, row: int) -> np.ndarray:
            raise AssertionError("an image was read")

    images = Unread(records.images.files, records.images.stored, records.images.rows)
    from imbal_jax.data.dataset import Dataset

    data = Dataset(images, records.labels, records.groups, records.classes)
    assert check_dataset(data) is data
    assert len(data.take(np.arange(5))) == 5


PROGRAM = """
import multiprocessing, pathlib, pickle, sys, time
from imbal_jax.data.feeding.stream import read_ahead

if __name__ == "__main__":
    ahead = read_ahead(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), workers=1)
    next(ahead)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process under /proc")
def test_reading_processes_end_with_a_run_that_is_killed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "batches").write_bytes(pickle.dumps(host_batches(open_records(folder).images)[0]))
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path / "batches"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    readers = [int(word) for word in program.stdout.readline().split()]
    program.kill()
    program.communicate()
    assert readers
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").is_dir() for pid in readers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").is_dir() for pid in readers)


def test_who_reads_may_change_when_a_run_goes_on(folder: Path, tmp_path: Path) -> None:
    options = config(folder)
    claim(tmp_path, options)
    claim(tmp_path, replace(options, data=replace(options.data, workers=3)))
    with pytest.raises(InputError, match=r"data\.workers is -1"):
        replace(options, data=replace(options.data, workers=-1))
