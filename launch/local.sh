#!/usr/bin/env bash
# One machine, no launcher: ptycho-dist starts the ranks itself (--devices N).
#   CPU:  launch/local.sh reconstruct scan.npz --output_dir runs/one --devices 2
#   GPU:  GPUS_PER_NODE=all launch/local.sh reconstruct scan.npz --output_dir runs/one
set -euo pipefail

GPUS_PER_NODE="${GPUS_PER_NODE:-0}" # 0: no GPU; all: those that are visible
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
BIN="${BIN:-$HERE/.venv/bin}" # folder of the environment's programs
PYTHON="${PYTHON:-$(PATH="$BIN:$PATH" command -v python3)}"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
if [ "$GPUS_PER_NODE" = 0 ]; then export CUDA_VISIBLE_DEVICES=""; fi

exec "$PYTHON" -m ptycho_dist "$@"
