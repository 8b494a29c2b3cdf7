"""Four simulated devices for every test, and one compilation of equal programs; set before jax is imported."""

import os
import tempfile

# The tests' time is mostly XLA's. Level 1 compiles in less than half the time of level 3 with the same values; at
# level 0 losses of logits of 30 and more are NaN. Without its emitters of fusions, and with one LLVM module a program
# (parts gain nothing where both cores are busy), it compiles in half of that again.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        "--xla_backend_optimization_level=1",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# shared by the workers and by the processes that tests start
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="imbal_jax_tests_"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test is skipped, saying so, where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("IMBAL_JAX_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data under {folder}: set IMBAL_JAX_DATA")
    return folder


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with finished runs of ce and crt on small pictures, which lie in its folder ``pictures``; do not
    change it, copy it. It is trained once for all workers."""
    from made_once import made_once, own_copy
    from small_runs import QUIET, small, write_pictures

    from imbal_jax.methods import METHODS
    from imbal_jax.train import fit

    def train(workdir: Path) -> None:
        config = small(write_pictures(workdir / "pictures"), methods=(METHODS["ce"], METHODS["crt"]))
        fit(config, workdir, console=QUIET)

    return own_copy(tmp_path_factory, made_once(tmp_path_factory, "finished_runs", train))


@pytest.fixture(scope="session")
def finished_masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with a finished run on masks of ``masked_pictures``, which lie in its folder ``pictures``; do not
    change it, copy it."""
    from made_once import made_once, own_copy
    from masked_pictures import masked, unresized, write_masked
    from small_runs import QUIET

    from imbal_jax.train import fit

    def train(workdir: Path) -> None:
        write_masked(workdir / "pictures", unresized(60))
        fit(masked(workdir / "pictures"), workdir, console=QUIET)

    return own_copy(tmp_path_factory, made_once(tmp_path_factory, "finished_masks", train))
