"""The files for a SLURM array and a Kubernetes Indexed Job: options that the schedulers know, every shard once."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from imbal_jax.suite.options import BenchmarkOptions

FOLDER = Path(__file__).parents[2] / "benchmarks" / "cluster"
SCRIPT = FOLDER / "slurm_array.sh"

# Options of sbatch, from its manual, with what their values look like
SBATCH = {
    "job-name": r"[\w-]+",
    "array": r"\d+-\d+",
    "nodes": r"\d+",
    "ntasks": r"\d+",
    "cpus-per-task": r"\d+",
    "mem": r"\d+[KMGT]",
    "time": r"\d\d:\d\d:\d\d",
    "signal": r"B:(TERM|USR1)@\d+",
    "requeue": None,
    "open-mode": r"append|truncate",
    "output": r"[\w-]*%A_%a\.log",
}
# Fields of the Kubernetes API, batch/v1 and core/v1, by the object that has them
FIELDS = {
    "Job": {"apiVersion", "kind", "metadata", "spec", "status"},
    "JobSpec": {
        "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "completionMode", "completions", "managedBy",
        "manualSelector", "maxFailedIndexes", "parallelism", "podFailurePolicy", "podReplacementPolicy", "selector",
        "successPolicy", "suspend", "template", "ttlSecondsAfterFinished",
    },
    "Rule": {"action", "onExitCodes", "onPodConditions"},
    "PodSpec": {
        "affinity", "containers", "imagePullSecrets", "initContainers", "nodeSelector", "restartPolicy",
        "securityContext", "serviceAccountName", "terminationGracePeriodSeconds", "tolerations", "volumes",
    },
    "Container": {
        "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "name", "ports", "resources",
        "securityContext", "volumeMounts", "workingDir",
    },
}  # fmt: skip


def recorded(folder: Path, command: list[str], **variables: str) -> list[str]:
    """The words that a shell gives ``imbal-jax``."""
    program = folder / "imbal-jax"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        command, env={"PATH": path, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def options(words: list[str]) -> BenchmarkOptions:
    from imbal_jax.arguments import parse_command

    assert words[0] == "benchmark"
    return parse_command(BenchmarkOptions, words[1:], name="benchmark")


def test_the_slurm_script_is_bash_with_options_that_sbatch_knows_before_the_first_command() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    assert text.startswith("#!/bin/bash\n")
    head = re.split(r"^(?!#|\s*$)", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.findall(r"^#SBATCH (.*)$", text, flags=re.MULTILINE)
    assert lines == re.findall(r"^#SBATCH (.*)$", head, flags=re.MULTILINE), "later ones are ignored"
    for each in lines:
        name, equals, value = each.removeprefix("--").partition("=")
        assert name in SBATCH, each
        form = SBATCH[name]
        assert (not equals) if form is None else re.fullmatch(form, value), each


def test_the_tasks_of_the_array_are_the_shards(tmp_path: Path) -> None:
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", SCRIPT.read_text()).groups())  # type: ignore[union-attr]
    count = last - first + 1
    shards = []
    for task in range(first, last + 1):
        words = recorded(
            tmp_path,
            ["bash", str(SCRIPT), "suites/a b.py", "/out"],
            SLURM_ARRAY_TASK_ID=str(task),
            SLURM_ARRAY_TASK_COUNT=str(count),
            SLURM_CPUS_PER_TASK="4",
        )
        given = options(words)
        assert (given.suite, given.out, given.workers) == ("suites/a b.py", Path("/out"), 4)
        shards.append(given.shard)
    assert shards == [f"{number}/{count}" for number in range(1, count + 1)]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        recorded(tmp_path, ["bash", str(SCRIPT)])
    assert "usage: sbatch slurm_array.sh SUITE OUT" in caught.value.stderr


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "kubernetes_job.yaml").read_text())


def test_the_job_has_fields_of_batch_v1_with_values_of_their_types(job: dict[str, Any]) -> None:
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for kind, value in (("Job", job), ("JobSpec", spec), ("PodSpec", pod), ("Container", container)):
        assert set(value) <= FIELDS[kind], kind
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", job["metadata"]["name"])
    for name in ("completions", "parallelism", "backoffLimitPerIndex", "maxFailedIndexes"):
        assert type(spec[name]) is int, name
    assert spec["completionMode"] == "Indexed", "which backoffLimitPerIndex needs"
    assert pod["restartPolicy"] == "Never", "which podFailurePolicy and backoffLimitPerIndex need"
    for rule in spec["podFailurePolicy"]["rules"]:
        assert set(rule) <= FIELDS["Rule"]
        assert rule["action"] in ("Ignore", "FailIndex", "FailJob", "Count")
        assert len(set(rule) - {"action"}) == 1, "one of exit codes and conditions"
    codes = spec["podFailurePolicy"]["rules"][1]["onExitCodes"]
    assert (codes["containerName"], codes["operator"]) == (container["name"], "In")
    assert 0 not in codes["values"], "which the API refuses"
    assert all(set(each) == {"name", "value"} and isinstance(each["value"], str) for each in container["env"])
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}
    out = next(each["value"] for each in container["env"] if each["name"] == "OUT")
    assert out.startswith(container["volumeMounts"][0]["mountPath"] + "/"), "the ledger outlives the pod"


def test_the_pods_of_the_job_are_the_shards(job: dict[str, Any], tmp_path: Path) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    count = job["spec"]["completions"]
    shards = []
    for index in range(count):
        command = [*container["command"], *container["args"]]
        given = options(recorded(tmp_path, command, **variables, JOB_COMPLETION_INDEX=str(index)))
        assert (given.suite, given.out) == ("smoke", Path("/results/smoke"))
        assert given.workers == int(container["resources"]["requests"]["cpu"])
        shards.append(given.shard)
    assert shards == [f"{number}/{count}" for number in range(1, count + 1)]
