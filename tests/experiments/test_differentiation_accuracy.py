"""The study of adjoints: its references are exact, and what is refused is recorded."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from experiments.common.differentiation import (
    accuracy,
    exact,
    instances,
)
from experiments.common.differentiation.instances import NAMES, Size
from experiments.common.differentiation.methods import gradients
from layers import LayerError
from tests.experiments.adjoints import method, recorder, values


def families(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "regular": instances.regular(rng, Size.of(10)),
        "narrow": instances.regular(rng, Size.of(10), 1e-12),
        "weak": instances.regular(rng, Size.of(10), 0.0),
        "tiny": instances.regular(rng, Size.of(2)),
        "ill": instances.ill_conditioned(rng, 1e10),
        "linear": instances.linear_program(rng, 10),
        "repeated": instances.repeated_row(rng, Size.of(10)),
    }


@pytest.mark.parametrize("name", families())
def test_the_point_of_an_instance_solves_it_exactly_and_one_bit_more_does_not(name):
    instance = families()[name]
    exact.check(instance)
    moved = instance.q.copy()
    moved[1] = np.nextafter(moved[1], np.inf)
    with pytest.raises(ValueError, match="does not solve"):
        exact.check(replace(instance, q=moved))


@pytest.mark.parametrize("margin", [1e-3, 1e-12])
def test_the_margin_is_the_least_slack_and_multiplier(margin):
    instance = instances.regular(np.random.default_rng(0), Size.of(10), margin)
    s = instance.h - instance.G @ instance.z
    assert (s + instance.lam).min() == instances.dyadic(margin) == pytest.approx(margin, rel=0.42)
    assert instance.lam[0] == s[3] == instances.dyadic(margin)


def test_refinement_is_exact_where_double_precision_loses_ten_digits():
    K = np.array([[1 / (i + j + 1) for j in range(8)] for i in range(8)])
    r = np.arange(1.0, 9.0)
    rows = [[Fraction(value) for value in [*row, right]] for row, right in zip(K, r, strict=True)]
    for i in range(8):
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in set(range(8)) - {i}:
            rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    wanted = np.array([float(row[-1]) for row in rows])
    assert np.array_equal(exact.solve(K, r), wanted)
    assert np.abs(np.linalg.solve(K, r) / wanted - 1).max() > 1e-9


@pytest.mark.parametrize("name", ["regular", "linear"])
def test_exact_gradients_are_those_of_the_layer_and_not_of_a_wrong_form(name):
    instance = families()[name]
    found, iterate_error = gradients(method("implicit"), instance)
    wanted = exact.gradients(instance)
    assert accuracy.relative_error(found, wanted, NAMES) < 1e-13
    assert iterate_error < 1e-13
    # one D(lam) too many in the gradient of G
    spoiled = {**wanted, "G": np.diag(instance.lam) @ wanted["G"]}
    assert accuracy.relative_error(found, spoiled, ("G",)) > 1e-2


def test_both_limits_at_a_kink_are_selected_as_zero_and_one():
    instance = families()["weak"]
    limits = exact.gradients(instance, instance.active & (instance.lam > 0)), exact.gradients(instance)
    assert accuracy.selection(limits[0], *limits) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert accuracy.selection(limits[1], *limits) == pytest.approx((1.0, 0.0), abs=1e-12)
    beyond = {name: 2 * limits[1][name] - limits[0][name] for name in NAMES}
    assert accuracy.selection(beyond, *limits) == pytest.approx((2.0, 1.0))


def test_a_refusal_is_recorded_with_its_reason_and_not_dropped():
    record = recorder()
    accuracy.run_accuracy(
        accuracy.Accuracy(margins=[3], conditions=[0], tolerances=[8], sizes=[2]), method("optnet"), 0, record
    )
    refused = {row["split"] for row in record.tables["metrics"] if row["metric"] == "refused"}
    assert refused == {"weakly active", "repeated row"} == {row["split"] for row in record.tables["refusals"]}
    assert all("singular" in row["reason"] for row in record.tables["refusals"])


SMALL = accuracy.Accuracy(n=5, margins=[3], conditions=[0], tolerances=[8], sizes=[2, 5, 8])


def test_the_reduced_system_is_the_full_one_and_another_derivative_is_not():
    for beside, share in (("optnet", 1.0), ("one_step", 0.0)):
        record = recorder()
        accuracy.run_accuracy(SMALL, method("active_set"), 0, record, beside=method(beside))
        assert values(record, "final_same") == {0: share}


@pytest.mark.parametrize(("largest", "sizes"), [(None, {2, 5, 8}), (5, {2, 5})])
def test_programs_above_the_largest_size_are_left_out(largest, sizes):
    record = recorder()
    accuracy.run_accuracy(SMALL, method("implicit"), 0, record, largest)
    assert set(values(record, "gradient_error", "size")) == sizes


def test_an_iteration_takes_more_steps_to_more_digits():
    record, settings = (
        recorder(),
        accuracy.Accuracy(n=5, margins=[3], conditions=[0], tolerances=[2, 6], sizes=[2]),
    )
    accuracy.run_accuracy(settings, method("alternating"), 0, record)
    steps = values(record, "iterations", "tolerance")
    assert 0 < steps[2] < steps[6] == values(record, "final_iterations")[0]


def test_a_gradient_that_is_not_finite_counts_as_refused():
    class Broken:
        def solve(self, *data):
            return data[1] * torch.tensor(float("nan"))

    with pytest.raises(LayerError, match="not finite"):
        gradients(Broken(), families()["tiny"])


def test_the_order_is_one_where_the_gradient_is_as_wrong_as_the_iterate():
    record = recorder()
    accuracy._record_order([(1e-2, 3e-2), (1e-4, 3e-4), (1e-6, 3e-6), (1e-14, 1e-3)], record)
    assert record.tables["metrics"][0]["value"] == pytest.approx(1.0)
