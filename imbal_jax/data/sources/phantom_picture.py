"""Draws synthetic chest radiographs: anatomy, findings, attenuation and exposure."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# Attenuation added by a finding, where the body is 1, the air of a full lung -0.62, a rib 0.11 and the noise in
# a lung about 0.02. Set so that four stages of stride-1 convolution, pooled by a global maximum, begin to tell each
# finding from normal in 450 balanced batches of 32, with the 10 to 29 examples that a 70 % split of 8,000 images at
# 1:100 holds, and call everything normal in natural batches. A stem that halves 96 pixels at once sees no nodule.
NODULE_CONTRAST = (0.36, 0.48)
CONSOLIDATION_CONTRAST = (0.30, 0.42)
EFFUSION_CONTRAST = (0.42, 0.55)
# Size as a fraction of the image width: diameter of a nodule, of a patch; height of fluid at the wall.
NODULE_DIAMETER = (0.07, 0.10)
CONSOLIDATION_DIAMETER = (0.15, 0.25)
EFFUSION_HEIGHT = (0.12, 0.24)

# Stored value = OFFSET + GAIN * attenuation, 12 bits, before polarity.
BITS, OFFSET, GAIN = 12, 300.0, 2500.0


@dataclass(frozen=True)
class Anatomy:
    """One patient, in half image widths; u runs to the patient's left, v downwards, both from -1 to 1."""

    build: float  # thickness of the trunk
    shoulder: float  # v of the shoulder line at the neck
    flank: float  # u of the body's side
    apex: float  # v of the top of the lungs
    widest: float  # v where the lungs are widest
    middle: float  # |u| of the apex
    outer: float  # from there to the lateral wall
    inner: float  # from there to the mediastinum
    air: float  # how dark a lung is
    dome: tuple[float, float]  # v of the right and left diaphragm
    arch: float  # curvature of the domes
    heart: tuple[float, float, float, float, float]  # u, v, half width, half height, tilt
    knob: float  # radius of the aortic arch
    ribs: tuple[float, float, float, float]  # spacing, phase, slope, contrast
    clavicle: tuple[float, float]  # v at the sternum, rise
    breast: float  # attenuation of the breast shadows, 0 in about half
    bubble: float  # air in the stomach
    texture: np.ndarray  # float32 [12, 12], vessels and everything unnamed


@dataclass(frozen=True)
class Finding:
    """What is abnormal, and where, in half image widths: side -1 is the patient's right, u and v the centre."""

    name: str
    side: int = 1
    u: float = 0.0
    v: float = 0.0
    size: float = 0.0
    contrast: float = 0.0
    shape: float = 1.0


@dataclass(frozen=True)
class Picture:
    """One exposure: stored uint16 [size, size] with dense tissue bright, and the window that shows it."""

    stored: np.ndarray
    center: float
    width: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient drawn at random: wide enough to overlap, narrow enough to stay a chest."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    dome = between(0.46, 0.62)
    return Anatomy(
        build=between(0.88, 1.12),
        shoulder=between(-0.86, -0.76),
        flank=between(0.94, 1.10),
        apex=between(-0.80, -0.66),
        widest=between(0.15, 0.35),
        middle=between(0.32, 0.38),
        outer=between(0.36, 0.46),
        inner=between(0.17, 0.23),
        air=between(0.56, 0.68),
        dome=(dome, dome + between(0.0, 0.08)),
        arch=between(0.7, 1.3),
        heart=(
            between(0.10, 0.16),
            dome - between(0.14, 0.22),
            between(0.32, 0.42),
            between(0.26, 0.34),
            between(0.3, 0.6),
        ),
        knob=between(0.07, 0.11),
        ribs=(between(0.125, 0.155), between(0.0, 1.0), between(0.30, 0.50), between(0.08, 0.13)),
        clavicle=(between(-0.60, -0.50), between(0.06, 0.16)),
        breast=max(0.0, between(-0.12, 0.14)),
        bubble=max(0.0, between(-0.15, 0.25)),
        texture=rng.standard_normal((12, 12), dtype=np.float32),
    )


def draw_finding(name: str, anatomy: Anatomy, rng: np.random.Generator) -> Finding:
    """Where the finding sits in this patient; nodules keep clear of the lung's edge and of the heart."""
    side = int(rng.choice((-1, 1)))
    dome = anatomy.dome[side > 0]
    if name == "normal":
        return Finding("normal")
    if name == "effusion":
        height = 2 * rng.uniform(*EFFUSION_HEIGHT)
        return Finding(
            name,
            side,
            0.0,
            dome,
            float(height),
            float(rng.uniform(*EFFUSION_CONTRAST)),
            float(rng.uniform(0.4, 0.7)),
        )
    small = name == "nodule"
    sizes, contrasts = (
        (NODULE_DIAMETER, NODULE_CONTRAST) if small else (CONSOLIDATION_DIAMETER, CONSOLIDATION_CONTRAST)
    )
    # The left lung is behind the heart below its upper border: keep the centre above.
    lowest = dome - 0.12 if side < 0 else anatomy.heart[1] - 0.12
    v = rng.uniform(anatomy.apex + 0.28, lowest)
    rise = float(np.sqrt(1 - max(0.0, (anatomy.widest - v) / (anatomy.widest - anatomy.apex)) ** 2))
    inside, outside = (
        anatomy.middle - anatomy.inner * rise + 0.10,
        anatomy.middle + anatomy.outer * rise - 0.10,
    )
    u = side * rng.uniform(inside, max(inside + 0.01, outside))
    return Finding(
        name,
        side,
        float(u),
        float(v),
        float(rng.uniform(*sizes)),  # a diameter in image widths is a radius in half widths
        float(rng.uniform(*contrasts)),
        float(rng.uniform(0.75, 1.3)),
    )


def attenuation(anatomy: Anatomy, finding: Finding, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attenuation float32 [size, size] on the coordinates u, v of the same shape."""
    grid = _Grid(u, v)
    total, body = _trunk(anatomy, grid)
    rise, lung = _lungs(anatomy, grid)
    heart = _add_mediastinum(total, anatomy, grid, lung)
    _add_skeleton(total, anatomy, grid, rise, body, heart)
    texture = _add_soft_tissue(total, anatomy, grid, body, lung)
    _add_finding(total, finding, grid, lung, heart, texture)
    return total


class _Grid:
    """Coordinates of the pixels: u, v as in ``Anatomy``, x = |u|, and whether a pixel is on the left side."""

    def __init__(self, u: np.ndarray, v: np.ndarray) -> None:
        self.u, self.v, self.x, self.left = u, v, np.abs(u), u > 0
        self.pixel = 2.0 / u.shape[0]

    def soft(self, distance: np.ndarray, edge: float) -> np.ndarray:
        """1 inside, 0 outside, with an edge at least a pixel wide."""
        return np.clip(distance / max(edge, self.pixel) + 0.5, 0.0, 1.0)


def _hill(du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return np.exp(-(du * du + dv * dv))


def _trunk(a: Anatomy, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation of the trunk, and where the body is, 0 to 1."""
    u, v, x = grid.u, grid.v, grid.x
    # Shoulders slope away from the neck, thickness falls off towards the flanks.
    shoulders = v - (a.shoulder + 0.26 * x * x)
    neck = 0.17 - x - 0.14 * v
    body = grid.soft(np.maximum(shoulders, neck), 0.05) * grid.soft(a.flank - x - 0.04 * v, 0.05)
    thick = np.sqrt(np.clip(1.0 - 0.66 * (u / a.flank) ** 2, 0.05, 1.0)) * (0.88 + 0.12 * v)
    return a.build * thick * body, body


def _lungs(a: Anatomy, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """How far the lungs have widened at each height, and where they are, 0 to 1."""
    v, x, left = grid.v, grid.x, grid.left
    # Two arches that meet at the apex, cut by the domes of the diaphragm.
    above = np.clip((a.widest - v) / (a.widest - a.apex), 0.0, 1.0)
    rise = np.sqrt(1.0 - above * above)
    dome = np.where(left, np.float32(a.dome[1]), np.float32(a.dome[0])) + a.arch * (x - 0.40) ** 2
    wall = np.minimum(a.middle + a.outer * rise - x, x - (a.middle - a.inner * rise))
    depth = np.maximum(np.minimum(wall, dome - v), 0.0)
    return rise, depth / (depth + 0.035)


def _add_mediastinum(total: np.ndarray, a: Anatomy, grid: _Grid, lung: np.ndarray) -> np.ndarray:
    """Add air, heart, aortic arch, hila and trachea to ``total``; returns where the heart is, 0 to 1."""
    u, v, x = grid.u, grid.v, grid.x
    # Heart and aortic arch take the place of air; behind them a part of the lung stays.
    hu, hv, wide, tall, tilt = a.heart
    du, dv = u - hu, v - hv
    heart = np.maximum(1.0 - ((du + tilt * dv) / wide) ** 2 - ((dv - 0.3 * tilt * du) / tall) ** 2, 0.0)
    heart = heart / (heart + 0.10)
    arch = grid.soft(a.knob - np.hypot(u - 0.12, v + 0.22), 0.07)
    total -= a.air * lung * (1.0 - 0.95 * heart) * (1.0 - 0.75 * arch)
    total += 0.13 * heart + 0.06 * arch
    total += 0.10 * grid.soft(0.15 - x, 0.10) * grid.soft(v + 0.75, 0.3)
    total += 0.15 * _hill((x - 0.20) / 0.08, (v - 0.0) / 0.15) * lung  # hila
    total -= 0.14 * grid.soft(0.05 - np.abs(u + 0.01), 0.04) * grid.soft(-0.15 - v, 0.2)  # trachea
    return heart


def _add_skeleton(
    total: np.ndarray, a: Anatomy, grid: _Grid, rise: np.ndarray, body: np.ndarray, heart: np.ndarray
) -> None:
    """Add spine with its discs, posterior and anterior ribs, clavicles and humeral heads."""
    v, x = grid.v, grid.x
    spacing, phase, slope, bone = a.ribs
    total += grid.soft(0.075 - x, 0.03) * (0.09 + 0.035 * np.cos((2 * np.pi / spacing) * v)) * body
    cage = (
        grid.soft(a.middle + a.outer * rise + 0.05 - x, 0.06)
        * grid.soft(0.66 - v, 0.2)
        * grid.soft(x - 0.07, 0.06)
    )
    course = (v - slope * (x - 0.25) ** 2 * 1.6) / spacing + phase
    off = course - np.rint(course)
    ribs = np.maximum(1.0 - (off / 0.24) ** 2, 0.0)
    course = (v + 0.75 * slope * x + 0.25 * x * x) / (1.25 * spacing) + phase
    off = course - np.rint(course)
    ribs += 0.6 * np.maximum(1.0 - (off / 0.20) ** 2, 0.0) * grid.soft(x - 0.3, 0.3)
    total += bone * ribs * cage * (1.0 - 0.6 * heart)
    start, climb = a.clavicle
    line = v - (start - climb * np.sin(2.2 * x) - 0.05 * x)
    total += (
        0.15
        * np.maximum(1.0 - (line / 0.045) ** 2, 0.0)
        * grid.soft(x - 0.08, 0.05)
        * grid.soft(0.80 - x, 0.1)
    )
    total += 0.14 * grid.soft(0.17 - np.hypot(x - 0.96, v + 0.42), 0.06) * body


def _add_soft_tissue(
    total: np.ndarray, a: Anatomy, grid: _Grid, body: np.ndarray, lung: np.ndarray
) -> np.ndarray:
    """Add breasts, stomach bubble and the texture of vessels, which is returned."""
    u, v, x = grid.u, grid.v, grid.x
    if a.breast:
        total += a.breast * grid.soft(0.34 - np.hypot(x - 0.52, v - 0.36), 0.10)
    if a.bubble:
        total -= a.bubble * _hill((u - 0.42) / 0.13, (v - a.dome[1] - 0.17) / 0.08)
    size = u.shape[0]
    texture = np.asarray(Image.fromarray(a.texture).resize((size, size), Image.Resampling.BICUBIC))
    total += texture * (0.012 + 0.022 * lung)
    return texture


def _add_finding(
    total: np.ndarray,
    finding: Finding,
    grid: _Grid,
    lung: np.ndarray,
    heart: np.ndarray,
    texture: np.ndarray,
) -> None:
    u, v, x, left = grid.u, grid.v, grid.x, grid.left
    if finding.name == "nodule":
        distance = ((u - finding.u) ** 2 + (v - finding.v) ** 2) / finding.size**2
        total += finding.contrast * np.clip(1.6 * (1.0 - distance), 0.0, 1.0)
    elif finding.name == "consolidation":
        distance = ((u - finding.u) * finding.shape) ** 2 + ((v - finding.v) / finding.shape) ** 2
        patchy = np.clip(1.0 + 0.3 * texture, 0.6, 1.4)
        total += finding.contrast * np.clip(1.5 - distance / finding.size**2, 0.0, 1.0) * patchy * lung
    elif finding.name == "effusion":
        # Fluid climbs the lateral wall: the meniscus. It hides the dome and the costophrenic angle.
        lateral = np.clip((x - 0.15) / 0.6, 0.0, 1.0)
        level = finding.v - finding.size * (1.0 - finding.shape + finding.shape * lateral**2)
        fluid = grid.soft(v - level, 0.08) * lung * (1.0 - heart) * (left if finding.side > 0 else ~left)
        total += finding.contrast * fluid


def expose(anatomy: Anatomy, finding: Finding, size: int, rng: np.random.Generator) -> Picture:
    """One radiograph of the patient: position, exposure and noise are this image's own.

    Noise: a detector that counts n photons per pixel and stores log n has the standard deviation 1 / sqrt(n),
    so noise grows as exp(attenuation / 2) and is worst behind the heart and the diaphragm.
    """
    turn = rng.normal(0.0, 0.03)
    scale = rng.uniform(0.96, 1.06)
    shift = rng.normal(0.0, 0.025, size=2)
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0) / np.float32(scale)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = (cosine * axis - np.float32(shift[0]))[None, :] + (sine * axis)[:, None]
    v = (cosine * axis - np.float32(shift[1]))[:, None] - (sine * axis)[None, :]
    dense = attenuation(anatomy, finding, u, v).astype(np.float32, copy=False)

    contrast, fog = rng.uniform(0.92, 1.08), rng.normal(0.0, 0.03)
    noise = np.float32(rng.uniform(0.012, 0.02)) * np.exp(np.float32(0.5) * dense)
    noise *= rng.standard_normal(dense.shape, dtype=np.float32)
    stored = np.float32(GAIN * contrast) * dense + np.float32(OFFSET + GAIN * fog) + np.float32(GAIN) * noise
    stored = np.clip(np.rint(stored), 0, 2**BITS - 1).astype(np.uint16)
    # From clear lung to the spine behind the heart, give or take the radiographer's taste.
    low, high = rng.uniform(0.06, 0.12), rng.uniform(1.20, 1.32)
    return Picture(stored, round(OFFSET + GAIN * (low + high) / 2), round(GAIN * (high - low)))
