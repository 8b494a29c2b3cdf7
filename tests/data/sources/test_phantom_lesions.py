"""Pictures with small lesions that are made on the spot, with their masks."""

import numpy as np
import pytest
from scipy import ndimage

from imbal_jax.config import Data
from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.read import read
from imbal_jax.errors import InputError


def made(tmp_path, **options):
    values = {"source": "phantom_lesions", "phantom_images": 600, "phantom_imbalance": 9.0, **options}
    return read(Data(**values), tmp_path, lambda line: None)[0]


def test_the_share_of_lesion_pixels_and_of_images_are_those_asked_for(tmp_path) -> None:
    data = check_dataset(made(tmp_path))
    assert data.images.shape == (600, 64, 64, 1)
    assert data.labels.dtype == np.int8
    assert data.image_labels.sum(axis=0).tolist() == [600, 60]
    assert (data.labels == 1).mean() == pytest.approx(0.0007, rel=0.1)
    many = made(tmp_path, lesion_share=0.01, phantom_imbalance=1.0)
    assert (many.labels == 1).mean() == pytest.approx(0.01, rel=0.1)
    # patients have two images, both with or both without
    pairs = many.image_labels[:, 1].reshape(300, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()
    np.testing.assert_array_equal(many.groups.reshape(300, 2), np.arange(300)[:, None].repeat(2, 1))


def test_lesions_are_brighter_than_their_surroundings_and_vary(tmp_path) -> None:
    data = made(tmp_path, phantom_imbalance=1.0, lesion_share=0.01)
    contrasts = []
    for image, mask in zip(data.images[..., 0].astype(float), data.labels == 1, strict=True):
        if mask.any():
            ring = ndimage.binary_dilation(mask, iterations=5) & ~ndimage.binary_dilation(mask, iterations=3)
            contrasts.append(image[mask].mean() - image[ring].mean())
    assert np.mean(np.array(contrasts) > 5) > 0.98
    assert np.std(contrasts) > 8
    # no threshold on grey finds them: the brightest 1 % of the pixels are mostly no lesion
    bright = data.images[..., 0] >= np.percentile(data.images, 99)
    assert (data.labels[bright] == 1).mean() < 0.9


def test_the_seed_gives_the_pictures_and_colour_repeats_them(tmp_path) -> None:
    one, again = made(tmp_path, phantom_images=40), made(tmp_path, phantom_images=40, channels=3)
    np.testing.assert_array_equal(np.repeat(one.images, 3, -1), again.images)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert not np.array_equal(one.images, made(tmp_path, phantom_images=40, split_seed=1).images)


def test_lesions_that_do_not_fit_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"lesion-share 0\.5 in 60 of 600 images of 64 x 64"):
        made(tmp_path, lesion_share=0.5)
    with pytest.raises(InputError, match=r"0\.041 pixels of lesion in each"):
        made(tmp_path, lesion_share=1e-6)
    with pytest.raises(InputError, match="5 images at 1:99 are 0 with a lesion"):
        made(tmp_path, phantom_images=5, phantom_imbalance=99.0)
