"""The catalogue as a user reads it: in groups, and one method in full."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from imbal_jax.methods.catalogue import METHODS
from imbal_jax.methods.combination import find_method
from imbal_jax.methods.method import Method

GROUPS = (
    ("Second stage, on frozen features", lambda m: m.second_stage != "none"),
    ("Correction of the probabilities afterwards", lambda m: m.correction != "none"),
    ("Ranking losses", lambda m: m.loss_row.ranks),
    ("Contrastive losses beside the classifier", lambda m: m.auxiliary != "none"),
    ("Mixing of images", lambda m: m.mixing != "none"),
    ("Deferred: plain at first", lambda m: bool(m.deferred)),
    ("Losses for many labels only", lambda m: m.loss_row.one_label is None),
    ("Composition of the batches", lambda m: m.composition != "natural" or m.resample != "none"),
    ("Weights of the classes", lambda m: m.weights != "none"),
    ("Losses", lambda m: True),
)
"""Heading and membership; a method is listed under the first that fits."""


def catalogue_table() -> Table:
    """Every method, in groups, with when to use it."""
    table = Table(
        title="Methods; combine as NAME,loss=focal,composition=balanced,weights=inverse",
        caption="imbal-jax methods NAME: the settings and the paper of one",
        box=None,
        show_header=False,
        padding=(0, 1),
    )
    table.add_column("name", no_wrap=True)
    table.add_column("when to use it", ratio=1)
    left = dict(METHODS)
    for heading, fits in GROUPS:
        chosen = [method for method in left.values() if fits(method)]
        if not chosen:
            continue
        table.add_section()
        table.add_row(Text(""), Text(f"\n{heading}", style="bold"))
        for method in chosen:
            del left[method.name]
            table.add_row(Text(method.name), Text(method.summary))
    return table


def describe_method(name: str) -> Group:
    """One method: when to use it, its settings, its paper. InputError for an unknown name."""
    method = find_method(name)
    lines = [Text(method.name, style="bold")]
    lines += [Text(text) for text in (method.summary, method.paper) if text]
    lines += [Text(f"  {key} = {_shown(value)}") for key, value in _settings(method).items()]
    return Group(*lines)


def _settings(method: Method) -> dict[str, object]:
    return method.settings or {"loss": method.loss}


def _shown(value: object) -> str:
    return (
        ("+" if isinstance(value[0], str) else ":").join(map(_shown, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
