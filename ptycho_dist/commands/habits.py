"""Flags of other programs: what each is called here, for those who type them out of habit."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

_OUTPUT = ("output_dir", "output_file")
_STEPS = ("iterations", "max_epochs")
HABITS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("out", "output", "outdir", "save_dir", "log_dir", "default_root_dir", "results_dir"), _OUTPUT),
    **dict.fromkeys(("max_epochs", "epochs", "nepochs", "n_epochs", "num_epochs"), ("max_epochs", "iterations")),
    **dict.fromkeys(("n_iterations", "num_iterations", "n_iter", "niter", "max_iterations", "num_iter"), _STEPS),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus", "nproc", "nproc_per_node", "num_processes"), ("devices",)),
    **dict.fromkeys(("ckpt", "ckpt_path", "checkpoint", "weights", "model", "model_dir"), ("model_path", "init_from")),
    **dict.fromkeys(("model_path", "pretrained_model"), ("init_from", "start")),
    **dict.fromkeys(("bs", "batchsize", "train_batch_size", "number_grouped_batches"), ("batch_size",)),
    **dict.fromkeys(("workers", "n_workers"), ("num_workers",)),
    **dict.fromkeys(("nmodes", "num_modes", "probe_modes", "n_probe_modes", "num_probe_modes"), ("n_modes",)),
    **dict.fromkeys(("force", "clobber", "replace"), ("overwrite",)),
    **dict.fromkeys(("verbose", "v"), ("debug",)),
    **dict.fromkeys(("energy", "photon_energy", "wavelength", "wavelength_m", "energy_keV"), ("energy_eV",)),
    **dict.fromkeys(("distance", "det_distance", "detector_distance"), ("detector_distance_m",)),
    **dict.fromkeys(("pixel_size", "pixelsize"), ("pixel_size_m", "detector_pixel_m")),
    **dict.fromkeys(("position_correction", "refine_positions", "update_positions"), ("position_start",)),
    **dict.fromkeys(("algorithm", "engine"), ("method",)),
    **dict.fromkeys(("n_images", "num_patterns", "nimages"), ("n_patterns", "n_subsample")),
    **dict.fromkeys(("initial_guess", "init", "resume_from"), ("start", "init_from")),
    **dict.fromkeys(("ground_truth", "truth"), ("reference",)),
    **dict.fromkeys(("roi", "crop", "window"), ("region", "crop_px")),
}
"""Names that are typed out of habit, and names here, the first that a command has is meant."""


def meant_by(name: str, known: Collection[str]) -> str | None:
    """Find the flag of a command that an unknown name probably means; None where none is near.

    Parameters
    ----------
    name
        What was typed, with underscores and without dashes.
    known
        Flags of the command.
    """
    habit = next((one for one in HABITS.get(name, ()) if one in known and one != name), None)
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return habit or (near[0] if near else None)
