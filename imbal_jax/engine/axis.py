"""The one axis of the mesh of devices."""

from jax.sharding import PartitionSpec as P

AXIS = "data"
WHOLE = P()
"""On every device, all of it."""
