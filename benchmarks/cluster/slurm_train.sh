#!/bin/bash
# One training on several nodes, a process a node: it is put back into the queue where it is preempted or its time ends.
#
#     sbatch benchmarks/cluster/slurm_train.sh my_config.py /shared/runs/first --methods ce stratified
#
# The workdir and the data lie where all nodes see them. Ninety seconds before the time limit, and at a preemption,
# SLURM sends SIGTERM to all processes: they agree on a step, save, and leave with 143; the job then goes on there.
#SBATCH --job-name=imbal-jax-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=8
#SBATCH --mem=0
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@90
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=imbal-jax-%j.log

set -euo pipefail

config=${1:?usage: sbatch slurm_train.sh CONFIG WORKDIR [OPTION ...]}
workdir=${2:?usage: sbatch slurm_train.sh CONFIG WORKDIR [OPTION ...]}

# JAX would give each task one GPU; here a task has all GPUs of its node
if [ "${SLURM_GPUS_ON_NODE:-0}" -gt 0 ]; then
    JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SLURM_GPUS_ON_NODE - 1)))
    export JAX_LOCAL_DEVICE_IDS
fi

trap : TERM # the shell waits for what the processes make of it
status=0
srun --kill-on-bad-exit=1 --wait=120 imbal-jax train "$config" --workdir "$workdir" "${@:3}" --distributed || status=$?
if [ "$status" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
