"""The threshold rule of each class, as the options of a run name them."""

from collections.abc import Sequence

from imbal_jax.decisions.criterion import rules_from
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.threshold_rules import Rule, parse_rule
from imbal_jax.errors import InputError


def rules_of(points: Sequence[str] | None, classes: Sequence[str], select: str = "") -> list[Rule]:
    """The rule of each class. InputError for a malformed one, and for a name that is no class.

    points: rules, one for all classes or ``CLASS: RULE`` for one. None: what the constraints of ``select``, the
    criterion, ask for (``criterion.rules_from``). Where neither says anything: youden.
    """
    general, own = None, {}
    if points is None:
        asked = (
            {name: parse_rule(text) for name, text in rules_from(parse_criterion(select)).items()}
            if select
            else {}
        )
        general = asked.pop("", None)
        own = {name: rule for name, rule in asked.items() if name in classes}
    for text in points or ():
        name, colon, rest = text.rpartition(": ")  # a rule's own colon, as in 20:1, has no space after it
        if colon and name in classes:
            own[name] = parse_rule(rest)
        elif colon and name:
            raise InputError(
                f"deploy.points {text!r}: there is no class {name!r}, they are {', '.join(classes)}"
            )
        elif general is not None:
            raise InputError(
                f"deploy.points has two rules for every class, {str(general)!r} and {text!r}: "
                "write 'CLASS: RULE' for one class"
            )
        else:
            general = parse_rule(text)
    return [own.get(name, general or parse_rule("youden")) for name in classes]
