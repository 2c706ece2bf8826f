#!/usr/bin/env bash
# The same commands under torchrun; one rank per process.
#   one host:            NPROC=2 launch/torchrun.sh reconstruct scan.npz --output_dir runs/one
#   CPU only:            GPUS_PER_NODE=0 NPROC=2 launch/torchrun.sh ...
#   on each of two hosts, the same line (RUN_ID: a word not used before):
#     NNODES=2 NPROC=4 ENDPOINT=host0:29400 RUN_ID=monday-1 launch/torchrun.sh train scan.npz --output_dir runs/one
#   under SLURM, one task per node, in an allocation; run id and port come from the job and step:
#     ENDPOINT="$(hostname)" NPROC=4 srun --ntasks-per-node=1 launch/torchrun.sh train scan.npz --output_dir runs/one
# MAX_RESTARTS=3 starts all ranks again when one dies; training resumes from its checkpoint.
set -euo pipefail

NPROC="${NPROC:-2}"                       # ranks on this host
NNODES="${NNODES:-${SLURM_NNODES:-1}}"    # hosts
ENDPOINT="${ENDPOINT:-}"                  # first host[:port]; empty: one host, any free port
STEP="$((${SLURM_JOB_ID:-0} * 10 + ${SLURM_STEP_ID:-0}))"
RUN_ID="${RUN_ID:-${SLURM_JOB_ID:+$STEP}}"
MAX_RESTARTS="${MAX_RESTARTS:-0}"
GPUS_PER_NODE="${GPUS_PER_NODE:-all}"     # 0: no GPU; all: those that are visible
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
BIN="${BIN:-$HERE/.venv/bin}" # folder of the environment's programs
PYTHON="${PYTHON:-$(PATH="$BIN:$PATH" command -v python3)}"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
if [ "$GPUS_PER_NODE" = 0 ]; then export CUDA_VISIBLE_DEVICES=""; fi

if [ -z "$ENDPOINT" ]; then
    rendezvous=(--standalone)
else
    [[ "$ENDPOINT" == *:* ]] || ENDPOINT="$ENDPOINT:$((20000 + STEP % 10000))"
    : "${RUN_ID:?set RUN_ID to a word not used before, the same on every host}"
    rendezvous=(--rdzv-backend c10d --rdzv-endpoint "$ENDPOINT" --rdzv-id "$RUN_ID")
fi
exec "$PYTHON" -m torch.distributed.run --nnodes "$NNODES" --nproc-per-node "$NPROC" \
    --max-restarts "$MAX_RESTARTS" "${rendezvous[@]}" -m ptycho_dist "$@"
