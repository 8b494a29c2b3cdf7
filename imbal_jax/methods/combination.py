"""Methods written as text: a name, or a combination such as ``stratified,loss=focal,gamma=1``."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from imbal_jax.errors import InputError, did_you_mean
from imbal_jax.methods.catalogue import METHODS
from imbal_jax.methods.method import Method, definition, first_stage
from imbal_jax.methods.own_loss import find_loss

NOT_SETTABLE = ("name", "summary", "paper", "options", "second_loss_options")
_SHARES = {"composition": "3:1:1", "mixing_span": "0:0.9"}


def find_method(text: str) -> Method:
    """The method called ``text``, or a combination written as ``loss=focal,composition=balanced,weights=inverse``.

    A combination may begin with a name to start from, and may give options of the loss:
    ``stratified,loss=focal,gamma=1``, and of the second: ``second_loss.gamma=1``. Where a method's field is called as
    an option is, as ``head`` of label_aware_smoothing, a number is the option's. Deferred parts are joined by
    a plus: ``deferred=weights+loss,defer=0.8``.
    Raises InputError for an unknown name, field or value, saying what is allowed.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    base = Method(name=text)
    if parts and "=" not in parts[0]:
        name = parts.pop(0)
        if name not in METHODS:
            hint = did_you_mean(name, METHODS)
            raise InputError(f"unknown method {name!r}: {hint}allowed are {', '.join(METHODS)}")
        base = METHODS[name]
    if not parts:
        if not text.strip():
            raise InputError(f"no method given: allowed are {', '.join(METHODS)}")
        return base
    given = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in parts)}
    loss = given.get("loss", base.loss)
    options = dict(base.options) if loss == base.loss else {}
    second = given.get("second_loss", base.second_loss)
    second_options = dict(base.second_loss_options) if second == base.second_loss else {}
    of_loss = _options_of(loss)
    of_second = {f"second_loss.{option}": option for option in _options_of(second)}
    settable = {f.name: f.type for f in fields(Method) if f.name not in NOT_SETTABLE}
    changes: dict[str, Any] = {}
    for key, value in given.items():
        if key in settable and not (key in of_loss and _is_number(value)):
            changes[key] = _parse(text, key, value, settable[key])
        elif key in of_loss:
            options[key] = _parse(text, key, value, float)
        elif key in of_second:
            second_options[of_second[key]] = _parse(text, key, value, float)
        else:
            having = ", ".join([*settable, *of_loss, *of_second])
            raise InputError(f"unknown field {key!r} in method {text!r}: allowed are {having}")
    return replace(
        base,
        name=text.replace(" ", ""),
        summary=f"Combination: {', '.join(parts)}.",
        options=tuple(options.items()),
        second_loss_options=tuple(second_options.items()),
        **changes,
    )


def trained_methods(methods: Sequence[Method]) -> dict[str, Method]:
    """Every method that is trained where ``methods`` are, by name: each, and the first stage of a second.

    Raises InputError where two of one name train differently.
    """
    found: dict[str, Method] = {}
    known = known_methods(methods)
    for method in methods:
        stages = [method] if method.second_stage == "none" else [first_stage(method, known), method]
        for stage in stages:
            other = found.setdefault(stage.name, stage)
            if definition(other) != definition(stage):
                raise InputError(f"two methods called {stage.name} train differently: give one another name")
    return found


def known_methods(methods: Sequence[Method]) -> dict[str, Method]:
    """``methods`` by name, then the methods of the catalogue with other names."""
    own = {method.name: method for method in methods}
    return own | {name: method for name, method in METHODS.items() if name not in own}


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _options_of(loss: str) -> Sequence[str]:
    return tuple(find_loss(loss).options)


def _parse(text: str, key: str, value: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        if kind is int:
            return int(value)
        if kind is float or kind == float | None:
            return float(value)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number"}.get(kind, "a number")
        raise InputError(f"{key}={value} in method {text!r}: expected {expected}") from None
    if key == "deferred":
        return tuple(value.split("+")) if value else ()
    if key == "mixing_span" or (key == "composition" and ":" in value):
        try:
            return tuple(float(share) for share in value.split(":"))
        except ValueError:
            raise InputError(
                f"{key}={value} in method {text!r}: expected shares such as {_SHARES[key]}"
            ) from None
    return value
