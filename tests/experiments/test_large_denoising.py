"""Whole pictures as programs: pairs, weights, windows and data, beside exact paths and another solver."""

import cvxpy as cp
import numpy as np
import pytest
import pywt
import torch

from experiments.common.errors import ConfigError
from experiments.common.pictures import image, split_in_blocks
from experiments.common.total_variation import total_variation
from experiments.common.weighted_tv import Convolutional, MappedTV, Pairs, WeightMap, matrices, window_places
from experiments.large_denoising import Config, Data, best_weight, make_data, make_model, noise
from layers import QPLayer


def weight_map(reach: tuple[int, int], start: float = 0.3, *, mixed: bool = False) -> WeightMap:
    generator = torch.Generator().manual_seed(0)
    weights = WeightMap(reach, 3, start, 1.0, generator)
    if mixed:
        torch.nn.init.normal_(weights.mix, generator=generator)
    return weights


def picture(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_every_pair_of_neighbours_is_there_once():
    pairs = Pairs(3, 4)
    first, second = pairs.ends
    assert pairs.count == first.size == 3 * 3 + 2 * 4
    assert np.array_equal(np.sort(np.concatenate([pairs.along.ravel(), pairs.down.ravel()])), np.arange(17))
    assert (second[pairs.along] - first[pairs.along] == 1).all()
    assert (second[pairs.down] - first[pairs.down] == 4).all()
    assert Pairs(1, 5).count == 4
    assert Pairs(1, 5).down.size == 0


def test_a_row_with_one_weight_is_total_variation_by_its_path():
    noisy = picture(2, 1, 40)
    found = MappedTV(weight_map((0, 2), 0.7), QPLayer())(noisy).detach()
    right = total_variation(noisy[:, 0].numpy(), 0.7)
    assert abs(found[:, 0].numpy() - right).max() < 1e-10
    assert abs(right - noisy[:, 0].numpy()).max() > 0.1


def test_weights_of_its_own_for_every_pair_are_those_of_the_program():
    noisy, weights = picture(1, 4, 5), weight_map((1, 1), mixed=True)
    z = cp.Variable((4, 5))
    first, second = Pairs(4, 5).ends
    flat = cp.vec(z, order="C")
    jumps = cp.multiply(weights(noisy)[0].detach().numpy(), cp.abs(flat[second] - flat[first]))
    cost = 0.5 * cp.sum_squares(z - noisy[0].numpy()) + cp.sum(jumps)
    cp.Problem(cp.Minimize(cost)).solve(
        solver="CLARABEL", tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-12
    )
    found = MappedTV(weights, QPLayer())(noisy)[0].detach().numpy()
    assert abs(found - z.value).max() < 1e-6


def test_one_window_as_large_as_the_picture_is_the_whole():
    noisy, weights = picture(2, 4, 5), weight_map((1, 1), mixed=True)
    whole = MappedTV(weights, QPLayer())(noisy)
    one = MappedTV(weights, QPLayer(), (4, 5), 1)(noisy)
    many = MappedTV(weights, QPLayer(), (2, 3), 1)(noisy)
    assert (whole - one).abs().max() < 1e-10
    assert (whole - many).abs().max() > 1e-3


@pytest.mark.parametrize("stride", [1, 3])
def test_windows_hold_every_pixel_and_the_pairs_inside(stride: int):
    pixels, pairs = window_places((5, 7), (3, 4), stride)
    assert set(pixels.flatten().tolist()) == set(range(35))
    first, second = (torch.from_numpy(ends) for ends in Pairs(5, 7).ends)
    own_first, own_second = (torch.from_numpy(ends) for ends in Pairs(3, 4).ends)
    assert torch.equal(first[pairs], pixels[:, own_first])
    assert torch.equal(second[pairs], pixels[:, own_second])


def test_a_map_starts_at_one_weight_and_knows_neither_offset_nor_sign():
    noisy = picture(1, 4, 6)
    assert torch.equal(weight_map((1, 1))(noisy), torch.full((1, 38), 0.3, dtype=torch.float64))
    weights = weight_map((1, 1), mixed=True)
    assert (weights(noisy) - weights(5.0 - noisy)).abs().max() < 1e-12
    assert (weights(noisy) - weights(2.0 * noisy)).abs().max() > 1e-3


def test_the_derivative_of_the_whole_in_its_map_is_that_of_differences():
    noisy, model = picture(1, 3, 4), MappedTV(weight_map((1, 1), mixed=True), QPLayer())
    names = dict(model.named_parameters())

    def denoised(*values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (noisy,))

    leaves = tuple(v.detach().clone().requires_grad_() for v in names.values())
    assert torch.autograd.gradcheck(denoised, leaves)


def test_a_network_starts_at_what_it_is_given():
    noisy = picture(2, 4, 5)
    assert torch.equal(Convolutional((1, 1), 4, 2.0, torch.Generator().manual_seed(0))(noisy), noisy)


def test_matrices_bound_every_jump_from_both_sides():
    Q, G = (M.to_dense() for M in matrices(2, 3))
    z = torch.arange(6, dtype=torch.float64).square()
    first, second = (torch.from_numpy(ends) for ends in Pairs(2, 3).ends)
    jumps = z[second] - z[first]
    assert torch.equal(G @ torch.cat([z, 0 * jumps]), torch.cat([jumps, -jumps]))
    assert torch.equal(G[:, 6:], torch.cat([-torch.eye(7), -torch.eye(7)]).double())
    assert torch.equal(Q.diagonal(), torch.tensor([1.0] * 6 + [0.0] * 7).double())


def test_the_image_is_reduced_by_means_and_checked(monkeypatch: pytest.MonkeyPatch):
    whole = pywt.data.camera() / 255
    assert image(512).shape == (512, 512)
    assert abs(image(4)[1, 2] - whole[128:256, 256:384].mean()) < 1e-14
    monkeypatch.setattr(pywt.data, "camera", lambda: np.zeros((512, 511)))
    with pytest.raises(ConfigError, match="expected 512 x 512 grey values"):
        image(4)


@pytest.mark.parametrize("side", [4, 8, 64])
def test_every_pixel_is_in_one_part(side: int):
    parts = split_in_blocks(side)
    assert (sum(own.astype(int) for own in parts.values()) == 1).all()
    assert all(0.2 < own.mean() < 0.45 for own in parts.values())
    if side == 64:
        assert parts["train"][:8, :8].all()
        assert parts["validation"][:8, 8:16].all()
        assert parts["validation"][8:16, :8].all()


def test_noise_is_as_stated_and_only_the_part_of_a_split_counts():
    data = Data(repeats=20)
    for task in ("ecg", "image"):
        splits = make_data(data, task, 3, 20)
        for split in splits.values():
            inside = split.noisy[:, 1] > 0
            error = (split.noisy[:, 0] - split.clean)[inside]
            assert abs(error.std() / noise(data, task) - 1) < 0.05
            assert not split.clean[~inside].any()
        counted = [set(np.flatnonzero(split.noisy[0, 1].ravel())) for split in splits.values()]
        assert not counted[0] & counted[1]
        assert not counted[1] & counted[2]
        assert np.array_equal(make_data(data, task, 3, 20)["test"].noisy, splits["test"].noisy)
        assert not np.array_equal(make_data(data, task, 4, 20)["test"].noisy, splits["test"].noisy)


def test_the_weight_to_start_from_is_in_the_grid_and_better_than_its_neighbours():
    config = Config(data=Data(samples=60, side=8, repeats=1))
    for task in ("ecg", "image"):
        weight = best_weight(config, task, 0)
        errors: list[float] = []
        split = make_data(config.data, task, 0, 1)["validation"]
        for factor in (0.5**0.5, 1.0, 2**0.5):
            model = make_model(config, task, "map_whole", 0, factor * weight)
            with torch.no_grad():
                found = model(torch.from_numpy(split.noisy)).numpy()
            errors.append(float(((found - split.clean) ** 2).sum()))
        at_edge = weight / noise(config.data, task) in (0.25, 0.25 * 2**3.5)
        assert errors[1] == min(errors) or at_edge


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": Data(side=60)}, "data.side.*divide 512"),
        ({"data": Data(samples=2000)}, "data.samples"),
        ({"data": Data(snr=float("inf"))}, "data.snr"),
        ({"methods": ["median"]}, "methods"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**settings).check()  # pyright: ignore[reportArgumentType]
