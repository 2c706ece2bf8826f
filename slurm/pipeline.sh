#!/usr/bin/env bash
# Three jobs, each after the one before: train on one scan, predict many (a job array), stitch and evaluate all.
#   OUTPUT_DIR=runs/many slurm/pipeline.sh train.h5 first.h5 second.h5 third.h5
# Prints one line for each job: its name and id. Results: OUTPUT_DIR/bundle, OUTPUT_DIR/scan-1, scan-2, ...
#   GPU:  SBATCH_FLAGS="--gpus-per-node=4 -A ACCOUNT -C gpu" slurm/pipeline.sh ...
#   CPU:  SBATCH_FLAGS="--ntasks-per-node=2 --cpus-per-task=4" slurm/pipeline.sh ...
#   TRAIN_FLAGS="--max_epochs 60" INFER_FLAGS="--inference_batch_size 64" are handed to ptycho-dist.
set -euo pipefail

: "${OUTPUT_DIR:?set OUTPUT_DIR to the folder for results}"
: "${2:?usage: OUTPUT_DIR=DIR slurm/pipeline.sh TRAIN_SCAN SCAN...}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
TRAIN_SCAN="$1"
shift
read -ra sbatch_flags <<<"${SBATCH_FLAGS:-}"
read -ra stitch_flags <<<"${STITCH_SBATCH_FLAGS:-}" # of the last job, which needs one task and no GPU
read -ra train_flags <<<"${TRAIN_FLAGS:-}"
read -ra infer_flags <<<"${INFER_FLAGS:-}"

submit() { sbatch --parsable "$@" | cut -d ';' -f 1; }

mkdir -p "$OUTPUT_DIR"
export OUTPUT_DIR MODEL="$OUTPUT_DIR/bundle" SCAN_LIST="$OUTPUT_DIR/scans.txt"
printf '%s\n' "$@" >"$SCAN_LIST"

train="$(SCAN="$TRAIN_SCAN" submit ${sbatch_flags[@]+"${sbatch_flags[@]}"} \
    "$HERE/train.sbatch" ${train_flags[@]+"${train_flags[@]}"})"
echo "train $train"
unset SCAN
infer="$(submit --dependency="afterok:$train" --kill-on-invalid-dep=yes --array="1-$#" \
    ${sbatch_flags[@]+"${sbatch_flags[@]}"} "$HERE/infer.sbatch" ${infer_flags[@]+"${infer_flags[@]}"})"
echo "infer $infer"
stitch="$(submit --dependency="afterok:$infer" --kill-on-invalid-dep=yes \
    ${stitch_flags[@]+"${stitch_flags[@]}"} "$HERE/stitch.sbatch")"
echo "stitch $stitch"
