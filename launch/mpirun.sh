#!/usr/bin/env bash
# The same commands under mpirun (MPICH, Intel MPI, Open MPI) or mpiexec of HPE Cray; one rank per process.
#   one host:        NPROC=2 launch/mpirun.sh reconstruct scan.npz --output_dir runs/one
#   CPU only:        GPUS_PER_NODE=0 NPROC=2 launch/mpirun.sh ...
#   several hosts:   NPROC=8 MPIRUN_FLAGS="-ppn 4 -hosts host0,host1" launch/mpirun.sh ...
#   Open MPI, root:  MPIRUN_FLAGS="--allow-run-as-root --oversubscribe" launch/mpirun.sh ...
set -euo pipefail

NPROC="${NPROC:-2}"                   # ranks in all
GPUS_PER_NODE="${GPUS_PER_NODE:-all}" # 0: no GPU; all: those that are visible
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
BIN="${BIN:-$HERE/.venv/bin}" # folder of the environment's programs
PYTHON="${PYTHON:-$(PATH="$BIN:$PATH" command -v python3)}"
MPIRUN="${MPIRUN:-$(PATH="$BIN:$PATH" command -v mpirun)}"
read -ra flags <<<"${MPIRUN_FLAGS:-}"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
if [ "$GPUS_PER_NODE" = 0 ]; then export CUDA_VISIBLE_DEVICES=""; fi

exec "$MPIRUN" -n "$NPROC" ${flags[@]+"${flags[@]}"} "$PYTHON" -m ptycho_dist "$@"
