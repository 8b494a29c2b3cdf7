"""The sections of a config as frozen dataclasses; a comment above a field is its help text."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from imbal_jax.config.ranges import check_config
from imbal_jax.fields import check_fields
from imbal_jax.import_paths import as_import_path
from imbal_jax.methods import Method, find_method
from imbal_jax.transforms.augment import Augment

_MethodArgument = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="METHOD",
    instance_from_str=lambda words: find_method(words[0]),
    is_instance=lambda value: isinstance(value, Method),
    str_from_instance=lambda method: [method.name],
)
MethodField = Annotated[Method, _MethodArgument]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images, and how they are split."""

    # "phantom" (made on the spot), "phantom_lesions" (pictures with masks of small lesions, made likewise), "signals"
    # (known signals in noise, with a Bayes score), "sequences" (of bits, to be copied or sorted by a network with a
    # memory; training draws new ones for every batch), "folder" (DICOM, PNG, JPEG, TIFF or BMP files with a table of
    # labels, in folders called as their classes, or with masks), "npz" (arrays of images and labels or masks), or a
    # public set: kermany, kermany_pneumonia, nih, ham10000, cifar10, omniglot, or one of MedMNIST, as pneumoniamnist,
    # and with masks chase, chase_second, skin_lesions; or "records", which imbal-jax ingest, imbal-jax prepare or
    # tensorflow-datasets prepared: they stay on disk, in their own size and split; or "tfds:NAME", a set of the
    # tensorflow-datasets catalogue (tfds:patch_camelyon), in its own split; or one's own, a function at
    # package.module:name that is given these options and returns a Dataset, or a Dataset and its split, a mapping of
    # train, validation and test to indices.
    source: str = "phantom"
    # Where the files lie, the NPZ file, or the prepared sets of the catalogue; phantoms are written there.
    dir: Path | None = None
    # Side of the square the images are resized to, pixels.
    image_size: int = 64
    # What becomes of a picture that is not square: pad keeps its proportions, on black; squeeze scales both
    # sides; crop takes the central square. None: pad, or what a condensed copy or records were made with,
    # which is said and kept with the run. Another fit than that is refused.
    fit: Literal["pad", "squeeze", "crop"] | None = None
    # 1 (colour becomes grey, which is said) or 3. None: 1 for folders, 3 for sets and arrays in colour.
    channels: Literal[1, 3] | None = None
    # The class that is no finding; the rest are averaged in macro scores.
    negative_class: str | None = None
    # Shares of the patients; the remainder is for training.
    validation_share: float = 0.16
    # Shares of the patients; the remainder is for training.
    test_share: float = 0.20
    # Official, the source's own where it has one (of a folder: a column split, or folders train, validation
    # and test; refused where it shares patients), or patient, always made here.
    split: Literal["official", "patient"] = "official"
    # Ratio of common to rare images, imposed on training and validation by leaving patients out; the test set
    # stays whole. With many labels: images without a finding to those with one. None: as it is.
    imbalance: float | None = None
    # Ratio of the largest class to the smallest, imposed on training; the others lie between by their size.
    long_tail: float | None = None
    # Shape of the long tail: exponential, or step, in which half of the classes are rare.
    profile: Literal["exponential", "step"] = "exponential"
    # Shares of classes, as ``pneumonia=0.001``, imposed on training; the other classes keep their proportions.
    prevalence: tuple[str, ...] = ()
    # Splits to subsample; None: the default of the option above. Patients are left out, and a stronger
    # imbalance keeps a subset of what a weaker one keeps.
    draw_splits: tuple[Literal["train", "validation", "test"], ...] | None = None
    # Seed of the split and of the subsampling; apart from ``seed``, so that runs of several seeds share a test set.
    split_seed: int = 0
    # Share of each class, or prevalence of each of many labels, where the model will be used, for methods and
    # calibrations that correct for it; None: as in the data.
    deployment_priors: tuple[float, ...] | None = None
    # What a label that is neither yes nor no (-1) is trained as: left out, a negative, a positive, or "soft",
    # the target 0.7 (losses.targets_and_mask), which losses that rank and the draw of batches count as a
    # positive. Missing labels (-2, an empty cell) are always left out.
    uncertain: Literal["ignore", "zeros", "ones", "soft"] = "ignore"
    # The table of labels, in the folder or elsewhere: CSV, also compressed (.gz), or Parquet; or "folders", where
    # folders name the classes: train/CLASS/name.png. Where there is no labels.csv, the only other table of files
    # in the folder is taken, or without a table folders.
    labels_file: str = "labels.csv"
    # Of the table, what headings mean that are not understood, ROLE=COLUMN each, as patient=subject_id
    # file=image_path label=target split=fold; the roles are file, accession, patient, label, split and mask.
    columns: tuple[str, ...] = ()
    # Of the table, the classes and their order, or the columns that are labels; empty: all of them.
    classes: tuple[str, ...] = ()
    # Of a table with a column for each label: one label an image, many, or (auto) one where every row has
    # just one 1.
    label_kind: Literal["auto", "one", "many"] = "auto"
    # Of a folder, where the masks are. auto: files called by the rule of data.masks.naming (masks/NAME.png or
    # NAME_mask.png for images/NAME.jpg or NAME.jpg), where the folder has such files and no table of labels; or the
    # column of run lengths of a table. none: labels are of images. beside: by that rule, whatever labels there are.
    # Or the name of a folder of masks, a COCO file (.json), or a table of run lengths (.csv). A column of the labels
    # table: --data.columns mask=COLUMN. Of an NPZ file and of a set of the catalogue: auto takes masks where there
    # are no labels, none never, beside always (tfds:oxford_iiit_pet --data.masks beside).
    masks: str = "auto"
    # Of masks in files: the value of pixels that count neither in training nor in scores, as 255. None: none.
    ignore_value: int | None = None
    # Of a folder with masks: the folder (below it, or a path) of masks of the field of view, called as the pictures;
    # 0 is beyond it, and counts neither in training nor in scores.
    field_of_view: str = ""
    # Of run lengths: columns, pairs of start and length, pixels numbered from 1 down the columns (most Kaggle
    # contests); rows, the same along the rows; relative, down the columns, each start counted from the end of the run
    # before, the first from 0 (SIIM-ACR Pneumothorax).
    run_lengths: Literal["columns", "rows", "relative"] | None = None
    # Folders with images of further classes, read after the split as imbal-jax enroll reads them: CLASS/*.png,
    # train/CLASS and test/CLASS, or with a labels.csv. Images of classes that the set has are left out.
    enrolled: tuple[str, ...] = ()
    # DICOM grey-scale window: from the header, by percentiles, or none.
    voi: Literal["header", "percentile", "none"] = "header"
    # Fetch a public set that is missing, where its source allows.
    download: bool = False
    # Processes that read records, where two threads of this one (0) are too slow.
    workers: int = 0
    # Phantom radiographs, or pictures of phantom_lesions, to make; or training images of signals.
    phantom_images: int = 8000
    # Normal phantoms, or training images of signals, to abnormal ones; pictures without lesions to those with.
    phantom_imbalance: float = 100.0
    # Of phantom_lesions: lesion pixels as a share of all pixels of all images.
    lesion_share: float = 0.0007
    # Of signals: d' of each finding where its place is known, the distance between the scores of the ideal observer
    # with and without the signal, in standard deviations. 2 is an AUROC of 0.921, 3 of 0.983.
    detectability: float = 3.0
    # Of signals: places where a signal may be.
    signal_places: int = 4
    # Of signals: images of each finding in validation and in test.
    signal_positives: tuple[int, int] = (100, 500)
    # Of signals: normal images to abnormal ones in validation and test.
    signal_imbalance: float = 10.0
    # Of sequences: which, as in Graves et al. 2014.
    sequence: Literal["copy", "repeat_copy", "associative_recall", "ngrams", "priority_sort"] = "copy"
    # Of sequences: fewest and most vectors (of associative_recall items, of ngrams bits) in training; None: as
    # published, 1 20 of copy, 1 10 of repeat_copy, 2 6 of associative_recall, 200 of ngrams, 20 of priority_sort.
    sequence_lengths: tuple[int, int] | None = None
    # Of repeat_copy: fewest and most repeats in training.
    sequence_repeats: tuple[int, int] = (1, 10)
    # Of sequences: lengths that are tested beside those of training; None: 20 60 120 of copy, 10 20 of repeat_copy,
    # 6 12 15 of associative_recall.
    sequence_tests: tuple[int, ...] | None = None
    # Of sequences: how many validate, and how many test each length.
    sequence_counts: tuple[int, int] = (200, 200)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", as_import_path(self.source, "data.source"))
        check_fields(self, "data.")


def images_of(data: Data) -> Data:
    """What determines the images and their split: ``data`` without the options of reading and of use."""
    return replace(data, deployment_priors=None, workers=0, download=False)


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Patches of images with masks: what batches hold, and the tiles by which whole images are predicted."""

    # Side of a patch, pixels; 0: whole images.
    size: int = 0
    # The least share of a patch's pixels that are of the class that it was drawn for; 0: one pixel.
    share: float = 0.0
    # Places of patches that are listed for a class, in all cases together.
    places: int = 500_000
    # The least share of a tile that its neighbour covers too.
    overlap: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self, "patch.")


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Few-shot episodes: a handful of classes of which the network sees a few pictures, under labels drawn anew.

    The data are split by class, by the shares of ``data``: classes of validation and test are never trained on. An
    epoch is as many pictures as the training split holds.
    """

    # Classes of an episode; 0: no episodes. Of the task episodes.
    ways: int = 0
    # Pictures of each class whose label is shown, after the network has been asked.
    shots: int = 10
    # Pictures of each class that follow all others, whose label is never shown, and which alone are scored; 0: every
    # picture is scored (Santoro et al. 2016).
    queries: int = 0
    # Pictures of the first class to those of the last, exponential between them; 1: all classes have ``shots``.
    long_tail: float = 1.0
    # Of the task in_context: the share of training sequences in which the class of the query recurs, ``shots`` - 1
    # times, beside another class as often (Chan et al. 2022).
    bursty: float = 0.9
    # Of the task in_context: exponent of the class frequencies of training, Zipf's law; 0 is uniform.
    zipf: float = 0.0
    # Training pictures turned by 90, 180 and 270 degrees are classes of their own.
    rotations: bool = False
    # Episodes of the validation classes, drawn once.
    validation: int = 200
    # Episodes of the test classes, drawn once.
    test: int = 1000

    def __post_init__(self) -> None:
        check_fields(self, "episode.")


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which network."""

    # A key of ``models.MODELS``, or one's own, a linen module at package.module:name; in Python also the class.
    name: str = "cnn"
    # Normalisation: group, or batch, synchronised over the devices.
    norm: Literal["group", "batch"] = "group"
    # Of the computation; parameters are float32.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # Rate on the features before the head.
    dropout: float = 0.0
    # Other arguments of the model, each as ``--model.options.NAME VALUE``.
    options: dict[str, int | float | bool | str | tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", as_import_path(self.name, "model.name"))
        check_fields(self, "model.")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Optimiser and its schedule."""

    # AdamW, SGD with momentum, or RMSProp relative to the mean of the gradient, with momentum (Graves 2013).
    optimizer: Literal["adamw", "sgd", "rmsprop"] = "adamw"
    # The peak, reached after the warm-up.
    learning_rate: float = 1e-3
    # After the warm-up: a cosine to zero, constant, or steps at ``milestones``.
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    # Of the schedule steps: shares of the run at which the rate is multiplied by ``decay``.
    milestones: tuple[float, ...] = (0.8, 0.9)
    # Factor at each of the milestones.
    decay: float = 0.01
    # Share of the run in which the rate rises linearly from 0.
    warmup: float = 0.05
    # Of SGD and RMSProp.
    momentum: float = 0.9
    # Nesterov's momentum, of SGD.
    nesterov: bool = True
    # Not applied to biases and normalisation.
    weight_decay: float = 1e-4
    # Largest global norm of the gradient; 0 is no limit.
    clip_norm: float = 1.0
    # Moving average of the parameters that evaluation uses; 0 is none.
    ema_decay: float = 0.0
    # Share of the run from which on evaluation uses the plain mean of the parameters (stochastic weight
    # averaging), in place of ema_decay; 1 is never. BatchNorm's running averages are the last ones, not the
    # mean's.
    swa_start: float = 1.0
    # Label smoothing; losses that rank take none.
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "optim.")

    @property
    def averages(self) -> bool:
        """Whether evaluation uses averaged parameters."""
        return self.ema_decay > 0 or self.swa_start < 1


@dataclass(frozen=True, kw_only=True)
class Train:
    """Length of the training, evaluations, devices."""

    # One epoch is as many images as the training split holds, or patches of as many pixels, whatever the composition.
    epochs: float = 10.0
    # Images of the global batch.
    batch_size: int = 64
    # Gradient accumulation: in how many parts the batch passes through the network, where its activations do not fit
    # in memory. Loss and gradient are those of the whole batch, except of BatchNorm; a third more computation.
    accumulation: int = 1
    # How often in the run the validation split is scored and a checkpoint saved.
    evaluations: int = 10
    # Evaluations without improvement after which the run stops early; 0 is never.
    patience: int = 0
    # Steps compiled into one call, with data resident on the device.
    steps_per_dispatch: int = 10
    # Keep the training images on the device; otherwise, and always where they are on disk, batches are fed
    # from the host.
    resident: bool = True
    # Images on the devices lie on one of them each, and a batch is gathered from all; where they do not fit on each
    # device, this is done by itself. Batches are the same.
    spread_images: bool = False
    # The run stops after so many updates in a row without a finite loss and gradient.
    max_nonfinite: int = 20
    # How many; None is all.
    devices: int | None = None
    # How steps run on several devices; the results are the same.
    backend: Literal["shard_map", "pmap", "jit"] = "shard_map"
    # FSDP: parameters, optimiser state and averages are spread over the devices of all processes, for networks that
    # do not train on one. Needs --train.backend jit. The results are the same.
    shard_parameters: bool = False
    # Between two evaluations the state is saved as often as this; 0 is never. A run that is stopped by
    # SIGTERM or SIGUSR1 saves at once.
    save_minutes: float = 10.0
    # Take a few steps only and say what a run would take: memory of a device, images a second, time, and how arrays
    # lie on the devices. No run is begun.
    dry_run: bool = False
    # Score the mean of the probabilities of each image and of its mirror image.
    mirror_scores: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "train.")


@dataclass(frozen=True, kw_only=True)
class Deploy:
    """Deployment: calibration and decision thresholds. May change after training."""

    # Rules that choose the threshold of each class on validation, as ``decisions.threshold_rules`` spells them: one
    # for all classes, or ``CLASS: RULE`` for one of them (``"youden" "nodule: sensitivity >= 0.95"``). None: what
    # the constraints of ``select`` ask for (``specificity where sensitivity >= 0.95``), else youden.
    points: tuple[str, ...] | None = None
    # How outputs become probabilities. prior: moved from the priors that training made up to those of
    # validation. Fitted on validation: temperature (and the same move after it), vector, bias_corrected (a
    # temperature, and a shift of each class); of many labels each is Platt's scaling of every label. none:
    # the method's own. All but none are moved on to ``data.deployment_priors`` where those are given. Not of masks.
    calibration: Literal["none", "prior", "temperature", "vector", "bias_corrected"] = "bias_corrected"

    # Of masks: the images whose Dice chooses the threshold of a pixel; train where validation has few cases, which
    # need not be like the others.
    mask_threshold: Literal["validation", "train"] = "validation"

    def __post_init__(self) -> None:
        check_fields(self, "deploy.")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run; a ``configs/NAME.py`` returns one from ``get_config()``."""

    # Names the default workdir, workdirs/NAME.
    name: str
    # Heading of the report. Empty, and where other data are given than those that the config names: made from the
    # classes and their counts.
    title: str = ""
    # Of the initial weights, the order of the batches and the augmentation.
    seed: int = 0
    # Each method is trained once with each of these, on the same split; none: once, with ``seed``.
    seeds: tuple[int, ...] = ()
    # Trained one after the other on the same split; names of ``METHODS``, or combinations such as
    # ``loss=focal,composition=balanced``.
    methods: tuple[MethodField, ...] = (find_method("ce"),)
    # Which checkpoint is best, on validation: a metric, a sum (``auroc + average_precision``) or a constraint
    # (``specificity where sensitivity >= 0.95``); ``step`` takes the last. Of equals the earliest counts. auto:
    # sensitivity + f_score at the thresholds that ``deploy.points`` would choose, ties by average precision; average
    # precision alone where validation has fewer than 10 patients of a class. Without "at operating points"
    # sensitivity and F-score are those of the class called: where a class is rare, plain cross-entropy calls nobody
    # for most of a run, all its evaluations tie at 0, and the first, hardly trained one would stand for it.
    select: str = "auto"
    # One's own metrics besides the built-in ones, as package.module:name: functions that take the truth, bool [N],
    # and the probabilities [N] of a class against the rest and return a number. ``select`` may name them, by the
    # function's name.
    metrics: tuple[str, ...] = ()
    # What the labels are: auto, by their shape: one_label or many_labels an image, masks or overlapping_masks, or of
    # data.source sequences the task of that name; or episodes; string_episodes, whose labels are five letters of five
    # (Santoro et al. 2016); in_context, whose labels never change (Chan et al. 2022); or the user's own task, a
    # subclass of ``tasks.Task`` at package.module:name.
    task: str = "auto"
    # Which images, and how they are split.
    data: Data = Data()
    # Of images with masks: patches that batches hold, tiles that are predicted.
    patch: Patch = Patch()
    # Few-shot episodes.
    episode: Episode = Episode()
    # Which network.
    model: Model = Model()
    # How the parameters move.
    optim: Optim = Optim()
    # How long, how often, and on what.
    train: Train = Train()
    # Ranges of the augmentation.
    augment: Augment = field(default_factory=Augment)
    # Deployment: calibration and decision thresholds.
    deploy: Deploy = Deploy()

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", as_import_path(self.task, "task"))
        if isinstance(self.metrics, list | tuple):
            paths = tuple(as_import_path(metric, "metrics") for metric in self.metrics)
            object.__setattr__(self, "metrics", paths)
        if self.data.source == "sequences" and self.task == "auto":
            object.__setattr__(self, "task", "sequences")
        check_fields(self)
        check_config(self)

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """The seeds that each method is trained with."""
        return self.seeds or (self.seed,)
