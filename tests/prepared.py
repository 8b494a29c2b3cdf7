"""A small set as tensorflow-datasets prepares it, for tests of what reads such a folder."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def _png(image: np.ndarray) -> io.BytesIO:
    stored = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stored, "PNG")
    stored.seek(0)
    return stored


def prepare(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray | None,
    splits: dict[str, np.ndarray],
    classes: tuple[str, ...] = ("normal", "nodule"),
    *,
    encoding: str = "bytes",
    file_format: str = "array_record",
    shards: int = 2,
    picture: bool = False,
) -> Path:
    """Write the set and return its folder NAME/VERSION."""
    import tensorflow_datasets as tfds

    f = tfds.features
    shape, dtype = images.shape[1:], images.dtype
    image = f.Image(shape=shape) if picture else f.Tensor(shape=shape, dtype=dtype, encoding=encoding)
    features = {"image": image, "id": f.Text(), "flags": f.Text()}
    if labels.ndim == 2:
        features["labels"] = f.Tensor(shape=(len(classes),), dtype=np.int8)
    else:
        features["label"] = f.ClassLabel(names=list(classes))
    if patients is not None:
        features["patient"] = f.Text()

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "radiographs"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            metadata = tfds.core.MetadataDict(label_names=list(classes)) if labels.ndim == 2 else None
            return tfds.core.DatasetInfo(
                builder=self, features=f.FeaturesDict(features), metadata=metadata, disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(indices) for name, indices in splits.items()}

        def _generate_examples(self, indices):
            for key, i in enumerate(indices):
                pixels = _png(images[i]) if picture else images[i]
                stored = {"image": pixels, "id": f"r{i}", "flags": ""}
                if labels.ndim == 2:
                    stored["labels"] = labels[i].astype(np.int8)
                else:
                    stored["label"] = int(labels[i])
                if patients is not None:
                    stored["patient"] = str(patients[i])
                yield key, stored

    builder = Builder(data_dir=str(folder), file_format=file_format)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=shards, verify_ssl=True)
    )
    return Path(builder.data_dir)
