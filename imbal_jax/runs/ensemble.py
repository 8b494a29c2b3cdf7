"""The seeds of one method used as one model: the mean of their calibrated probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh

from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.decisions.operating_point import OperatingPoint, decide
from imbal_jax.errors import InputError
from imbal_jax.runs.address import RunAddress
from imbal_jax.runs.deployment import Inputs, require_decisions
from imbal_jax.runs.deployment_choice import choose_points
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.restore import Deployed, restore_deployed


@dataclass(frozen=True)
class Ensemble:
    """One run, or several of one method, ready for use.

    points: of the mean, one a class. prevalence: [C], at which its probabilities hold.
    """

    members: tuple[Deployed, ...]
    points: tuple[OperatingPoint, ...]
    prevalence: tuple[float, ...]

    @property
    def title(self) -> str:
        """Which runs, and which of their checkpoints."""
        first = self.members[0]
        if len(self.members) == 1:
            return f"{first.method.name}, checkpoint of step {first.step}"
        seeds = ", ".join(str(member.address.seed) for member in self.members)
        steps = ", ".join(str(member.step) for member in self.members)
        return (
            f"{first.method.name}: mean of the calibrated probabilities of {len(self.members)} seeds ({seeds}; "
            f"checkpoints of steps {steps}); thresholds chosen on the mean of their validation probabilities"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return self.members[0].deployment.classes

    @property
    def findings(self) -> tuple[int, ...]:
        """The indices of the classes but the negative one."""
        return self.members[0].deployment.findings

    @property
    def inputs(self) -> Inputs:
        return self.members[0].deployment.inputs

    def calibrated(self, c: int) -> bool:
        """Whether the probabilities of class ``c`` were fitted to cases of it."""
        fitted = all(member.deployment.calibration != "none" for member in self.members)
        return fitted and self.prevalence[c] > 0

    def predict(self, mesh: Mesh, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        """``images [N, H, W, channels] -> calibrated probabilities float64 [N, C]``."""
        networks = [(member.deployment, member.predict(mesh, batch_size)) for member in self.members]

        def probabilities(images: np.ndarray) -> np.ndarray:
            return np.mean(
                [deployment.probabilities(outputs(images)) for deployment, outputs in networks], axis=0
            )

        return probabilities

    def called(self, probabilities: np.ndarray) -> np.ndarray:
        """bool [N, C]: which classes each image is called, at the operating points."""
        return decide(probabilities, self.points, self.members[0].deployment.negative)


def ensemble_of(runs: Sequence[RunAddress], mesh: Mesh) -> Ensemble:
    """The finished ``runs``, which are of one method, as one model.

    The thresholds of one run are its own. Those of several are chosen on the mean of the validation probabilities, by
    the rules of the config. Raises InputError for runs of several methods or with other validation images.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    if len(methods) > 1:
        named = ", ".join(str(runs[0].workdir / method) for method in methods)
        raise InputError(f"{runs[0].workdir} holds several runs: name one of {named}")
    members = tuple(restore_deployed(run, mesh) for run in runs)
    first = members[0].deployment
    require_decisions(first, members[0].address.folder, "predict")
    if len(members) == 1:
        return Ensemble(members, first.points, first.prevalence)
    stored = [RunOutputs.read(run.folder) for run in runs]
    seen = [outputs for outputs in stored if outputs is not None]  # finished runs have them
    for member, outputs in zip(members, seen, strict=True):
        if member.deployment.classes != first.classes or not np.array_equal(
            outputs.validation_labels, seen[0].validation_labels
        ):
            raise InputError(
                f"{member.address.folder} was trained on other classes or validation images than "
                f"{members[0].address.folder}: name one of them"
            )
    mean = np.mean(
        [m.deployment.probabilities(s.validation_outputs) for m, s in zip(members, seen, strict=True)], axis=0
    )
    config = members[0].config
    points = choose_points(
        rules_of(config.deploy.points, first.classes, config.select),
        seen[0].validation_labels,
        mean,
        seen[0].validation_groups,
    )
    prevalence = np.mean([member.deployment.prevalence for member in members], axis=0)
    return Ensemble(members, points, tuple(prevalence.tolist()))
