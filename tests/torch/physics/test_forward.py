"""Probe, optics and forward model against known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.epie_step import backproject
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.likelihood import Patterns
from ptycho_dist.physics.optics import Optics, OpticsOptions
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.probe import disc, intensity_scale, orthogonalise, probe_intensity, select_modes
from ptycho_dist.physics.propagators import FarField
from tests.support.optics import far_field_counts
from tests.support.scans import make_scan, write_tike


def random_complex(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def test_two_mode_tike_data_is_reproduced(data_dir: Path) -> None:
    path = data_dir / "two_mode_simulated_tike.npz"
    with open_scan(path) as scan, np.load(path) as file:
        probe = torch.zeros(2, 32, 32, dtype=torch.complex128)
        probe[:, 8:24, 8:24] = torch.from_numpy(file["probe"].reshape(2, 16, 16))
        psi = torch.from_numpy(file["psi"][0]).to(torch.complex128)
        corners = torch.from_numpy(scan.positions_px)
        objects = extract(nn.functional.pad(psi, (8, 8, 8, 8)), corners - corners.min(0).values + _first(file), 32)
        measured = scan.read_patterns(np.arange(scan.header.n_patterns))
    model = ForwardModel(probe, FarField())
    modelled = model.propagator.rearrange(model.counts(objects)).numpy()
    assert np.abs(modelled - measured).max() < 1e-5 * measured.max()
    assert np.linalg.norm(modelled - measured) < 1e-5 * np.linalg.norm(measured)


def _first(file: np.lib.npyio.NpzFile) -> torch.Tensor:
    """Smallest corner of the 16 pixel window in psi, which is that of the padded frame in the padded object."""
    return torch.from_numpy(file["scan"].reshape(-1, 2).min(axis=0).astype(np.float64))


def test_two_mode_simulation_is_reproduced_through_the_reader(tmp_path: Path) -> None:
    made = make_scan(n_modes=2)
    probe, object_ = torch.from_numpy(made.probe).to(torch.complex128), torch.from_numpy(made.object_)
    exact = far_field_counts(probe[:, None] * extract(object_, torch.from_numpy(made.positions_px), 16)).numpy()
    path = write_tike(tmp_path / "s.npz", made, data=np.fft.ifftshift(exact, axes=(-2, -1))[None].astype(np.float64))
    with open_scan(path) as scan:
        measured = scan.read_patterns(np.arange(len(exact)))
    assert np.abs(exact - measured).max() < 1e-5 * measured.max()


def test_intensity_scale_makes_an_empty_object_scatter_the_mean_counts() -> None:
    probe = random_complex(2, 16, 16)
    scale = intensity_scale(probe, 5000.0)
    assert far_field_counts(scale * probe[:, None])[0].sum() == pytest.approx(5000.0, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_intensity_scale_refuses_a_probe_without_energy(value: float) -> None:
    with pytest.raises(PhysicsError, match="probe's energy"):
        intensity_scale(torch.full((1, 8, 8), value, dtype=torch.complex64), 10.0)


def test_select_modes_takes_the_first_and_makes_the_missing_ones() -> None:
    probe = random_complex(2, 16, 16)
    assert torch.equal(select_modes(probe, 1), probe[:1])
    more = select_modes(probe, 5)
    assert torch.equal(more[:2], probe)
    energy = more.abs().square().sum(dim=(1, 2))
    assert torch.allclose(energy[2:] / energy[0], torch.tensor(0.02, dtype=torch.float64))
    assert torch.linalg.matrix_rank(more.reshape(5, -1)) == 5


@pytest.mark.parametrize("n_modes", range(1, 8))
def test_select_modes_gives_as_many_as_asked(n_modes: int) -> None:
    assert select_modes(random_complex(1, 16, 16), n_modes).shape == (n_modes, 16, 16)


def optics(**changes: bool) -> Optics:
    trained = {"probe_trainable": True, "scale_trainable": False} | changes
    return Optics(random_complex(2, 16, 16), 5000.0, OpticsOptions(**trained))


def test_optics_scatters_the_mean_counts_of_an_empty_object() -> None:
    model = optics()
    counts = model.forward_model.counts(torch.ones(3, 16, 16, dtype=torch.complex128))
    assert counts.sum(dim=(1, 2)).tolist() == pytest.approx([5000.0] * 3, rel=1e-5)


@pytest.mark.parametrize(("probe", "scale"), [(True, True), (True, False), (False, True), (False, False)])
def test_optics_trains_only_what_is_asked(probe: bool, scale: bool) -> None:
    model = optics(probe_trainable=probe, scale_trainable=scale)
    expected = [name for name, wanted in (("probe_parts", probe), ("log_scale", scale)) if wanted]
    assert [name for name, _ in model.named_parameters()] == expected
    assert set(model.state_dict()) == {"probe_parts", "log_scale"}


def test_optics_keeps_the_supplied_probe_and_does_not_share_it() -> None:
    probe = random_complex(1, 8, 8)
    model = Optics(probe, 10.0, OpticsOptions(probe_trainable=True))
    assert torch.equal(model.probe, probe)
    with torch.no_grad():
        model.probe_parts.zero_()
    assert probe.abs().max() > 0


def test_optics_gradient_is_right() -> None:
    model = optics(scale_trainable=True).double()
    objects = random_complex(2, 16, 16, seed=5)

    def misfit(parts: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        probe = torch.view_as_complex(parts) * log_scale.exp()
        return ForwardModel(probe, model.propagator).counts(objects).sqrt().sum()

    inputs = (model.probe_parts.detach().requires_grad_(), model.log_scale.detach().double().requires_grad_())
    assert torch.autograd.gradcheck(misfit, inputs, fast_mode=True)
    model.forward_model.counts(objects).sqrt().sum().backward()
    expected = torch.autograd.grad(misfit(*inputs), inputs)
    found = (model.probe_parts.grad, model.log_scale.grad)
    assert all(torch.allclose(one, other) for one, other in zip(found, expected, strict=True))


def test_overlap_weight_follows_the_probe_and_is_never_zero() -> None:
    model = optics()
    weight = model.overlap_weight()
    assert weight.min() > 0
    assert weight.max() == pytest.approx(1.0, abs=2e-3)
    assert weight.argmax() == probe_intensity(model.probe.detach()).argmax()
    assert not weight.requires_grad


@pytest.mark.parametrize("masked", [False, True])
def test_backproject_asks_nothing_of_an_empty_object(masked: bool) -> None:
    y, x = torch.meshgrid(*[torch.arange(32.0) - 16] * 2, indexing="ij")
    probe = 100 * torch.polar(torch.exp(-(y**2 + x**2) / 50), 0.02 * (y**2 + x**2)).to(torch.complex128)[None]
    counts = far_field_counts(probe[:, None])
    mask = None
    if masked:
        mask = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.2
        counts = torch.where(mask, counts, torch.zeros_like(counts))
    correction = backproject(Patterns.of(counts, FarField(), mask), ForwardModel(probe, FarField()), 32)
    assert correction.abs().max() < 0.02
    assert backproject(Patterns.of(4 * counts, FarField(), mask), ForwardModel(probe, FarField()), 32).abs().max() > 0.5


def test_backproject_finds_a_phase_where_the_probe_is_bright() -> None:
    y, x = torch.meshgrid(*[torch.arange(32.0) - 16] * 2, indexing="ij")
    probe = 100 * torch.polar(torch.exp(-(y**2 + x**2) / 50), 0.05 * (y**2 + x**2)).to(torch.complex128)[None]
    bump = 0.3 * torch.exp(-((y - 2) ** 2 + (x + 3) ** 2) / 4)
    counts = far_field_counts(probe[:, None] * torch.polar(torch.ones_like(bump), bump).to(torch.complex128))
    bright = probe[0].abs() > 0.3 * probe[0].abs().max()
    found = backproject(Patterns.of(counts, FarField()), ForwardModel(probe, FarField()), 32)[0].imag
    assert torch.corrcoef(torch.stack([found[bright], bump[bright].double()]))[0, 1] > 0.5


def test_orthogonal_modes_stay_as_they_are_and_keep_their_phase() -> None:
    modes = orthogonalise(random_complex(3, 16, 16))
    assert torch.allclose(orthogonalise(modes), modes, rtol=1e-9, atol=1e-9)
    turned = modes * torch.exp(1j * torch.tensor([0.3, -2.0, 1.0]))[:, None, None]
    assert torch.allclose(orthogonalise(turned), turned, rtol=1e-9, atol=1e-9)


def test_disc_lies_in_the_middle_and_has_its_diameter() -> None:
    inside = disc(16, 7.0)
    assert torch.equal(inside, inside.T)
    assert inside[8].nonzero().flatten().tolist() == list(range(5, 12))
    assert abs(int(inside.sum()) - 3.14159 * 3.5**2) < 4


def test_support_holds_in_value_and_gradient() -> None:
    model = Optics(random_complex(2, 16, 16), 5000.0, OpticsOptions(probe_trainable=True, support_px=7.0))
    outside = ~disc(16, 7.0)
    assert model.probe[:, outside].abs().max() == 0
    model.forward_model.counts(random_complex(3, 16, 16)).square().sum().backward()
    assert model.probe_parts.grad is not None
    assert model.probe_parts.grad[:, outside].abs().max() == 0
    assert model.probe_parts.grad[:, ~outside].abs().max() > 0
    assert float(
        model.forward_model.counts(torch.ones(1, 16, 16, dtype=torch.complex128)).detach().sum()
    ) == pytest.approx(5000.0, rel=1e-6)


@pytest.mark.parametrize(("kind", "shape"), [("uniform", ()), ("pixel", (16, 16))])
def test_background_is_added_and_never_negative(kind: str, shape: tuple[int, ...]) -> None:
    probe, objects = random_complex(1, 16, 16), random_complex(2, 16, 16)
    plain, foggy = (
        Optics(probe, 2560.0, OpticsOptions()),
        Optics(probe, 2560.0, OpticsOptions(background=kind)),
    )
    assert plain.background is None
    assert foggy.background_root is not None
    assert foggy.background_root.shape == shape
    with torch.no_grad():
        foggy.background_root.copy_(-torch.linspace(0, 1, 256).reshape(16, 16) if shape else torch.tensor(-0.5))
    found = FarField().rearrange(foggy.forward_model.counts(objects) - plain.forward_model.counts(objects))
    assert torch.allclose(found[0], 10.0 * foggy.background_root.detach().double().square(), atol=1e-3)
    assert (found > -1e-3).all()
