"""The table of commands: what the help shows, and what each runs."""

from __future__ import annotations

from ptycho_dist.commands import doctor, plan, running, writing
from ptycho_dist.commands.command import Command
from ptycho_dist.config.doctor import DoctorConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.plan import PlanConfig
from ptycho_dist.config.ranks import RanksConfig
from ptycho_dist.config.schema import DataConfig, InferenceConfig
from ptycho_dist.config.sections import ALL_SECTIONS, REFINE_SECTIONS, TRAINING_SECTIONS
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.config.simulate_set import SetConfig

_OUTPUT = {"output_dir": "Folder for all results; made if it is not there."}
_START = {"init_from": "Bundle whose network the training starts from; its settings are those of that network."}
_LABELS = {"label_file": "Product or NPZ with the object to learn from, in supervised and mixed training."}
_MODEL = {"model_path": "Model bundle: the folder that training wrote (or its parent)."}
_SCAN_HELP = "Scan file: PtychoPINN NPZ, tike NPZ, or HDF5 written by 'ptycho-dist simulate'."

COMMANDS: tuple[Command, ...] = (
    Command(
        name="simulate",
        summary="make a scan with a known object, or a set of scans",
        description="Simulate a far-field scan: an object from two pictures, a zone-plate probe, Poisson noise;\n"
        "with --n_scans a folder of such scans that differ, to train one network on.",
        example="ptycho-dist simulate runs/scan.h5 --n_patterns 1000 --photons 3e5\n"
        "  ptycho-dist simulate runs/set --n_scans 24 --n_patterns 200 --devices 2",
        operand="output_file",
        operand_help="HDF5 file to write; with --n_scans, folder to write into.",
        paths={"probe_file": "Scan whose supplied probe takes the place of the zone plate's."},
        sections={"simulate": SimulateConfig, "set": SetConfig, "ranks": RanksConfig},
        run=writing.simulate,
    ),
    Command(
        name="convert",
        summary="write a scan of any readable format as HDF5 of this project",
        description="Convert a scan to the project's HDF5; with --devices, or under a launcher, on several ranks.",
        example="ptycho-dist convert scan.npz runs/scan.h5 --devices 2",
        operand="scan",
        operand_help=_SCAN_HELP,
        paths={"output_file": "HDF5 file to write."},
        second_operand="output_file",
        sections={"data": DataConfig, "ranks": RanksConfig},
        run=writing.convert,
    ),
    Command(
        name="train",
        summary="train a network on a scan, or on a set of scans",
        description="Train a network (and the probe) on one scan, or one network on a folder of scans; writes a model\n"
        "bundle to OUTPUT_DIR/bundle. With --init_from the network of another bundle is the start.",
        example="ptycho-dist train scan.npz --output_dir runs/one --max_epochs 60 --devices 2",
        operand="scan",
        operand_help=_SCAN_HELP,
        operand_flags=("train_data_file",),
        paths={**_OUTPUT, **_START, **_LABELS},
        sections=TRAINING_SECTIONS,
        run=running.train,
    ),
    Command(
        name="infer",
        summary="predict a scan with a trained bundle, and stitch",
        description="Predict a scan with a trained bundle on all ranks, then stitch one object on rank 0.",
        example="ptycho-dist infer scan.npz --model_path runs/one/bundle --output_dir runs/two",
        operand="scan",
        operand_help=_SCAN_HELP,
        operand_flags=("test_data_file",),
        paths={**_MODEL, **_OUTPUT},
        sections={"data": DataConfig, "inference": InferenceConfig, "execution": PyTorchExecutionConfig},
        run=running.infer,
    ),
    Command(
        name="reconstruct",
        summary="train, predict, stitch, refine and evaluate in one go",
        description="From a scan to an object: train, predict, stitch, refine, evaluate. Results are in OUTPUT_DIR.",
        example="ptycho-dist reconstruct scan.npz --output_dir runs/one --devices 2",
        operand="scan",
        operand_help=_SCAN_HELP,
        operand_flags=("train_data_file", "test_data_file"),
        paths={**_OUTPUT, **_START, **_LABELS, "reference": "Product or NPZ with a reference object, for the metrics."},
        sections=ALL_SECTIONS,
        run=running.reconstruct,
    ),
    Command(
        name="refine",
        summary="refine a reconstruction by physics",
        description="Refine object, probe, and if asked for positions, flux and background, from any start.",
        example="ptycho-dist refine scan.npz --start runs/one/network.h5 --output_dir runs/two --iterations 40",
        operand="scan",
        operand_help=_SCAN_HELP,
        operand_flags=("test_data_file",),
        paths={
            **_OUTPUT,
            "start": "Product, or NPZ with object and probe, to start from; ones and the scan's probe where not given.",
            "reference": "Product or NPZ with a reference object, for the metrics.",
        },
        sections=REFINE_SECTIONS,
        run=running.refine,
    ),
    Command(
        name="stitch",
        summary="join shard files into one object",
        description="Stitch the shards of an earlier prediction; needs the shard folder only, and one process.",
        example="ptycho-dist stitch runs/one/shards",
        operand="shard_dir",
        operand_help="Folder of shard files, written by infer or reconstruct.",
        run=running.stitch,
    ),
    Command(
        name="evaluate",
        summary="metrics and pictures of a reconstruction",
        description="Compute the Fourier error (with the scan) and PSNR, SSIM, FRC (with a reference) of a product.",
        example="ptycho-dist evaluate runs/one/reconstruction.h5 --scan scan.npz --reference truth.npz",
        operand="product",
        operand_help="Product file: reconstruction.h5.",
        paths={
            "scan": "Scan that the product was made from.",
            "reference": "Product or NPZ with a reference object.",
            "output_dir": "Folder for metrics and pictures; that of the product where not given.",
        },
        sections={"data": DataConfig},
        run=running.evaluate,
    ),
    Command(
        name="inspect",
        summary="say what a file is, and what to run next",
        description="Say what a scan, product or bundle holds: sizes, units, what a reader converts.",
        example="ptycho-dist inspect scan.npz",
        operand="file",
        operand_help="Scan, product, or bundle folder.",
        run=running.inspect,
    ),
    Command(
        name="doctor",
        summary="examine a launch: ranks, devices, network, files, memory",
        description="Examine this launch and say what to change; with a scan, also whether a training fits.",
        example="ptycho-dist doctor scan.npz --output_dir runs/one --under torchrun --ranks 4",
        operand="scan",
        operand_help=_SCAN_HELP,
        operand_is_optional=True,
        operand_flags=("train_data_file",),
        paths=_OUTPUT,
        sections={**TRAINING_SECTIONS, "doctor": DoctorConfig},
        run=doctor.doctor,
    ),
    Command(
        name="plan",
        summary="predict time and memory of a job on any number of ranks",
        description="Calibrate for some seconds on this machine, then predict training, prediction and stitching.",
        example="ptycho-dist plan scan.npz --ranks 1,2,4,8 --max_epochs 60",
        operand="scan",
        operand_help=_SCAN_HELP,
        operand_flags=("train_data_file",),
        paths={
            "output_dir": "Folder for the files of the calibration, which are removed; that of the system if not set."
        },
        sections={**ALL_SECTIONS, "plan": PlanConfig},
        run=plan.plan,
    ),
)
"""All commands, in the order of a first use."""
