#!/usr/bin/env bash
# Lint and tests, in an environment made on the first run:  bash tests/run.sh [pytest arguments]
# Arguments go to pytest; paths are relative to the repository. MOS_TEST_WORKERS=N (2): processes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"

# Left by a launcher around this script, these would make fairseq believe that it is one rank of many.
unset WORLD_SIZE RANK LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT
unset TORCHELASTIC_RUN_ID OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK SLURM_JOB_NODELIST SLURM_STEP_NODELIST

source examples/bootstrap.sh
mos_bootstrap

# One thread per process: reproducible sums, and no fight over the cores between the processes.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

python -m ruff check .
# A file's tests stay in one process, so that its fixtures are made once.
exec python -m pytest -n "${MOS_TEST_WORKERS:-2}" --dist loadfile "$@"
