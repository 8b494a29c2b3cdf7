"""Fully sharded data parallelism: each device holds a part of every large array of the training state.

As ZeRO stage 3 (Rajbhandari et al. 2020, arXiv 1910.02054) and FSDP (Zhao et al. 2023, arXiv 2304.11277): parameters,
optimiser state and averages are cut along one axis each, gathered where a layer needs them, and gradients are reduced
to the part that a device updates. The compiler inserts the communication, from the shardings alone (backend jit).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from imbal_jax.engine.axis import AXIS

SMALL = (
    2**12
)  # entries; smaller arrays are whole on every device: cutting them saves nothing and costs a message


def spec_of(shape: tuple[int, ...], devices: int) -> P:
    """The longest axis that divides by the number of devices, the last of equals; none for a small array."""
    if int(np.prod(shape)) < SMALL:
        return P()
    axes = [axis for axis, length in enumerate(shape) if length % devices == 0 and length >= devices]
    if not axes:
        return P()
    chosen = max(axes, key=lambda axis: (shape[axis], axis))
    return P(*(AXIS if axis == chosen else None for axis in range(chosen + 1)))


def sharding_of(leaf: Any, mesh: Mesh) -> NamedSharding:
    """The sharding of one array; random keys are whole."""
    plain = hasattr(leaf, "shape") and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return NamedSharding(mesh, spec_of(leaf.shape, mesh.size) if plain else P())


def fully_shard(tree: Any, mesh: Mesh) -> Any:
    """``tree`` with every array in parts, or whole where it is small or no axis divides.

    Where several processes share the mesh, each gives the same values and keeps the parts of its own devices.
    """
    return jax.tree.map(lambda leaf: _placed(leaf, sharding_of(leaf, mesh)), tree)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if sharding.is_fully_addressable or getattr(leaf, "sharding", None) == sharding:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])


def whole_on_host(array: Any) -> np.ndarray:
    """All of an array. Where parts of it lie on devices of other processes, these have to call this as well."""
    placing = getattr(array, "sharding", None)
    if isinstance(placing, NamedSharding) and not (
        placing.is_fully_addressable or placing.is_fully_replicated
    ):
        array = _gather(placing.mesh)(array)
    return np.asarray(array)


@lru_cache(maxsize=4)
def _gather(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda array: array, out_shardings=NamedSharding(mesh, P()))


def kept_sharded(tree: Any, mesh: Mesh) -> Any:
    """The same inside a compiled function."""
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding_of(leaf, mesh)), tree)


def bytes_a_device(tree: Any) -> int:
    """Bytes of the arrays of ``tree`` on the device that holds most of them."""
    held: dict[Any, int] = {}
    for leaf in jax.tree.leaves(tree):
        data = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for shard in data.addressable_shards:
            held[shard.device] = held.get(shard.device, 0) + shard.data.nbytes
    return max(held.values(), default=0)
