"""Shares of this machine: how many runs at a time, and what each may use of it."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from imbal_jax.cores import usable_cores

GPU_SHARE = 0.9  # of a GPU's memory, over all its runs; the rest is for the contexts of their processes


def gpus(devices: Path = Path("/dev")) -> list[str]:
    """The ids of the NVIDIA GPUs that JAX will use here; [] where there are none. JAX is not started for it."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return []
    if not any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    there = [path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*")]
    return sorted(there, key=int)


def default_workers() -> int:
    """One for each GPU, or where there is none one for each core."""
    return len(gpus()) or usable_cores()


def limited_to(threads: int, flags: str = "") -> dict[str, str]:
    """The variables that give a process so many threads. flags: XLA's, which it has already."""
    limits = dict.fromkeys(("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    if threads == 1:
        limits["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return limits


def environment(index: int, workers: int, out: Path, host: str) -> Mapping[str, str]:
    """What the environment of worker ``index`` has besides ours: one of ``workers`` equal shares of the machine.

    On a CPU each has ``cores / workers`` threads. On GPUs the workers take turns at them and share their memory.
    Compiled programs are kept in OUT/compiled/HOST unless JAX_COMPILATION_CACHE_DIR says where.
    """
    threads = max(1, usable_cores() // workers)
    shared = limited_to(threads, os.environ.get("XLA_FLAGS", ""))
    if ids := gpus():
        sharing = -(-workers // len(ids))
        shared["CUDA_VISIBLE_DEVICES"] = ids[index % len(ids)]
        shared["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{GPU_SHARE / sharing:.3f}"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        shared["JAX_COMPILATION_CACHE_DIR"] = str(Path(out).resolve() / "compiled" / host)
        shared["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    return shared
