"""Patches: exact quotas by class and case, anywhere around the object, the same on any number of shards."""

from typing import Any

import jax
import numpy as np
import pytest

from imbal_jax.data.feeding.patches import cropped, cropped_on_host, cut
from imbal_jax.data.feeding.places import Pools, list_places
from imbal_jax.data.feeding.plans import Plans, draw
from imbal_jax.data.feeding.stream import HostBatches
from imbal_jax.errors import InputError
from imbal_jax.sampling import Plan, make_plan
from imbal_jax.sampling.draws import batch_pools

SIZE = 8


def discs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks [12, 24, 20] of 6 cases, 2 images each: a disc of class 1 in cases 0 to 3, of class 2 in case 5 only."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:24, :20]
    masks = np.zeros((12, 24, 20), np.int8)
    for image in (0, 1, 2, 3, 4, 6, 10, 11):
        y, x = rng.integers(2, 22), rng.integers(2, 18)
        of = 2 if image >= 10 else 1
        masks[image][(rows - y) ** 2 + (columns - x) ** 2 <= 4] = of
    masks[5] = -1
    return masks, np.arange(12) // 2


def pools_and_plan(
    composition: Any = "balanced", **options: Any
) -> tuple[np.ndarray, np.ndarray, Pools, Plan]:
    masks, groups = discs()
    pools = list_places(masks, groups, 3, SIZE, **options)
    return masks, groups, pools, make_plan(pools.members, 12, composition, num_shards=4)


@jax.jit
def _every(masks: np.ndarray, pools: Pools, plan: Plan, steps: np.ndarray) -> tuple[jax.Array, ...]:
    def of(step: jax.Array) -> tuple[jax.Array, ...]:
        at = cut(pools.patches, plan, step, None, by_image=False)
        return at.images, cropped(masks, at, SIZE), batch_pools(plan, step)

    return jax.vmap(of)(steps)


def every(masks: np.ndarray, pools: Pools, plan: Plan, steps: int) -> tuple[np.ndarray, ...]:
    """Of each step and place: the image, the patch, and the class that it was drawn for."""
    images, patches, drawn_for = _every(masks, pools, plan, np.arange(steps, dtype=np.uint32))
    return np.asarray(images), np.asarray(patches), np.asarray(drawn_for)


def test_every_batch_holds_its_quota_of_patches_of_each_class_and_each_case_comes_once_a_pass() -> None:
    masks, groups, pools, plan = pools_and_plan()
    for images, patches, drawn_for in zip(*every(masks, pools, plan, 6), strict=True):
        np.testing.assert_array_equal(np.bincount(drawn_for), [4, 4, 4])
        for c in (1, 2):
            assert (patches[drawn_for == c] == c).any(axis=(1, 2)).all()
        # four cases have class 1, drawn four a batch: a batch is a pass over the cases, not over their images
        assert sorted(groups[images[drawn_for == 1]]) == [0, 1, 2, 3]
        assert set(groups[images[drawn_for == 2]]) == {5}


def test_the_object_is_anywhere_in_its_patch() -> None:
    masks, _, pools, plan = pools_and_plan(composition=np.array([0, 12, 0]))
    _, patches, _ = every(masks, pools, plan, 40)
    centres = [np.argwhere(patch == 1).mean(axis=0) for patch in patches.reshape(-1, SIZE, SIZE)]
    low, high = np.quantile(centres, [0.1, 0.9], axis=0)
    assert (low < 2.5).all()
    assert (high > 4.5).all()


def test_a_share_of_the_class_is_asked_of_every_patch() -> None:
    masks, _, pools, plan = pools_and_plan(composition=np.array([0, 12, 0]), share=0.15)
    _, patches, _ = every(masks, pools, plan, 10)
    assert ((patches == 1).mean(axis=(2, 3)) >= 0.15).all()
    with pytest.raises(
        InputError, match=r"patch.share is 0.9: no patch of 8 pixels a side holds as much of class 1"
    ):
        list_places(*discs(), 3, SIZE, share=0.9)


def test_the_lists_are_capped_and_every_case_keeps_a_place() -> None:
    masks, groups = discs()
    pools = list_places(masks, groups, 3, SIZE, most=40)
    count = np.asarray(pools.patches.count)
    assert count.sum(axis=1)[1] <= 44  # rounded up in each of its images
    np.testing.assert_array_equal(count[1] > 0, [True, True, True, True, False, False])
    np.testing.assert_array_equal(count[2] > 0, [False] * 5 + [True])


def test_shares_of_the_classes_are_those_of_the_patches_that_are_drawn() -> None:
    masks, _, pools, plan = pools_and_plan(most=100_000)
    _, patches, drawn_for = every(masks, pools, plan, 300)
    known = np.maximum((patches >= 0).sum(axis=(2, 3)), 1)
    shares = np.stack([(patches == c).sum(axis=(2, 3)) / known for c in range(3)], axis=-1)
    found = [shares[drawn_for == c].mean(axis=0) for c in (1, 2)]
    np.testing.assert_allclose(found, pools.shares[1:3], atol=0.01)


def test_the_shards_of_a_batch_are_its_parts() -> None:
    _, _, pools, plan = pools_and_plan()
    plans = Plans(plan, patches=pools.patches)
    whole = draw(plans, np.uint32(7))
    parts = [draw(plans, np.uint32(7), np.uint32(shard)) for shard in range(4)]
    for name in ("items", "places", "corners"):
        together = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(together, getattr(whole, name))


def test_before_a_deferred_composition_patches_are_plain_crops() -> None:
    _, _, pools, plan = pools_and_plan()
    plain = make_plan(np.ones((12, 1), np.int8), 12, "natural", num_shards=4)
    plans = Plans(plan, before=plain, switch=np.int32(5), patches=pools.patches)
    early, late = draw(plans, np.uint32(4)), draw(plans, np.uint32(5))
    assert sorted(np.asarray(early.items)) == list(range(12))  # each image once a pass
    own = cut(pools.patches, plan, np.uint32(5), None, by_image=False)
    np.testing.assert_array_equal(late.items, own.images)
    np.testing.assert_array_equal(late.corners, own.corners)


def test_plain_crops_are_uniform_over_all_places() -> None:
    masks, groups = discs()
    pools = list_places(masks, groups, 3, SIZE, by_image=True)
    plan = make_plan(np.ones((12, 1), np.int8), 12, "natural")
    of_steps = jax.vmap(lambda step: cut(pools.patches, plan, step, None, by_image=True).corners)
    corners = np.asarray(of_steps(np.arange(500, dtype=np.uint32))).reshape(-1, 2)
    counts = np.zeros((17, 13))
    np.add.at(counts, tuple(corners.T), 1)
    expected = len(corners) / counts.size
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_streamed_patches_are_those_cut_on_the_device() -> None:
    masks, _, pools, plan = pools_and_plan()
    images = np.random.default_rng(1).integers(0, 256, (12, 24, 20, 3)).astype(np.uint8)
    plans = Plans(plan, patches=pools.patches)
    batch = HostBatches(images=images, labels=masks, plans=plans)[3]
    at = cut(pools.patches, plan, np.uint32(3), None, by_image=False)
    np.testing.assert_array_equal(batch["images"], cropped(images, at, SIZE))
    np.testing.assert_array_equal(batch["labels"], cropped(masks, at, SIZE))


def test_overlapping_labels_have_a_pool_of_cases_without_any() -> None:
    masks = np.zeros((5, 20, 20, 2), np.int8)
    masks[0, 3:6, 3:6, 0] = 1
    masks[1, 8:12, 4:9, 0] = masks[1, 9:14, 5:8, 1] = 1
    masks[2, :, :, 1] = -1
    pools = list_places(masks, np.arange(5), 2, SIZE)
    np.testing.assert_array_equal(pools.members, [[1, 0], [1, 1], [0, 0], [0, 0], [0, 0]])
    plan = make_plan(pools.members, 9, "balanced")
    images = np.asarray(cut(pools.patches, plan, np.uint32(0), None, by_image=False).images)
    assert sorted(images[np.asarray(batch_pools(plan, 0)) == 2]) == [2, 3, 4]


def test_a_patch_larger_than_the_images_is_refused() -> None:
    with pytest.raises(InputError, match=r"patch.size is 21, the images are 24 x 20: give a side that fits"):
        list_places(*discs(), 3, 21)


def test_the_host_cuts_what_the_device_cuts() -> None:
    images = np.arange(2 * 10 * 10).reshape(2, 10, 10)
    found = cropped_on_host(images, np.array([[1, 2], [0, 0]]), 4)
    np.testing.assert_array_equal(found[0], images[0, 1:5, 2:6])
    np.testing.assert_array_equal(found[1], images[1, :4, :4])
