"""Wavelet shrinkage: nothing without a threshold, noise goes, edges and slow changes stay."""

from __future__ import annotations

import torch

from ptycho_dist.physics.shrinkage import shrink


def noise(size: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.view_as_complex(torch.randn(size, size, 2, generator=generator, dtype=torch.float64))


def test_shrink_without_threshold_gives_the_image_back() -> None:
    image = noise()
    assert torch.allclose(shrink(image, torch.zeros(48, 48, dtype=torch.float64)), image, atol=1e-12)


def test_shrink_takes_noise_and_leaves_an_edge() -> None:
    clean = torch.ones(48, 48, dtype=torch.complex128)
    clean[:, 24:] = 2.0j
    noisy = clean + 0.1 * noise()
    found = shrink(noisy, torch.full((48, 48), 0.2, dtype=torch.float64))
    before, after = ((one - clean).abs().square().mean() for one in (noisy, found))
    assert after < before / 4


def test_shrink_keeps_the_mean() -> None:
    image = noise()
    found = shrink(image, torch.full((48, 48), 5.0, dtype=torch.float64))
    assert torch.allclose(found.mean(), image.mean(), atol=1e-12)


def test_shrink_moves_with_the_image() -> None:
    image, threshold = noise(), torch.full((48, 48), 0.3, dtype=torch.float64)
    moved = shrink(image.roll((5, 3), (0, 1)), threshold)
    assert torch.allclose(moved, shrink(image, threshold).roll((5, 3), (0, 1)), atol=1e-12)
