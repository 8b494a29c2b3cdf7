"""Run one pure step on many devices: shard_map, pmap, or jit over sharded arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from imbal_jax.engine.axis import AXIS, WHOLE
from imbal_jax.engine.fully_sharded import kept_sharded
from imbal_jax.engine.step import TrainStep
from imbal_jax.errors import InputError

Backend = Literal["shard_map", "pmap", "jit"]
BACKENDS: tuple[Backend, ...] = ("shard_map", "pmap", "jit")


def present_devices() -> list[jax.Device]:
    """The devices of JAX's platform; InputError where it has none, as on a machine without the GPU that is named."""
    try:
        return jax.devices()
    # AssertionError: of JAX, where the platform is known and has no device, as cuda without its plugin
    except (RuntimeError, AssertionError) as error:
        platforms = getattr(jax.config, "jax_platforms", None)
        if not platforms:
            raise
        gpu = "; for an NVIDIA GPU pip install 'imbal-jax[cuda]'" if "cuda" in platforms else ""
        raise InputError(
            f"JAX_PLATFORMS is {platforms!r}, and JAX finds no such device here: unset it, or name one that is here, "
            f"as JAX_PLATFORMS=cpu{gpu}"
        ) from error


def make_mesh(devices: Sequence[jax.Device] | int | None = None) -> Mesh:
    """A mesh with the one axis ``data`` over ``devices``: a list, a number (the first ones), or None (all).

    Raises ValueError when more devices are asked for than there are, and InputError as ``present_devices``.
    """
    if devices is None or isinstance(devices, int):
        present = present_devices()
        wanted = len(present) if devices is None else devices
        if not 1 <= wanted <= len(present):
            raise ValueError(f"{wanted} devices asked for, {len(present)} present ({present[0].platform})")
        devices = present[:wanted]
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """``tree`` whole on every device of the mesh; where several processes share it, each gives the same values."""
    whole = NamedSharding(mesh, P())

    def put(x: Any) -> Any:
        if jnp.issubdtype(getattr(x, "dtype", np.dtype(bool)), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        # device_put would compare the values of all processes, each shape by a program of its own
        views = [jax.device_put(np.asarray(x), device) for device in mesh.local_devices]
        return jax.make_array_from_single_device_arrays(np.shape(x), whole, views)

    return jax.device_put(tree, whole) if is_local(mesh) else jax.tree.map(put, tree)


def is_local(mesh: Mesh) -> bool:
    """Whether all devices of the mesh are this process's."""
    return len(mesh.local_devices) == mesh.size


def own_mesh(mesh: Mesh) -> Mesh:
    """``mesh``, or where other processes have a part in it this process's devices of it, to be used alone."""
    return mesh if is_local(mesh) else make_mesh(mesh.local_devices)


ALIGNMENT = 64  # bytes: XLA reads a host buffer in place where it begins at such an address
SMALL = 2**16  # bytes: not worth sharing


def place_resident(tree: Any, mesh: Mesh) -> Any:
    """``tree`` whole on every device of the mesh, to be read and never donated.

    On a CPU the devices read one copy: large arrays stay where numpy has them (``aligned`` first, or they are copied
    once).
    """
    devices = mesh.local_devices
    if devices[0].platform != "cpu":
        return replicate(tree, mesh)
    whole = NamedSharding(mesh, P())

    def put(x: Any) -> Any:
        if not isinstance(x, np.ndarray) or x.nbytes < SMALL:
            return replicate(x, mesh)
        x = aligned(x)
        views = [jax.device_put(x, device, may_alias=True) for device in devices]
        return jax.make_array_from_single_device_arrays(x.shape, whole, views)

    return jax.tree.map(put, tree)


def aligned(array: np.ndarray) -> np.ndarray:
    """``array``, or a copy of it, contiguous and at an address that devices of a CPU can read in place."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0:
        return array
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def room_for(nbytes: int, mesh: Mesh) -> bool:
    """Whether these bytes leave a third of each device's free memory for training; True if not known."""
    if mesh.devices.flat[0].platform == "cpu":
        return True  # they are in this memory already, and are read in place
    for device in mesh.local_devices:
        known = device.memory_stats() or {}
        if "bytes_limit" in known and 3 * nbytes > 2 * (known["bytes_limit"] - known.get("bytes_in_use", 0)):
            return False
    return True


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """A global batch [B, ...] cut along its first axis over the mesh; arrays under ``"shared"`` stay whole.

    Where several processes share the mesh, each gives the rows of its own ``local_places``.
    """
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), _batch_specs(batch), is_leaf=_is_spec)
    if is_local(mesh):
        return jax.device_put(batch, shardings)
    return jax.tree.map(jax.make_array_from_process_local_data, shardings, batch)


def local_places(batch_size: int, mesh: Mesh) -> np.ndarray:
    """int64 [B / processes]: the places of a global batch that lie on this process's devices."""
    share = batch_size // mesh.size
    own = [k for k, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return np.concatenate([np.arange(k * share, (k + 1) * share) for k in own])


def _is_spec(x: Any) -> bool:
    return isinstance(x, P)


def _batch_specs(batch: Any) -> Any:
    sharded, whole = P(AXIS), P()
    if not isinstance(batch, Mapping):
        return jax.tree.map(lambda _: sharded, batch)
    return {k: jax.tree.map(lambda _, s=whole if k == "shared" else sharded: s, v) for k, v in batch.items()}


def parallelize(
    step: Callable[[Any, Any], tuple[Any, Any]],
    mesh: Mesh,
    backend: Backend = "shard_map",
    *,
    donate: bool = True,
    sharded: bool = False,
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Compile ``step`` for the mesh: ``(state, global batch) -> (state, metrics)``, the same under every backend.

    state: whole on every device. batch: arrays [B, ...] with B divisible by the number of devices; arrays
    under ``batch["shared"]`` are seen whole by every device. The state is donated: do not use it again.

    shard_map (default), pmap: ``step`` sees one device's share and reduces over the axis ``data``.
    jit: ``step`` sees the global batch (a ``TrainStep`` is given ``axis_name=None``) and the compiler
    partitions it. sharded: of jit, the state comes and stays in parts (``engine.fully_sharded``).

    Raises ValueError for an unknown backend, for another than jit where ``sharded``, and for a batch that does not
    divide.
    """
    step = _prepared(step, mesh, backend, sharded)
    compiled: dict[Any, Callable[[Any, Any], tuple[Any, Any]]] = {}

    def run(state: Any, batch: Any) -> tuple[Any, Any]:
        structure = jax.tree.structure(batch)
        if structure not in compiled:
            compiled[structure] = _compile(step, mesh, backend, batch, donate, sharded)
        _check_divides(batch, mesh)
        return compiled[structure](state, _as_taken(batch, mesh, backend))

    return run


def temporary_bytes(
    step: Callable[[Any, Any], tuple[Any, Any]],
    mesh: Mesh,
    backend: Backend,
    state: Any,
    batch: Any,
    *,
    sharded: bool = False,
) -> int:
    """Bytes that a device needs for one step beside what goes in and comes out: activations, gradients, copies.

    The step is compiled for it as ``parallelize`` compiles it, and not run. state, batch: as of ``parallelize``.
    """
    step = _prepared(step, mesh, backend, sharded)
    compiled = _compile(step, mesh, backend, batch, donate=True, sharded=sharded)
    analysis = compiled.lower(state, _as_taken(batch, mesh, backend)).compile().memory_analysis()  # type: ignore[attr-defined]
    return int(analysis.temp_size_in_bytes)


def scan_steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    make_batch: Callable[[Any, jax.Array, jax.Array | None], Any],
    mesh: Mesh,
    backend: Backend = "shard_map",
    *,
    donate: bool = True,
    sharded: bool = False,
    resident_specs: Any = WHOLE,
) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """Compile many steps into one dispatch: ``(state, resident, count) -> (state, metrics)``.

    ``make_batch(resident, step, shard)`` builds the batch of ``state.step`` on the device, from data that is
    resident there: the share of device ``shard``, or the global batch where ``shard`` is None (backend jit).
    ``count`` is a runtime integer: one compilation serves any number of steps. Metrics are means over the
    steps that were not skipped, NaN where all were; ``skipped`` is their sum. sharded: as for ``parallelize``.
    resident_specs: how the resident arrays lie on the mesh, a prefix of their tree; whole on every device by default,
    and always so with pmap.
    """
    inner = _prepared(step, mesh, backend, sharded)

    def many(state: Any, resident: Any, count: jax.Array) -> tuple[Any, Any]:
        shard = None if backend == "jit" else jax.lax.axis_index(AXIS)

        def one(state: Any) -> tuple[Any, Any]:
            batch = make_batch(resident, state.step, shard)
            return inner(state, _constrained(batch, mesh) if backend == "jit" else batch)

        def body(_: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, sums = carry
            state, metrics = one(state)
            done = metrics["skipped"] == 0
            sums = {
                name: sums[name] + (value if name == "skipped" else jnp.where(done, value, 0))
                for name, value in metrics.items()
            }
            return state, sums

        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(one, state)[1])
        state, sums = jax.lax.fori_loop(0, count, body, (state, zeros))
        if sharded:  # else the compiler chooses for small arrays, and compiles again for what it chose
            state = kept_sharded(state, mesh)
        taken = jnp.where(count == sums["skipped"], jnp.nan, count - sums["skipped"])  # no step: no mean
        return state, {name: value if name == "skipped" else value / taken for name, value in sums.items()}

    if backend == "jit":
        whole = NamedSharding(mesh, P())
        of_state, of_spec = None if sharded else whole, partial(NamedSharding, mesh)
        compiled = jax.jit(
            many,
            in_shardings=(of_state, jax.tree.map(of_spec, resident_specs, is_leaf=_is_spec), None),
            out_shardings=(of_state, whole),
            donate_argnums=0 if donate else (),
        )
    elif backend == "shard_map":
        compiled = jax.jit(
            jax.shard_map(
                many, mesh=mesh, in_specs=(P(), resident_specs, P()), out_specs=P(), check_vma=False
            ),
            donate_argnums=0 if donate else (),
        )
    else:
        compiled = jax.pmap(
            lambda _, *args: many(*args),
            axis_name=AXIS,
            in_axes=(0, None, None, None),
            out_axes=None,
            devices=list(mesh.devices.flat),
        )
        device_axis = np.zeros((mesh.size,), np.int8)  # pmap requires a mapped argument
        return lambda state, resident, count: compiled(device_axis, state, resident, np.int32(count))
    return lambda state, resident, count: compiled(state, resident, np.int32(count))


def _constrained(batch: Any, mesh: Mesh) -> Any:
    """A batch made inside a compiled function, sharded over the mesh as ``shard_batch`` does."""
    return jax.tree.map(
        lambda spec, x: jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec)),
        _batch_specs(batch),
        batch,
        is_leaf=_is_spec,
    )


def _compile(
    step: Any, mesh: Mesh, backend: Backend, batch: Any, donate: bool, sharded: bool
) -> Callable[..., Any]:
    donated = 0 if donate else ()
    if backend == "pmap":
        # The state goes in and comes out whole (in_axes None), so that checkpoints and evaluation use it
        # as it is; pmap cannot donate such an argument.
        axes = {k: None if k == "shared" else 0 for k in batch}
        return jax.pmap(
            step, axis_name=AXIS, in_axes=(None, axes), out_axes=None, devices=list(mesh.devices.flat)
        )
    specs = _batch_specs(batch)
    if backend == "shard_map":
        mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), specs), out_specs=P(), check_vma=False)
        return jax.jit(mapped, donate_argnums=donated)
    placed = jax.tree.map(lambda s: NamedSharding(mesh, s), specs, is_leaf=_is_spec)
    whole = NamedSharding(mesh, P())
    of_state = None if sharded else whole
    return jax.jit(
        step, in_shardings=(of_state, placed), out_shardings=(of_state, whole), donate_argnums=donated
    )


def _prepared(step: Any, mesh: Mesh, backend: Backend, sharded: bool) -> Any:
    """The step as a backend takes it; ValueError for a backend that is unknown or keeps no sharded state."""
    _check_backend(backend, sharded)
    if backend == "jit":
        step = _without_axis(step)
    return _state_stays_sharded(step, mesh) if sharded else step


def _as_taken(batch: Any, mesh: Mesh, backend: Backend) -> Any:
    """The batch as the compiled step takes it: of pmap, with an axis of devices."""
    if backend != "pmap":
        return batch
    return {
        k: v if k == "shared" else jax.tree.map(lambda x: _split_leading(x, mesh.size), v)
        for k, v in batch.items()
    }


def _state_stays_sharded(step: Callable[[Any, Any], tuple[Any, Any]], mesh: Mesh) -> Callable[..., Any]:
    def stays(state: Any, batch: Any) -> tuple[Any, Any]:
        state, metrics = step(state, batch)
        return kept_sharded(state, mesh), metrics

    return stays


def _without_axis(step: Any) -> Any:
    return dataclasses.replace(step, axis_name=None) if isinstance(step, TrainStep) else step


def _split_leading(x: Any, parts: int) -> Any:
    return jnp.reshape(x, (parts, x.shape[0] // parts, *x.shape[1:]))


def _check_backend(backend: str, sharded: bool) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}: one of {', '.join(BACKENDS)}")
    if sharded and backend != "jit":
        raise ValueError(f"backend {backend!r} keeps the state whole: a sharded one needs jit")


def _check_divides(batch: Any, mesh: Mesh) -> None:
    local = {k: v for k, v in batch.items() if k != "shared"} if isinstance(batch, Mapping) else batch
    for leaf in jax.tree.leaves(local):
        if leaf.shape[0] % mesh.size:
            raise ValueError(f"a batch of {leaf.shape[0]} does not divide over {mesh.size} devices")
