#!/bin/bash
# A suite as a SLURM array: 16 tasks, each of which runs every 16th run and writes to one ledger.
#
#     sbatch benchmarks/cluster/slurm_array.sh benchmarks/suites/cpu.py /shared/results/cpu
#
# Submit it again to go on after a time limit or a failure: what has its line is not run again. A stage that is chosen
# from the results of others begins when it is submitted again after they are done.
#SBATCH --job-name=imbal-jax-suite
#SBATCH --array=1-16
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.log

set -euo pipefail

suite=${1:?usage: sbatch slurm_array.sh SUITE OUT}
out=${2:?usage: sbatch slurm_array.sh SUITE OUT}
shard=$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

# exec: the signal that SLURM sends before the time limit reaches the command, which keeps what is done
exec imbal-jax benchmark "$suite" --out "$out" --shard "$shard" --workers "${SLURM_CPUS_PER_TASK:-1}"
