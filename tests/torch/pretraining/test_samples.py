"""What the network that ships with the package is trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretraining.pictures import KINDS, picture
from pretraining.probes import diameter_px, probe
from pretraining.run import build, group_loss, object_error
from pretraining.samples import Samples


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
def test_pictures_of_each_kind_span_0_to_1_and_differ(kind: object) -> None:
    assert callable(kind)
    one, other = (kind(96, np.random.default_rng(seed)) for seed in (1, 2))
    for made in (one, other):
        assert (made.shape, made.min(), made.max()) == ((96, 96), 0.0, 1.0)
    assert np.abs(one - other).mean() > 0.01


def test_picture_depends_on_its_seed_alone() -> None:
    first, again = (picture(64, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, again)


def test_probes_are_centred_of_energy_1_and_as_wide_as_asked() -> None:
    for seed in range(12):
        wave = probe(64, np.random.default_rng(seed))
        intensity = np.abs(wave) ** 2
        centre = [float((intensity * axis).sum()) for axis in np.mgrid[:64, :64] - 32]
        assert intensity.sum() == pytest.approx(1)
        assert np.abs(centre).max() <= 0.5
        assert 6.4 <= diameter_px(wave) <= 35.2


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples(0, 6)


def test_groups_are_counts_of_their_object_and_probe(samples: Samples) -> None:
    for _ in range(6):
        group = samples.draw(9)
        energy = float(group.probe_PNN.abs().square().sum())
        mean = float(group.counts_BNN.sum(dim=(1, 2)).mean())
        assert bool((group.counts_BNN == group.counts_BNN.round()).all())
        assert 0.02 * energy < mean < 1.3 * energy + 5 * energy**0.5


def test_object_error_is_0_for_the_truth_at_any_phase_and_1_for_its_mean(samples: Samples) -> None:
    truth = samples.draw(4).truth_HW
    weight = torch.ones(truth.shape)
    assert float(object_error(truth * np.exp(1j), truth, weight)) == pytest.approx(0, abs=1e-4)
    assert float(object_error(truth.mean().expand(truth.shape), truth, weight)) == pytest.approx(1, rel=1e-3)


def test_loss_of_a_group_falls_when_the_network_is_trained_on_it(samples: Samples) -> None:
    network, group = build(0), samples.draw(9)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = group_loss(network, group)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
