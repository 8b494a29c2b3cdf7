"""The lists of places: those of a plain search, patch by patch, and the same as ever."""

import hashlib
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.data.feeding import places
from imbal_jax.data.feeding.patches import Patches, cut
from imbal_jax.data.feeding.places import Pools, list_places
from imbal_jax.errors import InputError
from imbal_jax.sampling import Plan, make_plan


def searched(
    masks: np.ndarray, groups: np.ndarray, classes: int, size: int, share: float, most: int, seed: int
) -> tuple[list[list[list[list[int]]]], np.ndarray]:
    """The places of each class and case, and the mean shares, found by looking into every patch.

    The last pool is that of images of no class. Drawing is as documented: image after image, class after class, up to
    eight times what is lacking, pixels and then where in the patch they lie.
    """
    planes = (
        np.moveaxis(masks == 1, -1, 0)
        if masks.ndim == 4
        else masks == np.arange(classes)[:, None, None, None]
    )
    known = np.moveaxis(masks >= 0, -1, 0) if masks.ndim == 4 else np.stack([masks >= 0] * classes)
    cases = sorted(set(groups.tolist()))
    pools = [planes[c].any(axis=(1, 2)) for c in range(classes)]
    pools.append(~np.any(pools, axis=0))
    rng = np.random.default_rng([seed, 17])
    found: list[list[list[list[int]]]] = [[[] for _ in cases] for _ in pools]
    shares: list[list[list[float]]] = [[] for _ in pools]
    rows, columns = masks.shape[1] - size, masks.shape[2] - size
    for image, case in enumerate(map(cases.index, groups.tolist())):
        for p, holding in enumerate(pools):
            if not holding[image]:
                continue
            each = max(1, most // len({group for group, held in zip(groups, holding, strict=True) if held}))
            lacking = -(-each // sum(holding[groups == groups[image]]))
            if p == classes:
                kept = rng.integers(0, [rows + 1, columns + 1], (lacking, 2)).tolist()
            else:
                own, kept = np.argwhere(planes[p, image]), []
                for _ in range(8):
                    pixels = own[rng.choice(len(own), lacking, replace=len(own) < lacking)]
                    for y, x in pixels - rng.integers(0, size, (lacking, 2)):
                        at = [min(max(y, 0), rows), min(max(x, 0), columns)]
                        held = planes[p, image, at[0] : at[0] + size, at[1] : at[1] + size].sum()
                        if held >= max(1, share * size * size):
                            kept.append(at)
                            lacking -= 1
                    if lacking <= 0:
                        break
            for y, x in kept:
                within = np.s_[:, image, y : y + size, x : x + size]
                shares[p].append(
                    planes[within].sum(axis=(1, 2)) / np.maximum(known[within].sum(axis=(1, 2)), 1)
                )
                found[p][case].append([image, y, x])
    return found, np.array([np.mean(of, axis=0) if of else np.zeros(classes) for of in shares])


@st.composite
def masks_of_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Masks of few values in blocks, some of them empty or not known: a class a pixel, or overlapping labels."""
    count, classes = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    height, width = draw(st.integers(4, 24)), draw(st.integers(4, 24))
    overlapping = draw(st.booleans())
    lowest, values = (-2, 2) if overlapping else (-1, classes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    side = draw(st.sampled_from([1, 3, 8]))
    shape = (count, -(-height // side), -(-width // side), *([classes] if overlapping else []))
    blocks = rng.integers(lowest, values, shape) * (
        rng.random(shape) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    )
    masks = blocks.repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width].astype(np.int8)
    masks[rng.random(count) < 0.2] = draw(st.sampled_from([0, -1]))
    return masks, rng.integers(0, 4, count) * 7, classes


@settings(deadline=None, max_examples=150)
@given(
    masks_of_cases(),
    st.floats(0.1, 1),
    st.sampled_from([0.0, 0.0, 0.05, 0.3]),
    st.sampled_from([1, 9, 60]),
    st.integers(0, 99),
    st.sampled_from([1, 500, places.STRETCH]),
)
def test_the_lists_are_those_of_a_search_of_every_patch(
    drawn: tuple[np.ndarray, np.ndarray, int], part: float, share: float, most: int, seed: int, stretch: int
) -> None:
    masks, groups, classes = drawn
    size = max(1, int(part * min(masks.shape[1:3])))
    found, shares = searched(masks, groups, classes, size, share, most, seed)
    held = [(masks[..., c] == 1 if masks.ndim == 4 else masks == c).any() for c in range(classes)]
    options: dict[str, Any] = {"share": share, "most": most, "seed": seed}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(places, "STRETCH", stretch)
        if any(here and not any(found[c]) for c, here in enumerate(held)):
            with pytest.raises(InputError, match=r"patch\.share is .*: no patch of"):
                list_places(masks, groups, classes, size, **options)
            return
        pools = list_places(masks, groups, classes, size, **options)
    listed = pools.patches
    assert [[len(of) for of in row] for row in found] == listed.count.tolist()
    for p, row in enumerate(found):
        for case, of_case in enumerate(row):
            start = listed.start[p, case]
            assert listed.places[start : start + len(of_case)].tolist() == of_case
    np.testing.assert_array_equal(pools.members, (listed.count[:classes] > 0).T)
    np.testing.assert_allclose(pools.shares, shares, rtol=1e-12)


@pytest.mark.parametrize("size", [15, 16, 255, 256, 299])
def test_the_pixels_of_large_patches_are_counted(size: int) -> None:
    masks = np.ones((2, 300, 301), np.int8)
    masks[1, :, :150] = 0
    pools = list_places(masks[:1], np.zeros(1), 2, size, most=50)
    np.testing.assert_array_equal(pools.shares[1], [0, 1])
    both = list_places(masks, np.zeros(2), 2, size, most=50)
    first, last = both.patches.start[1, 0], both.patches.start[1, 0] + both.patches.count[1, 0]
    whole = [
        masks[image, y : y + size, x : x + size].mean() for image, y, x in both.patches.places[first:last]
    ]
    np.testing.assert_allclose(both.shares[1], [1 - np.mean(whole), np.mean(whole)])


def digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def spots(overlapping: bool) -> tuple[np.ndarray, np.ndarray]:
    """Masks of 14 images of 5 cases: spots of two classes, an image without any, one of which nothing is known."""
    rows, columns = np.mgrid[:30, :26]
    masks = np.stack([(rows - 5 - i) ** 2 + (columns - 20 + i) ** 2 <= 4 + i for i in range(14)]).astype(
        np.int8
    )
    masks[3] = 0
    masks[4:6] *= 2
    masks[6, :, :3] = -1
    masks[7] = -1
    if overlapping:
        masks = np.stack([masks == 1, np.roll(masks, 3, axis=1) >= 1], axis=-1).astype(np.int8)
        masks[8, :, :4, 1] = -1
    return masks, np.arange(14)[::-1] // 3


BEFORE = {
    "one class a pixel": (False, {}, "1ecffe4d58afcdcf", "206359bde9d90214"),
    "few places": (False, {"most": 30, "seed": 5}, "addfb5827c424d6e", "a3469655dc002b21"),
    "by share": (False, {"share": 0.1, "most": 400}, "da94f8b855b47744", "b60a41bd9d1ad043"),
    "overlapping": (True, {"most": 500}, "02cbe67ada1b339f", "62cdc983801be373"),
    "overlapping, by share": (True, {"share": 0.12, "most": 500}, "4f78c7d3e2093c57", "d10ea5f492ef8b37"),
    "plain crops": (False, {"by_image": True}, "09447b48061a4f7e", "853920df9ff914e8"),
}
"""Digests of the lists and of 50 batches, by the code that listed image by image and drew by jax.random.randint."""


@jax.jit
def batches(patches: Patches, plan: Plan) -> Any:
    steps = np.arange(50, dtype=np.uint32)
    return jax.vmap(lambda step: cut(patches, plan, step, None, by_image=patches.by_image))(steps)


@pytest.mark.parametrize("case", BEFORE)
def test_lists_and_batches_are_the_ones_they_always_were(case: str) -> None:
    overlapping, options, of_lists, of_batches = BEFORE[case]
    pools: Pools = list_places(*spots(overlapping), 2 if overlapping else 3, 9, **options)
    patches = pools.patches
    assert digest(patches.places, patches.start, patches.count, pools.members) == of_lists
    if patches.by_image:
        plan = make_plan(np.ones((14, 1), np.int8), 12, "natural", seed=3)
    else:
        plan = make_plan(pools.members, 12, "balanced", seed=3, num_shards=2)
    assert digest(*batches(patches, plan)) == of_batches
