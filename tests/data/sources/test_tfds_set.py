"""Sets by name are read as they were prepared, without TensorFlow, and what is missing is said in one line."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from imbal_jax.config import Config, Data
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.load import load
from imbal_jax.data.read import read
from imbal_jax.data.sources import tfds_preparation as preparation
from imbal_jax.data.sources import tfds_set as catalogue
from imbal_jax.data.sources.tfds_set import open_named
from imbal_jax.errors import InputError

f = tfds.features


def write_set(
    folder, features, examples, *, name="lesions", keys=None, file_format="array_record", metadata=None
):
    """Prepare ``examples`` (split -> list of examples) as tensorflow-datasets would; returns NAME/VERSION."""
    set_name, set_keys = name, keys

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = set_name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=f.FeaturesDict(features),
                supervised_keys=set_keys,
                disable_shuffling=True,
                metadata=None if metadata is None else tfds.core.MetadataDict(metadata),
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(rows) for split, rows in examples.items()}

        def _generate_examples(self, rows):
            yield from enumerate(rows)

    builder = Builder(data_dir=str(folder), file_format=file_format)
    builder.download_and_prepare()
    return Path(builder.data_dir)


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def noise(seed, shape, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


PIXELS = noise(0, (30, 12, 12, 3))
TENSOR = {
    "image": f.Tensor(shape=(12, 12, 3), dtype=np.uint8, encoding="zlib"),
    "label": f.ClassLabel(names=["benign", "malignant"]),
    "patient_id": f.Text(),
}


def tensor_rows(rows, patient=lambda i: i // 2):
    return [{"image": PIXELS[i], "label": i % 2, "patient_id": f"p{patient(i)}"} for i in rows]


SPLIT = {"train": range(16), "validation": range(16, 22), "test": range(22, 30)}


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    write_set(folder, TENSOR, {split: tensor_rows(rows) for split, rows in SPLIT.items()})
    return folder


def test_a_set_of_tensors_is_read_in_its_own_split_with_its_patients(tensors):
    named = open_named("lesions", tensors, AskedGeometry(size=12))
    np.testing.assert_array_equal(named.images, PIXELS)
    assert named.labels.tolist() == [i % 2 for i in range(30)]
    assert named.classes == ("benign", "malignant")
    assert {split: rows.tolist() for split, rows in named.splits.items()} == {
        split: list(rows) for split, rows in SPLIT.items()
    }
    assert named.names_patients
    same = named.groups[:, None] == named.groups
    np.testing.assert_array_equal(same, np.arange(30)[:, None] // 2 == np.arange(30) // 2)


@pytest.mark.parametrize("place", [".", "lesions", "lesions/1.0.0"])
@pytest.mark.parametrize("spelled", ["lesions", "lesions:1.0.0"])
def test_a_prepared_set_is_found_from_above_and_by_its_own_folder(tensors, place, spelled):
    assert len(open_named(spelled, tensors / place, AskedGeometry(size=12)).labels) == 30


def test_pictures_of_any_size_are_fitted_as_asked(tmp_path):
    shapes = [(20, 30, 3), (16, 16, 3), (50, 9, 3), (16, 16)]
    pictures = [noise(i, shape) for i, shape in enumerate(shapes)]
    kinds = ["PNG", "JPEG", "PNG", "PNG"]
    data = [encoded(pixels, kind) for pixels, kind in zip(pictures, kinds, strict=True)]
    rows = [{"image": d, "label": i % 2} for i, d in enumerate(data)]
    features = {"image": f.Image(), "label": f.ClassLabel(num_classes=2)}
    write_set(tmp_path, features, {"train": rows})
    named = open_named("lesions", tmp_path, AskedGeometry(size=16, fit="squeeze"))
    for seen, d in zip(named.images, data, strict=True):
        planes = Image.open(io.BytesIO(d)).convert("RGB").split()
        expected = [
            np.asarray(plane.convert("F").resize((16, 16), Image.Resampling.HAMMING, reducing_gap=2.0))
            for plane in planes
        ]
        np.testing.assert_allclose(seen, np.stack(expected, -1), atol=0.501)
    padded = open_named("lesions", tmp_path, AskedGeometry(size=16)).images
    assert not padded[0, :2].any()
    assert not padded[0, -3:].any()
    assert padded[0, 3:12].any()
    cropped = open_named("lesions", tmp_path, AskedGeometry(size=16, fit="crop", channels=1))
    assert cropped.images.shape == (4, 16, 16, 1)
    np.testing.assert_array_equal(named.images[3, ..., 0], pictures[3])  # grey becomes three equal channels
    assert not named.names_patients
    assert len(set(named.groups)) == 4
    assert named.classes == ("0", "1")


def test_grey_pictures_of_sixteen_bits_keep_them(tmp_path):
    pixels = noise(0, (10, 10), np.uint16)
    features = {
        "image": f.Image(shape=(None, None, 1), dtype=np.uint16),
        "label": f.ClassLabel(num_classes=1),
    }
    write_set(tmp_path, features, {"train": [{"image": encoded(pixels), "label": 0}]})
    whole = open_named("lesions", tmp_path, AskedGeometry(size=10)).images
    assert whole.dtype == np.uint16
    np.testing.assert_array_equal(whole[0, ..., 0], pixels)
    half = open_named("lesions", tmp_path, AskedGeometry(size=5)).images[0, ..., 0]
    # sinc(x) (0.54 + 0.46 cos(pi x)) a quarter and three quarters of a result pixel away
    w = np.array([np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)) for x in (0.75, 0.25, 0.25, 0.75)])
    w /= w.sum()
    centre = w @ pixels[3:7, 3:7].astype(float) @ w
    assert abs(half[2, 2] - centre) <= 1


def test_a_set_larger_than_the_limit_stays_on_disk_and_gives_the_same(tensors):
    there = open_named("lesions", tensors, AskedGeometry(size=6))
    lazy = open_named("lesions", tensors, AskedGeometry(size=6), in_memory=100)
    assert not isinstance(lazy.images, np.ndarray)
    assert lazy.images.shape == there.images.shape
    np.testing.assert_array_equal(lazy.images[[3, 3, 29]], there.images[[3, 3, 29]])
    part = lazy.dataset().take(np.array([5, 1]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part.images))[:], there.images[[5, 1]])
    assert part.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(lazy.labels, there.labels)


PET = {
    "image": f.Image(),
    "segmentation_mask": f.Image(shape=(None, None, 1)),
    "label": f.ClassLabel(names=["cat", "dog", "fox"]),
    "species": f.ClassLabel(names=["a", "b"]),
}


def pet_rows(count):
    return [
        {
            "image": encoded(noise(i, (8, 8, 3))),
            "segmentation_mask": encoded(
                np.full((8, 8), 7, np.uint8) * (np.arange(8) < i)[None].astype(np.uint8)
            ),
            "label": i % 3,
            "species": i % 2,
        }
        for i in range(count)
    ]


def test_masks_are_read_beside_the_label_without_values_between(tmp_path):
    write_set(tmp_path, PET, {"train": pet_rows(6)}, keys=("image", "species"))
    named = open_named("lesions", tmp_path, AskedGeometry(size=16))
    assert named.classes == ("a", "b")  # the set's own choice of two labels
    masks = named.masks[:]
    assert masks.shape == (6, 16, 16, 1)
    assert set(np.unique(masks)) == {0, 7}
    assert [np.count_nonzero(mask) for mask in masks] == [16 * 2 * i for i in range(6)]
    assert named.dataset().labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_set_of_masks_alone_can_be_read_and_not_trained_on(tmp_path):
    features = {key: PET[key] for key in ("image", "segmentation_mask")}
    rows = [{key: row[key] for key in features} for row in pet_rows(2)]
    write_set(tmp_path, features, {"train": rows})
    named = open_named("lesions", tmp_path, AskedGeometry(size=8))
    assert named.labels is None
    assert named.masks[1].sum() == 7 * 8
    with pytest.raises(InputError, match=r"tfds:lesions has a mask \(segmentation_mask\) and no label"):
        named.dataset()
    data, _ = read(Data(source="tfds:lesions", dir=tmp_path, image_size=8), tmp_path, lambda line: None)
    np.testing.assert_array_equal(data.labels[1], (np.arange(8) < 1)[None].repeat(8, 0))
    assert data.classes == ("background", "foreground")


def test_masks_are_trained_on_where_they_are_asked_for_with_nothing_beside_the_picture(tmp_path):
    """As oxford_iiit_pet is: 1 the animal, 2 what is behind it, 3 its border."""
    rows = pet_rows(6)
    trimap = np.array([[1, 1, 2, 3, 2, 2]] * 3, np.uint8)
    for row in rows:
        row["image"], row["segmentation_mask"] = encoded(noise(1, (3, 6, 3))), encoded(trimap)
    write_set(tmp_path, PET, {"train": rows[:4], "test": rows[4:]}, keys=("image", "species"))
    options = {"source": "tfds:lesions", "dir": tmp_path, "image_size": 12}
    assert read(Data(**options), tmp_path, lambda line: None)[0].labels.shape == (6,)
    said = []
    asked = Data(**options, masks="beside", ignore_value=3, classes=("pet", "behind"))
    data, split = read(asked, tmp_path, said.append)
    assert sorted(split) == ["test", "train"]
    line = np.repeat([0, 0, 1, -1, 1, 1], 2)
    np.testing.assert_array_equal(data.labels[0, 3:9], line[None].repeat(6, 0))
    assert (data.labels[:, [0, 1, 2, 9, 10, 11]] == -1).all()
    assert data.labels.dtype == np.int8
    assert "values of the masks: 1 pet, 2 behind; 3 is ignored" in said


def test_several_classes_an_image_become_columns(tmp_path):
    image = {"image": f.Tensor(shape=(4, 4, 1), dtype=np.uint8)}
    features = image | {"labels": f.Sequence(f.ClassLabel(names=["x", "y", "z"]))}
    pixels = np.zeros((4, 4, 1), np.uint8)
    rows = [{"image": pixels, "labels": present} for present in ([0, 2], [], [1])]
    write_set(tmp_path / "a", features, {"train": rows})
    named = open_named("lesions", tmp_path / "a", AskedGeometry(size=4))
    assert named.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    write_set(tmp_path / "b", features, {"train": [{"image": pixels, "labels": [1, 1]}]})
    with pytest.raises(
        InputError, match=r"labels of record 0 is \[1, 1\]: expected a set of classes, each once"
    ):
        open_named("lesions", tmp_path / "b", AskedGeometry(size=4))


def test_many_labels_in_a_tensor_have_the_names_of_the_metadata(tmp_path):
    features = {
        "image": f.Tensor(shape=(4, 4, 1), dtype=np.uint8),
        "labels": f.Tensor(shape=(2,), dtype=np.int8),
    }
    rows = [
        {"image": np.zeros((4, 4, 1), np.uint8), "labels": np.array(v, np.int8)} for v in ([1, -1], [0, 1])
    ]
    write_set(tmp_path, features, {"train": rows}, metadata={"label_names": ["mass", "edema"]})
    named = open_named("lesions", tmp_path, AskedGeometry(size=4))
    assert named.labels.tolist() == [[1, -1], [0, 1]]
    assert named.labels.dtype == np.int8
    assert named.classes == ("mass", "edema")


def test_records_whose_label_is_hidden_are_left_out_and_so_is_their_split(tmp_path):
    rows = {split: tensor_rows(part) for split, part in SPLIT.items()}
    for row in [*rows["test"], rows["train"][0]]:
        row["label"] = -1
    write_set(tmp_path, TENSOR, rows)
    named = open_named("lesions", tmp_path, AskedGeometry(size=12))
    assert named.splits.keys() == {"train", "validation"}
    np.testing.assert_array_equal(named.images[named.splits["validation"]], PIXELS[16:22])
    assert named.labels[named.splits["train"]].tolist() == [i % 2 for i in range(1, 16)]


def loaded(folder, said, **options):
    data = Data(source="tfds:lesions", dir=folder, image_size=12, **options)
    return load(Config(name="t", data=data), folder, said.append)


def test_a_config_trains_on_the_sets_own_split(tensors):
    said = []
    splits = loaded(tensors, said)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [16, 6, 8]
    assert "tfds:lesions: 30 images, in memory; its own splits: train 16, validation 6, test 8" in said
    assert "30 of 30 records read" in said


def test_splits_that_a_set_lacks_are_made_by_patient(tmp_path):
    write_set(tmp_path, TENSOR, {"train": tensor_rows(range(30))})
    splits = loaded(tmp_path, [])
    parts = [splits.train, splits.validation, splits.test]
    assert sum(map(len, parts)) == 30
    assert all(map(len, parts))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(parts[one].groups) & set(parts[other].groups)


def test_a_set_whose_own_split_shares_patients_is_refused_and_split_by_patient_if_asked(tmp_path):
    rows = {split: tensor_rows(part, patient=lambda i: i % 10) for split, part in SPLIT.items()}
    write_set(tmp_path, TENSOR, rows)
    with pytest.raises(InputError, match=r"shares 6 of 10 patients between train and validation"):
        loaded(tmp_path, [])
    splits = loaded(tmp_path, [], split="patient")
    assert not set(splits.train.groups) & set(splits.test.groups)


def test_images_of_splits_of_other_names_are_said_to_be_left_out(tmp_path):
    rows = {split: tensor_rows(part) for split, part in SPLIT.items()}
    rows["extra"] = rows.pop("validation")
    write_set(tmp_path, TENSOR, rows)
    said = []
    splits = loaded(tmp_path, said)
    assert len(splits.train) + len(splits.validation) == 16
    assert any("images of extra are left out" in line for line in said)


# What is missing


def refused(name, folder, **options):
    with pytest.raises(InputError) as caught:
        open_named(name, folder, AskedGeometry(size=8), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_name_is_answered_with_names_like_it(tmp_path):
    message = refused("patch_camelion", tmp_path)
    assert "neither under" in message
    assert "tfds:patch_camelyon" in message
    assert "expected tfds:NAME" in refused("a b", tmp_path)


def test_a_set_that_is_not_there_is_answered_with_the_command(tmp_path):
    message = refused("patch_camelyon", tmp_path)
    assert "turn --data.download on, or run tfds build patch_camelyon --file_format=array_record" in message
    assert not list(tmp_path.iterdir())


def test_a_set_to_be_fetched_by_hand_says_what_to_put_where(tmp_path):
    message = refused("chexpert", tmp_path, download=True)
    assert f"put into {tmp_path / 'downloads' / 'manual'} what this says" in message
    assert "CheXpert-v1.0-small" in message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ModuleNotFoundError("no", name="tensorflow"),
            "needs tensorflow: pip install 'imbal-jax[tfds-image]'",
        ),
        (ModuleNotFoundError("no", name="h5py"), "needs h5py: pip install h5py"),
        (OSError("no route\nto host"), "cannot be prepared (no route to host): prepare it where"),
    ],
)
def test_what_stops_the_preparation_is_said_with_its_remedy(tmp_path, monkeypatch, error, expected):
    class Stopped:
        MANUAL_DOWNLOAD_INSTRUCTIONS = None

        def is_prepared(self):
            return False

        def download_and_prepare(self):
            raise error

    monkeypatch.setattr(preparation, "_of_the_catalogue", lambda name, root: Stopped())
    assert expected in refused("patch_camelyon", tmp_path, download=True)


def test_records_without_random_access_are_refused_with_the_command(tmp_path, monkeypatch):
    where = write_set(tmp_path, TENSOR, {"train": tensor_rows(range(4))})
    description = where / "dataset_info.json"
    description.write_text(description.read_text().replace("array_record", "tfrecord"))
    assert "is stored as tfrecord" in refused("lesions", tmp_path)


def test_a_folder_of_another_set_is_named(tensors):
    assert "holds the set lesions, tfds:mnist is asked" in refused("mnist", tensors / "lesions" / "1.0.0")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"label": f.ClassLabel(num_classes=2)}, "none is an image"),
        ({"image": f.Tensor(shape=(4, 4, 1), dtype=np.uint8)}, "none is a label"),
        (
            {"image": f.Tensor(shape=(4, 4, 1), dtype=np.uint8)}
            | {key: f.ClassLabel(num_classes=2) for key in ("sex", "grade")},
            "none is a label of images, or several are",
        ),
    ],
)
def test_features_that_are_no_classification_are_listed(tmp_path, features, message):
    row = {
        key: 0 if isinstance(part, f.ClassLabel) else np.zeros((4, 4, 1), np.uint8)
        for key, part in features.items()
    }
    write_set(tmp_path, features, {"train": [row]})
    answer = refused("lesions", tmp_path)
    assert message in answer
    assert all(key in answer for key in features)


def test_a_picture_that_cannot_be_decoded_is_named_by_its_record(tmp_path):
    rows = [{"image": data, "label": 0} for data in (encoded(noise(0, (4, 4, 3))), b"no picture")]
    write_set(tmp_path, {"image": f.Image(), "label": f.ClassLabel(num_classes=1)}, {"train": rows})
    assert "image of record 1 cannot be decoded" in refused("lesions", tmp_path)


def test_no_tensorflow_is_imported(tensors, tmp_path):
    # one that cannot be imported, where it would be found first
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise RuntimeError('tensorflow was imported')\n")
    program = (
        "import sys; from pathlib import Path; from imbal_jax.data.sources.tfds_set import open_named\n"
        "from imbal_jax.data.images.geometry import AskedGeometry\n"
        f"assert len(open_named('lesions', Path({str(tensors)!r}), AskedGeometry(size=12)).labels) == 30\n"
        "assert 'tensorflow' not in sys.modules"
    )
    root = str(Path(catalogue.__file__).parents[3])
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {root!r}]\n"
    done = subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
