"""Checkpoints: which are kept, and what happens when one cannot be read or written."""

import gc
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imbal_jax.engine.parallel import make_mesh, replicate
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.errors import InputError, Stopped
from imbal_jax.training.checkpoint import Checkpoints, digest

# After an error Orbax and TensorStore leave event loops and futures to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _collect_here() -> Iterator[None]:
    yield
    gc.collect()


OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))


def state(step: int, *, ema: bool = False, size: int = 40) -> TrainState:
    params = {"dense": {"kernel": jnp.full((size, size), float(step)), "bias": jnp.arange(3.0)}}
    variables = {"params": params, "batch_stats": {"mean": jnp.ones(3)}}
    made = init_state(variables, OPTIMIZER, jax.random.key(0), ema=ema)
    return made.replace(step=jnp.int32(step))


def saved(folder: Path, scores: list[float]) -> list[int]:
    with Checkpoints(folder) as checkpoints:
        for number, score in enumerate(scores, start=1):
            checkpoints.save(state(10 * number), score)
        return checkpoints.steps()


def largest_file(folder: Path) -> Path:
    return max(
        (p for p in folder.rglob("*") if p.is_file() and "state" in str(p)), key=lambda p: p.stat().st_size
    )


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.1, 0.9, 0.5, 0.2], [20, 30, 40]),
        ([0.1, 0.9, 0.9, 0.2, 0.3], [20, 40, 50]),  # equally good: the earlier
        ([float("-inf"), float("-inf"), float("-inf"), 0.0], [30, 40]),
        ([0.1, 0.2, 0.3], [20, 30]),
    ],
)
def test_the_last_two_and_the_best_are_kept(tmp_path: Path, scores: list[float], kept: list[int]) -> None:
    first = [step for step in saved(tmp_path, scores) if step]
    assert [s for s in first if s in kept] == kept
    assert len(first) <= 3


def test_the_best_survives_a_restart(tmp_path: Path) -> None:
    saved(tmp_path, [0.1, 0.9, 0.5, 0.2])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(50), 0.05)
        assert checkpoints.steps() == [20, 40, 50]
        assert int(checkpoints.restore_step(state(0), 20).step) == 20


@pytest.mark.parametrize("ema", [False, True])
def test_what_is_restored_is_what_was_saved_to_the_bit_and_in_the_same_tree(
    tmp_path: Path, ema: bool
) -> None:
    original = state(7, ema=ema)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(original, 0.5)
        read = checkpoints.restore(state(0, ema=ema))
    assert jax.tree.structure(read) == jax.tree.structure(original)
    assert digest(read) == digest(original)


def test_a_state_saved_on_one_device_is_restored_on_four(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(7), 0.5)
        read = checkpoints.restore(replicate(state(0), make_mesh(4)))
    assert len(read.params["dense"]["kernel"].devices()) == 4
    assert float(read.params["dense"]["kernel"][0, 0]) == 7


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it_and_said_so(
    tmp_path: Path, damage: str
) -> None:
    saved(tmp_path, [0.1, 0.2])
    path = largest_file(tmp_path / "20")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    said: list[str] = []
    with Checkpoints(tmp_path, said.append) as checkpoints:
        assert int(checkpoints.restore(state(0)).step) == 10
        assert checkpoints.steps() == [10]
    assert len(said) == 1
    assert "checkpoint of step 20 is damaged" in said[0]
    assert "going on from step 10" in said[0]

    aside = tmp_path.with_name(tmp_path.name + ".damaged") / "20"
    assert "moved to" in said[0]
    assert (aside / "state").is_dir()


@pytest.mark.parametrize("item", ["state", "digest", "history"])
def test_a_checkpoint_that_is_half_deleted_is_set_aside(tmp_path: Path, item: str) -> None:
    """Also without the list of its files."""
    saved(tmp_path / "c", [0.1, 0.2])
    shutil.rmtree(tmp_path / "c" / "20" / item)
    (tmp_path / "c" / "20" / "files.json").unlink()
    said: list[str] = []
    with Checkpoints(tmp_path / "c", said.append) as checkpoints:
        restored = checkpoints.restore(state(0))
    assert restored is not None
    assert int(restored.step) == 10
    assert f"gone: {item}" in said[0]


@pytest.mark.parametrize(
    ("reason", "like"),
    [
        ("Permission denied", state(0)),
        ("Out of memory", state(0)),
        ("another tree", init_state({"params": {"w": jnp.ones(3)}}, OPTIMIZER, jax.random.key(0), ema=False)),
        ("another shape", state(0, size=41)),
    ],
)
def test_a_whole_checkpoint_that_cannot_be_read_is_kept(
    tmp_path: Path, reason: str, like: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, [0.1, 0.2])
    said: list[str] = []
    with Checkpoints(tmp_path, said.append) as checkpoints:
        if reason in ("Permission denied", "Out of memory"):
            error = OSError(13, reason) if reason[0] == "P" else MemoryError(reason)

            def read(*_: object) -> TrainState:
                raise error

            monkeypatch.setattr(checkpoints, "_read", read)
        for step in (None, 20):
            with pytest.raises(Stopped, match=r"step 20 .* nothing was deleted") as raised:
                checkpoints.restore(like) if step is None else checkpoints.restore_step(like, step)
            assert "\n" not in str(raised.value)
        assert checkpoints.steps() == [10, 20]
    assert said == []


def test_an_interrupted_read_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, [0.1, 0.2])
    with Checkpoints(tmp_path) as checkpoints:

        def read(*_: object) -> TrainState:
            raise KeyboardInterrupt

        monkeypatch.setattr(checkpoints, "_read", read)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.restore(state(0))
        assert checkpoints.steps() == [10, 20]


def test_damaged_metrics_of_a_checkpoint_are_written_from_their_copy(tmp_path: Path) -> None:
    saved(tmp_path, [0.1, 0.9, 0.2])
    path = tmp_path / "20" / "metrics" / "metrics"
    path.write_bytes(path.read_bytes()[:5])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(40), 0.3)
        assert checkpoints.steps() == [20, 30, 40]


def test_no_flipped_bit_is_read_silently(tmp_path: Path) -> None:
    """In the middle of each stored file, one at a time: refused, or what was saved comes back all the same."""
    saved(tmp_path, [0.1])
    refused = 0
    for path in [p for p in (tmp_path / "10" / "state").rglob("*") if p.is_file() and p.stat().st_size]:
        intact = path.read_bytes()
        content = bytearray(intact)
        content[len(content) // 2] ^= 0x01
        path.write_bytes(content)
        with Checkpoints(tmp_path) as checkpoints:
            try:
                read = digest(checkpoints.restore_step(state(0), 10))
            except InputError:
                refused += 1
            else:
                assert read == digest(state(10))
        path.write_bytes(intact)
    assert refused >= 2


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(state(0)) is None
        with pytest.raises(InputError, match=r"no checkpoint of step 3 .* or delete .* and train again"):
            checkpoints.restore_step(state(0), 3)


def test_a_full_disk_is_reported_and_the_earlier_checkpoint_stays_whole(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the full disk: the write fails in the same place."""
    saved(tmp_path, [0.5])
    big = state(20).replace(params={"w": jax.random.normal(jax.random.key(0), (600, 600))})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path) as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(
                InputError, match=r"cannot write the checkpoint of step 20 .*step 10 is whole"
            ):
                checkpoints.save(big, 0.9)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert int(checkpoints.restore(state(0)).step) == 10
    with Checkpoints(tmp_path) as checkpoints:  # space was freed: the same step can be saved
        checkpoints.save(state(20), 0.9)
        assert checkpoints.steps() == [10, 20]
        np.testing.assert_array_equal(checkpoints.restore(state(0)).params["dense"]["kernel"], 20.0)


def test_what_a_killed_save_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    saved(tmp_path, [0.5, 0.6])
    (tmp_path / "notes.txt").write_text("mine")
    shutil.copytree(tmp_path / "20", tmp_path / "30.orbax-checkpoint-tmp")
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.delete_unfinished()
        assert int(checkpoints.restore(state(0)).step) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "20", "notes.txt"]
