"""The Ray engine: every run is a task of a Ray cluster, which places, queues and repeats it."""

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from imbal_jax.errors import InputError, Stopped, Terminated
from imbal_jax.suite.definition import SuiteAddress
from imbal_jax.suite.engines.devices import limited_to
from imbal_jax.suite.engines.job import Job, Taken, run_one
from imbal_jax.suite.line import failed
from imbal_jax.training.stopping import SIGNALS, StopRequest

RETRIES = 1
THREADS = limited_to(1)
"""One core a run, as Ray counts them."""


def run_ray(
    job: Job,
    addresses: Sequence[SuiteAddress],
    taken: Taken,
    *,
    address: str | None = None,
    elsewhere: Callable[[], set[str]] = set,
) -> None:
    """Run ``addresses`` as tasks of one core, or of one GPU where there are some; ``taken`` is called with each line.

    Ray repeats a run whose process or machine ends, once; after that its line says so. The package, and the suite's
    own modules at the same path, have to be on every machine; the ledger is written here only.
    address: of a cluster, ``auto`` for the one that this machine belongs to; None starts one on this machine.
    elsewhere: keys of the runs that other commands have finished since the last call.
    Raises Terminated after SIGTERM or SIGUSR1, KeyboardInterrupt after SIGINT, Stopped where the cluster is not
    reached, InputError without Ray.
    """
    ray = _connected(address)
    try:
        with StopRequest((*SIGNALS, signal.SIGINT)) as stop:  # after Ray has installed its own handler
            gpus = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
            task = ray.remote(max_retries=RETRIES, num_cpus=1, **gpus)(run_one)
            shared = ray.put(job)
            waiting = {task.remote(shared, each): each for each in addresses}
            while waiting and not stop:
                ready, _ = ray.wait(list(waiting), timeout=0.5)
                for reference in ready:
                    taken(waiting.pop(reference), _line(ray, reference))
                gone = elsewhere()
                for reference in [r for r, each in waiting.items() if each.key in gone]:
                    ray.cancel(reference)
                    waiting.pop(reference)
        if stop.received == signal.SIGINT:
            raise KeyboardInterrupt
        if stop:
            raise Terminated(f"{stop.reason}: the lines of finished runs are kept; the same command goes on")
    finally:
        ray.shutdown()  # ends the tasks of this command


def _connected(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'imbal-jax[ray]'") from None
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": THREADS},
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise Stopped(
            f"no Ray cluster at {address or 'this machine'} ({' '.join(str(error).split())[:200]}): "
            "start one with ray start --head, or leave --ray-address out"
        ) from error
    return ray


def _line(ray: Any, reference: Any) -> dict[str, Any]:
    """The line of a task that ended; a failed one where Ray lost its process more often than it tries."""
    try:
        with suppress(Terminated):
            return ray.get(reference)
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())
        return failed(f"Ray gave it up after {RETRIES + 1} tries, {type(error).__name__}: {said}"[:500])
    return failed("a signal stopped it")
