#!/usr/bin/env bash
# Single-node CPU mode: ptycho-dist starts the ranks itself (--devices N).
#   launch/local.sh reconstruct scan.npz --output_dir runs/one --devices 2
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="${PYTHON:-$([ -x "$HERE/.venv/bin/python" ] && echo "$HERE/.venv/bin/python" || command -v python3)}"

export CUDA_VISIBLE_DEVICES=""
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

exec "$PYTHON" -m ptycho_dist "$@"
