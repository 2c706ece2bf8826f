#!/usr/bin/env bash
# The same commands under torchrun; one rank per process.
#   NPROC=2 launch/torchrun.sh reconstruct scan.npz --output_dir runs/one
#   on each of two nodes:
#   NNODES=2 NPROC=4 ENDPOINT=node0:29400 launch/torchrun.sh train scan.npz --output_dir runs/one
set -euo pipefail

NPROC="${NPROC:-2}"
NNODES="${NNODES:-1}"
ENDPOINT="${ENDPOINT:-}"
RUN_ID="${RUN_ID:-ptycho_dist}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="${PYTHON:-$([ -x "$HERE/.venv/bin/python" ] && echo "$HERE/.venv/bin/python" || command -v python3)}"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

if [ -z "$ENDPOINT" ]; then
    rendezvous=(--standalone)
else
    rendezvous=(--rdzv-backend c10d --rdzv-endpoint "$ENDPOINT" --rdzv-id "$RUN_ID")
fi
exec "$PYTHON" -m torch.distributed.run --nnodes "$NNODES" --nproc-per-node "$NPROC" "${rendezvous[@]}" \
    -m ptycho_dist "$@"
