"""Join shard files into one object."""

from __future__ import annotations

from ptycho_dist.commands.path_checks import require_new_files, require_output_folder
from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import required_path, run_alone

COMMAND = Command(
    name="stitch",
    summary="join shard files into one object",
    description="Stitch the shards of an earlier prediction; needs the shard folder only, and one process.",
    example="ptycho-dist stitch runs/one/shards",
    order=8,
    operand="shard_dir",
    operand_help="Folder of shard files, written by infer or reconstruct.",
    main_flags=("overwrite",),
    replaces="Replace the product beside the folder, if it is not of these shards.",
)


@register_command(COMMAND)
def stitch(typed: Typed) -> int:
    """Join the shards of a folder into one object."""
    from ptycho_dist.inference.product import is_stitched_from, product_name
    from ptycho_dist.results import run_stitch

    folder = required_path(typed, "shard_dir")
    require_output_folder(folder.absolute().parent, "folder")
    target = folder.absolute().parent / product_name(folder)
    if not is_stitched_from(target, folder):
        require_new_files([target], overwrite=typed.overwrite)
    return run_alone(typed, folder.absolute().parent, lambda progress: run_stitch(folder, progress))
