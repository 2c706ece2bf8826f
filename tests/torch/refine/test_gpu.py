"""The refinement on a GPU gives the answer of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.truth import Truth
from tests.torch.refine.conftest import Refine, product_of


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
def test_gpu_refines_to_the_answer_of_the_cpu(truth: Truth, refine: Refine, method: str) -> None:
    settings = {"iterations": 5, "method": method, "position_start": 2, "flux": True, "background": True, "n_modes": 2}
    cpu = refine(truth.path, **settings, name="cpu")
    gpu = refine(truth.path, **settings, accelerator="gpu", name="gpu")
    assert gpu.fourier_errors == pytest.approx(cpu.fourier_errors, abs=1e-4)
    assert np.allclose(product_of(gpu).object_, product_of(cpu).object_, atol=1e-2)
