"""The arithmetic of the plan, against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ptycho_dist.config.command_settings import PlanConfig
from ptycho_dist.plan.messages import TREE, Interconnect, halo_bytes, sent_bytes
from ptycho_dist.plan.model import Job, Measurement, fit_line, limit_of, predict
from ptycho_dist.plan.refinement import Refinement

JOB = Job(n_patterns=1000, canvas_px=10_000, n_groups=125, group_size=8, batch_size=16, epochs=10, max_steps=None)
ALONE = Measurement(
    ranks=1, patterns=(128, 256), step_s=(1.1, 2.1), setup_s=3.0, predict_s=0.01, stitch_s=1e-5, gradient_bytes=1000
)
AT_ONCE = Refinement(iterations=300, update=8, N=64)
BY_TILES = replace(AT_ONCE, tiles=4)
PAIR = replace(ALONE, ranks=2, patterns=(64, 128), step_s=(0.9, 1.7), latency_s=0.01, bytes_per_s=1e4)


def test_steps_count_whole_batches_of_groups_and_stop_at_max_steps() -> None:
    assert JOB.steps == 10 * 8
    assert replace(JOB, max_steps=7).steps == 7
    assert [JOB.share(ranks) for ranks in (1, 2, 3, 16, 1024)] == [128, 64, 48, 8, 8]


def test_each_rank_sends_nearly_twice_the_gradients() -> None:
    assert [sent_bytes(1000, ranks) for ranks in (1, 2, 4)] == [0, 1000, 1500]


def test_step_on_the_calibrated_ranks_is_what_was_measured() -> None:
    assert ALONE.step_seconds(128, 1) == pytest.approx(1.1)
    assert PAIR.step_seconds(64, 2) == pytest.approx(0.9)
    assert PAIR.step_seconds(128, 2) == pytest.approx(1.7)


def test_step_on_more_ranks_has_less_work_and_more_communication() -> None:
    two, eight = 4 * 0.01 + 1064e-4, 28 * 0.01 + 1.75 * 1064e-4
    assert PAIR.communication_s(1) == 0
    assert PAIR.communication_s(2) == pytest.approx(two)
    assert PAIR.communication_s(8) == pytest.approx(eight)
    compute = 0.9 - two - (64 - 16) * 0.8 / 64
    assert PAIR.step_seconds(16, 8) == pytest.approx(compute + eight)


def test_ring_waits_for_all_ranks_tree_for_their_logarithm_and_halo_for_neighbours() -> None:
    ring = Interconnect(latency_s=1e-3, bytes_per_s=1e6)
    tree = replace(ring, reduction=TREE)
    assert [ring.rounds(ranks) for ranks in (1, 2, 64)] == [0, 2, 126]
    assert [tree.rounds(ranks) for ranks in (1, 2, 64, 65)] == [0, 2, 12, 14]
    assert ring.sum_s(1000, 4) == pytest.approx(6e-3 + 1.5e-3)
    assert ring.halo_s(2000, 8) == pytest.approx(8e-3 + 2e-3)
    assert halo_bytes(100, 10) == pytest.approx((120**2 - 100**2) * 8)


def test_refinement_at_once_sends_each_update_and_by_tiles_halos_and_probes() -> None:
    net = Interconnect(latency_s=1e-3, bytes_per_s=1e6)
    at_once, by_tiles = replace(AT_ONCE, iterations=1), replace(BY_TILES, iterations=1)
    assert at_once.seconds(1000, 10_000, 0.01, net, 1) == pytest.approx(10.0)
    message = (8 + 1) * 64**2 * 8
    assert at_once.seconds(1000, 10_000, 0.01, net, 2) == pytest.approx(5.0 + 125 * (2e-3 + message / 1e6))
    halo, probes = halo_bytes(math.sqrt(5000), 64), 2 * 64**2 * 8
    joins = 4 * (1e-3 + halo / 1e6 + 1e-3 + probes / 1e6)
    assert by_tiles.seconds(1000, 10_000, 0.01, net, 2) == pytest.approx(5.0 + joins)
    assert by_tiles.seconds(1000, 10_000, 0.01, net, 3) > 5.0
    assert replace(by_tiles, iterations=0).seconds(1000, 10_000, 0.01, net, 2) == 0


def test_stitching_is_divided_and_a_prediction_exchanges_halos() -> None:
    job = replace(JOB, exchanges=3, refinement=Refinement(N=64))
    alone, four = (predict(job, [PAIR], ranks) for ranks in (1, 4))
    assert four.stitching_s == pytest.approx(alone.stitching_s / 4)
    halo = 3 * (3 * 0.01 + halo_bytes(50, 64) / 1e4)
    assert four.prediction_s == pytest.approx(alone.prediction_s / 4 + halo)


@pytest.mark.parametrize(
    ("changes", "job", "ranks", "words"),
    [
        ({"latency_s": 0.0, "bytes_per_s": math.inf}, JOB, 16, "feeds at most 16 ranks; raise batch_size"),
        ({"latency_s": 0.2}, replace(JOB, batch_size=125), 4, "messages between 8 ranks"),
        ({"setup_s": 1e4}, JOB, 1, "set-up of the training"),
        ({"refine_s": 1.0}, replace(JOB, refinement=BY_TILES), 4, "4 tiles feed at most as many ranks"),
        ({"refine_s": 1e-3, "latency_s": 1e-3}, replace(JOB, refinement=AT_ONCE), 1, "sends a message for each update"),
    ],
)
def test_plan_says_where_adding_ranks_stops_paying_and_why(
    changes: dict[str, float], job: Job, ranks: int, words: str
) -> None:
    ideal = replace(PAIR, patterns=(0, 128), step_s=(0.4, 2.0), **changes)
    limit = limit_of(job, [ideal])
    assert limit.ranks == ranks
    assert words in limit.reason
    now, more = (predict(job, [ideal], number).total_s for number in (ranks, 2 * ranks))
    assert now < 1.1 * more


def test_prediction_starts_from_the_nearest_calibration() -> None:
    one, two, four = (predict(JOB, [ALONE, PAIR], ranks) for ranks in (1, 2, 4))
    assert one.training_s == pytest.approx(3 + 80 * 1.1)
    assert two.training_s == pytest.approx(3 + 80 * 0.9)
    assert four.prediction_s == pytest.approx(0.01 * 250)
    assert one.stitching_s == pytest.approx(0.1)
    assert one.total_s == pytest.approx(one.training_s + one.prediction_s + one.stitching_s)
    assert [row.is_measured for row in (one, two, four)] == [True, True, False]
    assert predict(JOB, [PAIR], 1).training_s > 0


def test_speed_up_ends_where_a_rank_has_one_group() -> None:
    rows = [predict(JOB, [PAIR], ranks) for ranks in (2, 16, 1024)]
    assert rows[1].training_s < rows[0].training_s
    assert rows[2].training_s > rows[1].training_s


def test_line_is_found_and_never_negative() -> None:
    intercept, slope = fit_line([8, 1000, 100_000], [1.008, 2.0, 101.0])
    assert (intercept, slope) == pytest.approx((1.0, 1e-3))
    assert fit_line([1, 2], [2.0, 1.0])[1] == 0.0
    assert not math.isnan(fit_line([5, 5], [1.0, 1.0])[0])


def test_numbers_of_ranks_are_sorted_and_single() -> None:
    assert PlanConfig(ranks="4, 1,2,4").numbers == (1, 2, 4)
    assert PlanConfig().numbers[-1] == 1024
