"""The prediction: pure arithmetic on what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ptycho_dist.plan.messages import RING, Interconnect, halo_bytes, sent_bytes
from ptycho_dist.plan.refinement import NEIGHBOURS, Refinement

_CONTROL_BYTES = 64
"""What ranks agree on in each step beside the gradients: a few float64 numbers."""
_LEAST_GAIN = 1.1
"""Speed-up of twice the ranks below which they do not pay."""
_MOST_RANKS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a short calibration on so many ranks gave.

    Parameters
    ----------
    ranks
        Number of ranks, all on this host unless a launcher spread them.
    patterns, step_s
        Two sizes of a rank's share of a step (patterns), and the duration of such a step in seconds.
    setup_s
        Duration of a training beside its steps, in seconds.
    predict_s
        Duration of the prediction of one pattern by one rank, in seconds.
    stitch_s
        Duration of stitching one pixel of the object by one rank, in seconds.
    gradient_bytes
        Bytes of the gradients that ranks add up in each step.
    refine_s
        Duration of a pattern in an iteration of the refinement on one rank, in seconds; 0 where none is planned.
    latency_s, bytes_per_s
        Interconnect: duration of an empty message, and bandwidth; 0 and infinite for one rank.
    reduction
        How sums go round, as :class:`~ptycho_dist.plan.messages.Interconnect` has it.
    """

    ranks: int
    patterns: tuple[float, float]
    step_s: tuple[float, float]
    setup_s: float
    predict_s: float
    stitch_s: float
    gradient_bytes: int
    refine_s: float = 0.0
    latency_s: float = 0.0
    bytes_per_s: float = math.inf
    reduction: str = RING

    @property
    def net(self) -> Interconnect:
        """Interconnect between the ranks."""
        return Interconnect(latency_s=self.latency_s, bytes_per_s=self.bytes_per_s, reduction=self.reduction)

    def communication_s(self, ranks: int) -> float:
        """Duration of the messages of a step: the sum of the gradients, and one of the few numbers ranks agree on."""
        net = self.net
        return net.sum_s(self.gradient_bytes, ranks) + net.sum_s(_CONTROL_BYTES, ranks)

    def step_seconds(self, patterns: float, ranks: int) -> float:
        """Duration of a step in which a rank has so many patterns; linear between and beyond the two sizes."""
        (few, many), (short, long) = self.patterns, self.step_s
        slope = max(0.0, (long - short) / (many - few)) if many > few else 0.0
        own = max(0.0, short + slope * (patterns - few) - self.communication_s(self.ranks))
        return own + self.communication_s(ranks)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Size of a job.

    Parameters
    ----------
    n_patterns, canvas_px
        Patterns of the scan; pixels of the object.
    n_groups
        Groups of an epoch.
    group_size, batch_size
        Patterns in a group; groups in a global step.
    epochs, max_steps
        When the training ends.
    exchanges
        Times that a prediction exchanges halos.
    refinement
        What follows the prediction in a reconstruction.
    """

    n_patterns: int
    canvas_px: int
    n_groups: int
    group_size: int
    batch_size: int
    epochs: int
    max_steps: int | None
    exchanges: int = 0
    refinement: Refinement = field(default_factory=Refinement)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        steps = self.epochs * -(-self.n_groups // self.batch_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def share(self, ranks: int) -> int:
        """Patterns of the busiest rank in a step."""
        return -(-self.batch_size // ranks) * self.group_size


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is predicted for a number of ranks: seconds, and bytes that a rank sends in a step."""

    ranks: int
    training_s: float
    prediction_s: float
    stitching_s: float
    refinement_s: float
    sent_bytes: float
    is_measured: bool
    """Whether the calibration ran on so many ranks."""

    @property
    def total_s(self) -> float:
        """All of it together."""
        return self.training_s + self.prediction_s + self.stitching_s + self.refinement_s


def predict(job: Job, measurements: Sequence[Measurement], ranks: int) -> Row:
    """Predict a job on so many ranks, from the calibration on the nearest smaller (or equal) number of ranks."""
    base = _nearest(measurements, ranks)
    size = (job.n_patterns, job.canvas_px)
    return Row(
        ranks=ranks,
        training_s=base.setup_s + job.steps * base.step_seconds(job.share(ranks), ranks),
        prediction_s=base.predict_s * -(-job.n_patterns // ranks) + job.exchanges * _halo_s(job, base.net, ranks),
        stitching_s=base.stitch_s * -(-job.canvas_px // ranks),
        refinement_s=job.refinement.seconds(*size, base.refine_s, base.net, ranks),
        sent_bytes=sent_bytes(base.gradient_bytes, ranks),
        is_measured=any(one.ranks == ranks for one in measurements),
    )


def _halo_s(job: Job, net: Interconnect, ranks: int) -> float:
    if ranks == 1:
        return 0.0
    return net.halo_s(halo_bytes(math.sqrt(job.canvas_px / ranks), job.refinement.N), min(NEIGHBOURS, ranks - 1))


def _nearest(measurements: Sequence[Measurement], ranks: int) -> Measurement:
    fitting = [one for one in measurements if one.ranks <= ranks]
    return max(fitting, key=lambda one: one.ranks) if fitting else min(measurements, key=lambda one: one.ranks)


@dataclass(frozen=True)
class Limit:
    """Where adding ranks stops paying: the last number of ranks that does, and why twice as many do not."""

    ranks: int
    reason: str


def limit_of(job: Job, measurements: Sequence[Measurement], most: int = _MOST_RANKS) -> Limit:
    """Double the ranks until that makes the job less than a tenth faster, and tell what is in the way."""
    ranks = 1
    while 2 * ranks <= most:
        now, more = (predict(job, measurements, number) for number in (ranks, 2 * ranks))
        if now.total_s < _LEAST_GAIN * more.total_s:
            return Limit(ranks, _reason(job, _nearest(measurements, 2 * ranks), more))
        ranks *= 2
    return Limit(ranks, f"up to {most} ranks, beyond which nothing is predicted, each doubling pays")


def _reason(job: Job, base: Measurement, row: Row) -> str:
    """Name the largest part of a job that more ranks do not make shorter."""
    messages_s = job.steps * base.communication_s(row.ranks)
    steps_s = max(0.0, row.training_s - base.setup_s - messages_s)
    fed = f"a global step of {job.batch_size} groups feeds at most {job.batch_size} ranks; raise batch_size"
    around = "the same work of a step on any number of ranks"
    parts = {
        f"messages between {row.ranks} ranks": messages_s,
        "set-up of the training, which ranks do not share": base.setup_s,
        "stitching": row.stitching_s,
        _refining(job.refinement, row.ranks): row.refinement_s,
        fed if job.batch_size < row.ranks else around: steps_s,
    }
    name = max(parts, key=lambda one: parts[one])
    return f"{name} ({parts[name]:.3g} of {row.total_s:.3g} s on {row.ranks} ranks)"


def _refining(refinement: Refinement, ranks: int) -> str:
    """Name what is in the way of a refinement."""
    if refinement.tiles == 1:
        return "refinement at once, which sends a message for each update; set refine.tiles"
    if refinement.tiles < ranks:
        return f"refinement, whose {refinement.tiles} tiles feed at most as many ranks; raise refine.tiles"
    return "refinement, whose tiles exchange halos and probes"


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope, neither negative, of seconds over sizes (least squares of relative errors)."""
    weights = [1 / second**2 for second in seconds]
    total = sum(weights)
    mean_x = sum(w * x for w, x in zip(weights, sizes, strict=True)) / total
    mean_y = sum(w * y for w, y in zip(weights, seconds, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, x in zip(weights, sizes, strict=True))
    both = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in zip(weights, sizes, seconds, strict=True))
    slope = max(0.0, both / spread) if spread > 0 else 0.0
    return max(0.0, mean_y - slope * mean_x), slope
