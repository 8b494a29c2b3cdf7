"""The files that start one training on several machines: what SLURM and a JobSet make of them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_runs import COMMAND, QUIET, small, write_pictures, written
from two_processes import environment, free_port

from imbal_jax import train
from imbal_jax.config import Train
from imbal_jax.processes import _taken

FOLDER = Path(__file__).parents[1] / "benchmarks" / "cluster"
SCRIPT = FOLDER / "slurm_train.sh"

# Options of sbatch, from its manual, with what their values look like
SBATCH = {
    "job-name": r"[\w-]+",
    "nodes": r"\d+",
    "ntasks-per-node": "1",
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"\d+",
    "mem": r"0|\d+[KMGT]",
    "time": r"\d\d:\d\d:\d\d",
    "signal": r"TERM@\d+",  # without B: to the processes, not to the shell
    "requeue": None,
    "open-mode": "append",
    "output": r"[\w-]*%j\.log",
}


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_slurm_script_is_bash_with_options_that_sbatch_knows() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    assert text.startswith("#!/bin/bash\n")
    lines = re.findall(r"^#SBATCH (.*)$", text, flags=re.MULTILINE)
    assert text.index("#SBATCH " + lines[-1]) < text.index("\nset "), "later ones are ignored"
    for each in lines:
        name, equals, value = each.removeprefix("--").partition("=")
        form = SBATCH[name]
        assert (not equals) if form is None else re.fullmatch(form, value), each


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (143, True), (2, False), (1, False)])
def test_the_job_is_queued_again_where_the_processes_were_stopped(
    tmp_path: Path, status: int, requeued: bool
) -> None:
    program(tmp_path, "srun", f'printf "%s\\n" "$JAX_LOCAL_DEVICE_IDS" "$@" > srun.txt; exit {status}')
    program(tmp_path, "scontrol", 'printf "%s\\n" "$@" > scontrol.txt')
    done = subprocess.run(
        ["bash", str(SCRIPT), "a b.py", "/runs/c", "--methods", "ce", "crt"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == status
    gpus, *words = (tmp_path / "srun.txt").read_text().splitlines()
    assert gpus == "0,1,2,3"
    own = words[words.index("imbal-jax") + 1 :]
    given, rest = _taken(own)
    assert rest == ["train", "a b.py", "--workdir", "/runs/c", "--methods", "ce", "crt"]
    assert list(given) == ["--distributed"]
    asked = tmp_path / "scontrol.txt"
    assert (asked.read_text().split() if asked.exists() else None) == (["requeue", "7"] if requeued else None)


def test_the_slurm_script_without_a_workdir_says_how_it_is_used() -> None:
    done = subprocess.run(["bash", str(SCRIPT), "c.py"], capture_output=True, text=True, check=False)
    assert "usage: sbatch slurm_train.sh CONFIG WORKDIR" in done.stderr


# Fields of jobset.x-k8s.io/v1alpha2 by the object that has them, from its CustomResourceDefinition at 0.12
JOBSET = {
    "JobSet": {"apiVersion", "kind", "metadata", "spec", "status"},
    "JobSetSpec": {
        "coordinator", "failurePolicy", "managedBy", "network", "replicatedJobs", "startupPolicy", "successPolicy",
        "suspend", "ttlSecondsAfterFinished", "volumeClaimPolicies",
    },
    "Network": {"enableDNSHostnames", "publishNotReadyAddresses", "subdomain"},
    "FailurePolicy": {"maxRestarts", "restartStrategy", "rules"},
    "FailureRule": {
        "action", "name", "onJobFailureMessagePatterns", "onJobFailureReasons", "targetReplicatedJobs",
    },
    "ReplicatedJob": {"dependsOn", "groupName", "name", "replicas", "template"},
}  # fmt: skip
ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}


@pytest.fixture
def jobset() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "kubernetes_jobset.yaml").read_text())


def test_the_jobset_has_fields_of_its_api(jobset: dict[str, Any]) -> None:
    spec = jobset["spec"]
    (job,) = spec["replicatedJobs"]
    policy = spec["failurePolicy"]
    for kind, value in (
        ("JobSet", jobset),
        ("JobSetSpec", spec),
        ("Network", spec["network"]),
        ("FailurePolicy", policy),
        ("ReplicatedJob", job),
        *(("FailureRule", rule) for rule in policy["rules"]),
    ):
        assert set(value) <= JOBSET[kind], kind
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    for rule in policy["rules"]:
        assert rule["action"] in ACTIONS
        assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
    template = job["template"]["spec"]
    assert template["completionMode"] == "Indexed"
    assert template["completions"] == template["parallelism"], "all at once"
    assert template["backoffLimit"] == 0
    pod = template["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "which podFailurePolicy needs"
    assert {each["name"] for each in pod["containers"][0]["volumeMounts"]} == {
        each["name"] for each in pod["volumes"]
    }


def test_a_preemption_restarts_the_set_without_being_counted_and_wrong_input_does_not(
    jobset: dict[str, Any],
) -> None:
    """The messages are those that the Job controller of Kubernetes gives."""
    rules = jobset["spec"]["failurePolicy"]["rules"]
    template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    evicted, left = template["podFailurePolicy"]["rules"]
    assert evicted["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert left["onExitCodes"]["containerName"] == template["template"]["spec"]["containers"][0]["name"]
    assert left["onExitCodes"]["values"] == [2, 143]

    def action(reason: str, message: str) -> str:
        for rule in rules:
            patterns = rule.get("onJobFailureMessagePatterns", [""])
            if reason in rule["onJobFailureReasons"] and any(re.search(each, message) for each in patterns):
                return str(rule["action"])
        return "RestartJobSet"

    failed = "Container train for pod default/x failed with exit code {} matching FailJob rule at index 1"
    condition = "Pod default/x has condition DisruptionTarget matching FailJob rule at index 0"
    assert action("PodFailurePolicy", failed.format(2)) == "FailJobSet"
    assert action("PodFailurePolicy", failed.format(143)) == "RestartJobSetAndIgnoreMaxRestarts"
    assert action("PodFailurePolicy", condition) == "RestartJobSetAndIgnoreMaxRestarts"
    assert action("BackoffLimitExceeded", "Job has reached the specified backoff limit") == "RestartJobSet"


def test_the_pods_are_the_processes_and_find_the_first(jobset: dict[str, Any], tmp_path: Path) -> None:
    (job,) = jobset["spec"]["replicatedJobs"]
    template = job["template"]["spec"]
    (container,) = template["template"]["spec"]["containers"]
    program(tmp_path, "imbal-jax", 'printf "%s\\n" "$@"')
    variables = {each["name"]: each["value"] for each in container["env"]}
    name, count = jobset["metadata"]["name"], template["completions"]
    for index in range(count):
        done = subprocess.run(
            [*container["command"], *container["args"]],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                **variables,
                "JOB_COMPLETION_INDEX": str(index),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        given, rest = _taken(done.stdout.splitlines())
        assert rest == ["train", "/shared/my_config.py", "--workdir", "/shared/runs/first"]
        port = container["ports"][0]["containerPort"]
        assert given == {
            "--coordinator": f"{name}-{job['name']}-0-0.{name}:{port}",
            "--process": str(index),
            "--processes": str(count),
        }


SLURM = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
PreemptMode=REQUEUE
PreemptType=preempt/partition_prio
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a SLURM of one node, which runs while the test does."""
    if not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch"))):
        pytest.skip("SLURM is not installed here (Debian: slurm-wlm)")
    if os.getuid():
        pytest.skip("slurmd needs root")
    config = tmp_path / "slurm.conf"
    (tmp_path / "state").mkdir()
    (tmp_path / "spool").mkdir()
    where = {"folder": tmp_path, "host": socket.gethostname().split(".")[0], "user": "root"}
    config.write_text(SLURM.format(**where, controller=free_port(), node=free_port()))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**environment(1), "SLURM_CONF": str(config), "PATH": path}
    daemons = []
    try:
        for name in ("slurmctld", "slurmd"):
            daemons.append(subprocess.Popen([name, "-D"], env=env, stderr=subprocess.DEVNULL))
            time.sleep(3)
        yield env
    finally:
        subprocess.run(["scancel", "--user", "root", "--signal", "KILL", "--full"], env=env, check=False)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=60)


def states(env: dict[str, str]) -> dict[str, str]:
    """The state of each job that is queued or runs."""
    listed = subprocess.run(
        ["squeue", "-h", "-t", "all", "-o", "%i %T"], env=env, capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in listed.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.skipif(not COMMAND.is_file(), reason="imbal-jax is not installed here")
def test_a_job_that_slurm_preempts_saves_is_queued_again_and_ends_as_if_it_had_not_been(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    """On a SLURM of one node, in two tasks, which JAX finds by SLURM's variables."""
    pictures, workdir = write_pictures(tmp_path / "pictures"), tmp_path / "w"
    options = Train(epochs=100, batch_size=8, evaluations=10, steps_per_dispatch=4)
    config = small(pictures, train=options)

    def submit(*words: str) -> None:
        subprocess.run(["sbatch", "--nodes=1", *words], env=slurm, cwd=tmp_path, check=True)

    shape = ("--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0", "--mem=500", "--time=20")
    submit(*shape, str(SCRIPT), str(written(config, tmp_path / "c.py")), str(workdir))
    log, metrics = tmp_path / "imbal-jax-1.log", workdir / "stratified" / "seed0" / "metrics.jsonl"
    until = time.monotonic() + 900
    while not (metrics.is_file() and metrics.read_bytes().count(b"\n") > 8):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.01)
    submit("--partition=high", "--ntasks=2", "--mem=100", "--wrap", "sleep 1")
    while states(slurm).get("2") != "COMPLETED":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert "stopped by SIGTERM at step" in log.read_text()
    # SLURM lets a job that was queued again wait for two minutes
    subprocess.run(["scontrol", "update", "JobId=1", "StartTime=now"], env=slurm, check=False)
    while states(slurm).get("1") != "COMPLETED":
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.5)
    said = log.read_text()
    assert "Resumed at step" in said
    assert "Results on the test set" in said
    two = small(pictures, train=Train(**{**vars(options), "devices": 2}))
    alone = train.fit(two, tmp_path / "alone", console=QUIET)[0]
    with np.load(metrics.with_name("test_scores.npz")) as scores:
        np.testing.assert_allclose(scores["scores"], alone.raw_scores, atol=1e-4)
