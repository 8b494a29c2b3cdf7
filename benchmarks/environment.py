"""What a benchmark ran on: said with every result."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import jax


def environment() -> dict[str, object]:
    """Hardware, versions and the day, as plain JSON values."""
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "load_average_at_start": os.getloadavg()[0],
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
