"""The definition of a suite: stages of runs over data conditions, methods, settings, draws and seeds.

A definition is a Python file whose ``get_suite()`` returns a ``Suite``. It says what is to be run; ``grid`` says what
of it is done.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imbal_jax.config import Config, Data, override, to_json
from imbal_jax.config.file import call_in_file
from imbal_jax.config.plain import what_counts
from imbal_jax.errors import InputError, did_you_mean
from imbal_jax.fields import check_fields
from imbal_jax.methods import definition, find_method
from imbal_jax.suite.names import check_name, check_once, method_name, named

Line = Mapping[str, Any]
"""One run of the ledger, as its JSON line holds it."""

LATER: Mapping[str, tuple[str, ...]] = {"data": ("field_of_view",), "train": ("accumulation",)}
"""Options that came when ledgers existed. At their default, which is what was done before, they are no part of a
definition: lines of before still count."""

SHIPPED = Path(__file__).parent / "suites"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A data condition: a set, its ratio and its number of positives.

    name: unique in a stage, as ``phantom-100-50``. set: the data set, for grouping, as ``phantoms``. data: the
    options of the data; its split_seed is that of the draw. ratio: common to rare training images. positives: rare
    training images; None: as many as there are. bayes: the data have a likelihood, and so a Bayes score.
    """

    name: str
    set: str
    data: Data
    ratio: float
    positives: int | None
    bayes: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "cell ", dashes=False)
        check_name("cell", self.name)
        if self.ratio < 1:
            raise InputError(f"cell {self.name}: ratio is {self.ratio}, 1 or more")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Options of ``train`` under a name, as ``("--optim.learning-rate", "3e-3")``.

    cells, methods: the names for which it holds; empty: all. Settings of one name may differ between cells and
    methods, as tuned ones do.
    """

    name: str
    overrides: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "setting ", dashes=False)
        check_name("setting", self.name)
        object.__setattr__(self, "methods", tuple(find_method(name).name for name in self.methods))

    def holds_for(self, cell: str, method: str) -> bool:
        """Whether runs of this cell and this method have this setting."""
        return (not self.cells or cell in self.cells) and (not self.methods or method in self.methods)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A grid of runs, or one that is chosen from the lines of the stages before it.

    draws: values of ``data.split_seed``. seeds: values of ``Config.seed``. paired: the i-th draw goes with the i-th
    seed; otherwise they are crossed. choose: ``(lines of earlier stages, this stage) -> the stage to run``, called
    when every run of the earlier stages has a line.
    """

    name: str
    cells: tuple[Cell, ...]
    methods: tuple[str, ...]
    settings: tuple[Setting, ...] = (Setting(name="default"),)
    draws: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    paired: bool = True
    choose: Callable[[Sequence[Line], "Stage"], "Stage"] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "stage ", dashes=False)
        check_name("stage", self.name)
        where = f"stage {self.name}"
        object.__setattr__(self, "methods", tuple(method_name(name, where) for name in self.methods))
        check_once(f"{where}: cells", [cell.name for cell in self.cells])
        for what in ("methods", "draws", "seeds"):
            check_once(f"{where}: {what}", getattr(self, what))
        for number in (*self.draws, *self.seeds):
            if not 0 <= number < 2**32:
                raise InputError(f"{where}: draw or seed {number}: 0 or more, and below 2^32")
        if self.paired and len(self.draws) != len(self.seeds):
            raise InputError(
                f"{where}: {len(self.draws)} draws and {len(self.seeds)} seeds are paired: give as many of each, or "
                "paired=False, which crosses them"
            )
        if self.choose is None:
            for what in ("cells", "methods", "settings", "draws", "seeds"):
                if not getattr(self, what):
                    raise InputError(f"{where}: {what} is empty: name at least one, or give choose")
            check_once(f"{where}: runs", [address.key for address in self.addresses()])

    def addresses(self) -> Iterator["SuiteAddress"]:
        """The runs, replicate by replicate, so that each gives a whole table; of a replicate cell by cell."""
        pairs = (
            list(zip(self.draws, self.seeds, strict=True))
            if self.paired
            else [(draw, seed) for draw in self.draws for seed in self.seeds]
        )
        for draw, seed in pairs:
            for cell in self.cells:
                for setting in self.settings:
                    for method in self.methods:
                        if setting.holds_for(cell.name, method):
                            yield SuiteAddress(self.name, cell.name, draw, method, setting.name, seed)

    def cell(self, name: str) -> Cell:
        """The cell of this name; InputError where there is none."""
        return named(f"cell of stage {self.name}", name, {cell.name: cell for cell in self.cells})

    def setting(self, name: str, cell: str, method: str) -> Setting:
        """The setting of this name that holds for a cell and a method; InputError where there is none."""
        found = {each.name: each for each in self.settings if each.holds_for(cell, method)}
        return named(f"setting of stage {self.name} for {cell} and {method}", name, found)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A claim about the results that holds if the suite measures what it says.

    holds: of the lines, whether it is so (None: the lines do not tell), and the figures in a line.
    """

    name: str
    claim: str
    holds: Callable[[Sequence[Line]], tuple[bool | None, str]]


@dataclass(frozen=True, kw_only=True)
class Published:
    """An error that others report: 1 - accuracy of the class called, in per cent, in the cell of this name."""

    method: str
    cell: str
    error: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What is run, and how its results are read.

    base: the config of every run, but for its data, its method and its setting. steps: of the first stage of every
    run whose cell has a number of positives, in place of the base's epochs, so that cells of any size train as long;
    second stages follow in proportion. target: of a curve, what steps and seconds are counted to
    (``curve.to_target``). descriptive: too few runs for conclusions, which the report says. reference: the method
    that the others are compared with. primary: the metric of the conclusions. checks: empty: the six of
    ``conclusions.validity.CHECKS``. published: errors of others that the report puts beside these.
    """

    name: str
    title: str
    base: Config
    stages: tuple[Stage, ...]
    target: str = "sensitivity_at_90 >= 0.8"
    steps: int | None = None
    descriptive: bool = False
    reference: str = "ce"
    primary: str = "balanced_accuracy"
    checks: tuple[Check, ...] = ()
    published: tuple[Published, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "suite ", dashes=False)
        check_name("suite", self.name)
        if not self.stages:
            raise InputError(f"suite {self.name}: stages is empty: name at least one")
        check_once(f"suite {self.name}: stages", [stage.name for stage in self.stages])
        object.__setattr__(self, "reference", method_name(self.reference, f"suite {self.name}: reference"))

    def stage(self, name: str) -> Stage:
        """The stage of this name; InputError where there is none."""
        return named(f"stage of suite {self.name}", name, {stage.name: stage for stage in self.stages})


@dataclass(frozen=True)
class SuiteAddress:
    """Which run of a suite. draw: of the split and the subsampling. seed: of initial weights and batches."""

    stage: str
    cell: str
    draw: int
    method: str
    setting: str
    seed: int

    @property
    def key(self) -> str:
        """``stage/cell/draw/method/setting/seed``, unique in a ledger."""
        return f"{self.stage}/{self.cell}/{self.draw}/{self.method}/{self.setting}/{self.seed}"

    def folder(self, out: Path) -> Path:
        """OUT/runs/STAGE/CELL/drawN/METHOD/SETTING/seedN, for what the run writes besides its line."""
        draw, seed = f"draw{self.draw}", f"seed{self.seed}"
        return Path(out) / "runs" / self.stage / self.cell / draw / self.method / self.setting / seed


def parse_key(text: str) -> SuiteAddress:
    """The address that a key names; InputError where it is none."""
    parts = text.split("/")
    if len(parts) != 6 or not all(parts) or not all(parts[i].isdecimal() for i in (2, 5)):
        raise InputError(
            f"{text!r} is no key of a run: it is STAGE/CELL/DRAW/METHOD/SETTING/SEED, as a line of the ledger has it"
        )
    stage, cell, draw, method, setting, seed = parts
    return SuiteAddress(stage, cell, int(draw), method, setting, int(seed))


def load_suite(source: Path | str) -> Suite:
    """The suite of a Python file with ``get_suite()``, or of a name that ships; InputError in one line."""
    path = suite_path(source)
    suite = call_in_file(path, "get_suite", Suite, what="suite")
    for stage in suite.stages:  # an option that train does not know is found before the first run
        one = replace(stage, draws=stage.draws[:1], seeds=stage.seeds[:1])
        for address in one.addresses() if stage.choose is None else ():
            try:
                config_of(suite, address)
            except InputError as error:
                raise InputError(f"{path}: run {address.key}: {error}") from error
    return suite


def suite_path(source: Path | str) -> Path:
    """The file of a suite: ``source`` itself if it ends in .py or is a path, else that of the suite that ships."""
    text = str(source)
    if text.endswith(".py") or isinstance(source, Path) or "/" in text:
        return Path(source)
    known = {path.stem: path for path in sorted(SHIPPED.glob("[!_]*.py"))}
    if text in known:
        return known[text]
    beside = Path("benchmarks") / "suites" / f"{text}.py"
    file = str(beside) if beside.is_file() else "the path of a .py file with get_suite()"
    hint = did_you_mean(text, known)
    ships = f"what ships is {', '.join(known)}" if known else "none ships"
    raise InputError(f"unknown suite {text!r}: {hint}{ships}; or give {file}")


def config_of(suite: Suite, address: SuiteAddress) -> Config:
    """The config of one run: the suite's base with the data, draw, method, setting and seed of the address.

    Raises InputError where the suite has no such run, or where the setting's options are wrong.
    """
    stage = suite.stage(address.stage)
    cell = stage.cell(address.cell)
    method = named(f"method of stage {stage.name}", address.method, {name: name for name in stage.methods})
    setting = stage.setting(address.setting, cell.name, method)
    data = replace(cell.data, split_seed=address.draw)
    base = suite.base
    if suite.steps is not None and cell.positives is not None:
        images = round(cell.positives * (1 + cell.ratio))
        base = replace(base, train=replace(base.train, epochs=suite.steps * base.train.batch_size / images))
    config = replace(base, data=data, seed=address.seed, seeds=(), methods=(find_method(method),))
    return _changed(config, setting) if setting.overrides else config


def digest(config: Config) -> str:
    """16 hexadecimal digits of what decides the results of a run: no folder, number of devices, name or title."""
    return _digest(_decisive(config), config.data.split_seed, config.seed)


def definitions(suite: Suite, stage: Stage) -> dict[str, str]:
    """Key -> ``digest(config_of(suite, address))`` of every run of a stage."""
    known: dict[tuple[str, str, str], dict[str, Any]] = {}
    found: dict[str, str] = {}
    alone = replace(suite, stages=(stage,))
    for address in stage.addresses():
        kind = (address.cell, address.method, address.setting)
        if kind not in known:
            known[kind] = _decisive(config_of(alone, address))
        found[address.key] = _digest(known[kind], address.draw, address.seed)
    return found


def _decisive(config: Config) -> dict[str, Any]:
    values = what_counts(to_json(config))
    for section, names in LATER.items():
        for name in names:
            if values[section][name] == getattr(type(getattr(config, section)), name):
                del values[section][name]
    for word in ("name", "title", "seeds"):
        values.pop(word)
    values["data"]["labels_file"] = Path(config.data.labels_file).name
    values["methods"] = [definition(method) for method in config.methods]
    return values


def _digest(values: Mapping[str, Any], draw: int, seed: int) -> str:
    whole = {**values, "seed": seed, "data": {**values["data"], "split_seed": draw}}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


_parsed: dict[tuple[str, tuple[str, ...]], Config] = {}  # parsing takes longer than all else


def _changed(config: Config, setting: Setting) -> Config:
    """``config`` with the options of ``setting``, which may not change what the address says."""
    plain = replace(config, seed=0, data=replace(config.data, split_seed=0))
    where = (repr(plain), setting.overrides)
    if where not in _parsed:
        try:
            changed = override(plain, list(setting.overrides))
        except InputError as error:
            raise InputError(f"setting {setting.name}: {error}") from error
        if (changed.seed, changed.seeds, changed.data.split_seed, len(changed.methods)) != (0, (), 0, 1):
            raise InputError(
                f"setting {setting.name}: it changes a seed or the number of methods, which are those of the stage: "
                "leave --seed, --seeds and --data.split-seed out, and give --methods one"
            )
        _parsed[where] = changed
    changed = _parsed[where]
    data = replace(changed.data, split_seed=config.data.split_seed)
    return replace(changed, seed=config.seed, data=data)
