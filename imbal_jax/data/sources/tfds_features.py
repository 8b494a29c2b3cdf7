"""Chooses image, label, mask and patient among the features of a tensorflow-datasets set, and decodes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.pictures import decode_channels
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.records.array_records import LABEL_NAMES, Stored
from imbal_jax.errors import InputError

MASK = re.compile("mask|segmentation|annotation")  # in the name of a picture


@dataclass(frozen=True)
class Chosen:
    """Names of the features; None where the set has none. patient: one of ``PATIENTS``."""

    image: str
    label: str | None
    mask: str | None
    patient: str | None


PATIENTS = ("patient", "patient_id", "subject_id")
"""Features that name the patient, the first that a set has."""


def choose(name: str, features: Mapping[str, Any], supervised_keys: Any) -> Chosen:
    """The image is the first of the set's supervised keys, ``image``, or the only picture that is no mask.

    The label is the second of them, ``label``, ``labels``, or the only ClassLabel: a class, several classes, or an
    int8 Tensor [L] of 1, 0, -1 and -2. Raises InputError, naming the features, where there is no image, or neither a
    label nor a mask, or where several could be meant.
    """
    plain = isinstance(supervised_keys, tuple) and all(isinstance(key, str) for key in supervised_keys)
    first, second = supervised_keys[:2] if plain else (None, None)
    pictures = [key for key, feature in features.items() if _is_pixels(feature)]
    masks = [key for key in pictures if MASK.search(key)]
    others = [key for key in pictures if key not in masks]
    labels = [key for key, feature in features.items() if _is_label(feature)]
    alone = [key for key in labels if _kind(features[key]) == "ClassLabel"]
    image = _pick((first, "image"), others, others)
    label = _pick((second, "label", "labels"), labels, alone)
    having = ", ".join(sorted(features))
    if image is None:
        raise InputError(f"{name} has the features {having}: none is an image, or several are")
    if label is None and not masks:
        raise InputError(f"{name} has the features {having}: none is a label of images, or several are")
    patient = next((key for key in PATIENTS if key in features), None)
    return Chosen(image, label, masks[0] if masks else None, patient)


def _pick(wanted: tuple[str | None, ...], able: list[str], alone: list[str]) -> str | None:
    return next((key for key in wanted if key in able), alone[0] if len(alone) == 1 else None)


def _kind(feature: Any) -> str:
    """The name of the feature's class; for a sequence, that of its elements with an s."""
    inner = getattr(feature, "feature", None)
    return type(feature).__name__ if inner is None else f"{type(inner).__name__}s"


def _is_pixels(feature: Any) -> bool:
    kind, shape = _kind(feature), tuple(feature.shape or ())
    array = kind == "Tensor" and len(shape) == 3 and shape[-1] in (1, 3, 4) and None not in shape
    return (kind in ("Image", "LabeledImage") or array) and feature.np_dtype in (np.uint8, np.uint16)


def _is_label(feature: Any) -> bool:
    kind, shape = _kind(feature), feature.shape or ()
    many = kind == "Tensor" and len(shape) == 1 and None not in shape and feature.np_dtype == np.int8
    return kind in ("ClassLabel", "ClassLabels") or many


def stored_as(feature: Any) -> Stored:
    """How the feature's array lies in a record."""
    shape, dtype = tuple(feature.shape), np.dtype(feature.np_dtype)
    if _kind(feature) == "Tensor":
        return Stored(shape, dtype, feature.to_json_content().encoding or "none")
    return Stored(shape, dtype, "picture")


@dataclass(frozen=True)
class Pixels:
    """How the pixels in a record become a square; ``RecordImages`` takes it in place of ``Stored``.

    stored: of the record; its height and width may be None for a picture. mask: labels of pixels, in the channels and
    the type that they have; nothing between two labels, and 0 beside the picture. signed: they become int32, with -1
    there.
    """

    stored: Stored
    geometry: Geometry
    mask: bool = False
    signed: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        size = self.geometry.size
        return (size, size, self.stored.shape[-1]) if self.mask else self.geometry.shape

    @property
    def dtype(self) -> np.dtype:
        if self.signed:
            return np.dtype(np.int32)
        return self.stored.dtype if self.mask else self.geometry.dtype

    def decode(self, feature: Any) -> np.ndarray:
        """[size, size, C] of a ``tf.train.Feature``; ValueError or OSError where it holds no such picture."""
        if self.stored.encoding != "picture":
            pixels = self.stored.decode(feature)
            return self._fitted(pixels) if self.mask else self.geometry.arrays(pixels[None])[0]
        (data,) = feature.bytes_list.value
        try:
            if self.mask:
                return self._fitted(decode_channels(data, self.stored.shape[-1], self.stored.dtype))
            return self.geometry.picture(data)[0]
        except ReadError as error:
            raise ValueError(str(error)) from None

    def _fitted(self, pixels: np.ndarray) -> np.ndarray:
        if self.signed:
            return self.geometry.mask(pixels.astype(np.int32))
        return self.geometry.mask(pixels, beside=0)


class Labels:
    """Collects the labels of records, one after the other, into an array."""

    def __init__(self, where: str, feature: Any, metadata: Mapping[str, Any] | None) -> None:
        self.where, self.kind = where, _kind(feature)
        if self.kind == "Tensor":
            self.stored = stored_as(feature)
            names = (metadata or {}).get(LABEL_NAMES) or [f"label {i}" for i in range(feature.shape[0])]
        else:
            names = (feature if self.kind == "ClassLabel" else feature.feature).names
        self.classes = tuple(map(str, names))
        self.read: list[Any] = []

    def take(self, feature: Any, record: int) -> None:
        """feature: the ``tf.train.Feature``. Raises InputError for a sequence that is no set of classes."""
        if self.kind == "ClassLabel":
            self.read.append(feature.int64_list.value[0])
            return
        if self.kind == "Tensor":
            self.read.append(self.stored.decode(feature))
            return
        present = list(feature.int64_list.value)
        if len(set(present)) < len(present) or not all(0 <= c < len(self.classes) for c in present):
            raise InputError(
                f"{self.where} of record {record} is {present}: expected a set of classes, each once"
            )
        labels = np.zeros(len(self.classes), np.int8)
        labels[present] = 1
        self.read.append(labels)

    def array(self) -> np.ndarray:
        """int32 [N], a class, -1 where it is not known; or int8 [N, L]."""
        if self.kind == "ClassLabel":
            return np.array(self.read, np.int32)
        return np.array(self.read, np.int8).reshape(-1, len(self.classes))
