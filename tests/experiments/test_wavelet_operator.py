"""The operator that starts at an undecimated wavelet transform: its rows, its start, where its weights lead."""

import numpy as np
import pytest
import pywt
import torch

from experiments.common.denoisers import jump_bounds
from experiments.common.wavelet_operator import WaveletOperator, details
from layers import QPLayer, solve_qp

LAYER = QPLayer(tol=1e-10)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
def test_rows_are_the_details_of_the_stationary_transform(rng, wavelet):
    signal = rng.standard_normal(64)
    found = details(wavelet, 3)
    theirs = [detail for _, detail in pywt.swt(signal, wavelet, level=3)][::-1]
    for v, expected in zip(found, theirs, strict=True):
        assert np.linalg.norm(v) == pytest.approx(1)
        inside = np.correlate(signal, v[::-1], "valid")
        # Theirs goes around the ends: up to a shift of that, all of ours are among them.
        around = np.array([np.abs(np.roll(expected, k)[: len(inside)] - inside).max() for k in range(64)])
        assert around.min() < 1e-9
    # The trap: filters that are not spread out see the finest scale three times.
    assert len(found[2]) > len(found[1]) > len(found[0])


def windows(rng, count, length=24):
    clean = np.cumsum(rng.standard_normal((count, length)), axis=1)
    return torch.from_numpy(clean + 0.5 * rng.standard_normal(clean.shape))


def model(multiple=2.0, length=24):
    return WaveletOperator(length, "db2", 3, 0.5, multiple, 0.0, LAYER)


def test_the_operator_takes_filters_along_and_stays_inside(rng):
    own = model()
    D, noisy = own.operator().detach().numpy(), windows(rng, 1)[0].numpy()
    expected = [np.correlate(noisy, v.detach().numpy(), "valid") for v in own.v]
    np.testing.assert_allclose(D @ noisy, np.concatenate(expected), atol=1e-12)


def test_it_starts_at_one_weight_for_each_scale(rng):
    own, noisy = model(multiple=3.0), windows(rng, 4)
    D = own.operator().detach()
    counts = [24 - len(v) + 1 for v in own.v]
    weights = torch.cat([torch.full((n,), 3.0 * 0.5 / 2**j).double() for j, n in enumerate(counts, 1)])
    z = own(noisy).detach()
    # The program itself, in z and a bound t on the size of each detail.
    n, m = 24, len(D)
    curvature = torch.cat((torch.ones(n), torch.full((m,), 1e-9))).double()
    q = torch.cat((-noisy, weights.expand(4, -1)), 1)
    bounds = solve_qp(torch.diag(curvature), q, jump_bounds(D), torch.zeros(2 * m).double(), tol=1e-9).z
    # A detail of less than a thousandth of its weight is charged less.
    torch.testing.assert_close(z, bounds[:, :n], rtol=0, atol=3e-3)
    halved = model(multiple=1.5)(noisy).detach()
    assert (halved - bounds[:, :n]).abs().max() > 0.1


def test_a_detail_that_stands_out_is_kept_where_weights_fall(rng):
    noisy = windows(rng, 6)
    plain, falling = model(), model()
    falling.a.data.fill_(1.0)
    kept = [(each(noisy) - noisy).norm() for each in (falling, plain)]
    assert kept[0] < 0.8 * kept[1]


def test_every_parameter_has_the_gradient_of_differences(rng):
    own, noisy = model(), windows(rng, 3)
    own.a.data.fill_(0.3)

    def loss():
        return own(noisy).square().sum()

    loss().backward()
    for parameter in own.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        value = flat[0].item()
        sides = []
        for step in (1e-6, -1e-6):
            flat[0] = value + step
            sides.append(loss().item())
        flat[0] = value
        assert gradient[0].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-3, abs=1e-3)
