"""Section: the checks of the suite, each a published result that the runs have to show."""

from imbal_jax.report.html import counted
from imbal_jax.suite.report.blocks import Block, Text, one_table
from imbal_jax.suite.report.evidence import Evidence

WORDS = {True: "pass", False: "FAIL", None: "not told"}


def validity(evidence: Evidence) -> tuple[Block, ...]:
    """The checks that the suite defines, or the six published ones."""
    found = [(check, *check.holds(evidence.lines)) for check in evidence.checks]
    outcomes = [holds for _, holds, _ in found]
    failed = outcomes.count(False)
    text = f"{outcomes.count(True)} of {counted(len(found), 'check')} pass"
    text += f", {failed} fail: read every number here with that in mind" if failed else ""
    untold = outcomes.count(None)
    text += f"; for {untold} the runs do not tell." if untold else "."
    rows = [(check.name, WORDS[holds], f"{check.claim}. {said}") for check, holds, said in found]
    return (
        Text(f"What is known from published results and from theory has to show in these runs too. {text}"),
        one_table(("check", "outcome", "claim, and what the runs say"), rows, prose=True),
    )
