"""What training found is kept exactly, given back without training, and damage is told."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.common import weights
from experiments.common.errors import ConfigError
from experiments.common.recorder import Recorder
from experiments.common.records import Place
from experiments.evaluate import differing, evaluate, main
from experiments.job import EXPERIMENTS, composed, run

KEPT = sorted(name for name, module in EXPERIMENTS.items() if hasattr(module, "LEARNED"))


def recorder():
    return Recorder("e", "m", 3, ("1", "1"), examples=False)


def test_arrays_come_back_to_the_last_bit_and_equal_numbers_are_equal_bytes(tmp_path):
    model = nn.Linear(3, 2, dtype=torch.float64)
    model.bias.requires_grad_(False)
    kept = weights.rows(model, "m/3")
    for name in ("a.npz", "b.npz"):
        weights.write(tmp_path / name, kept)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays.files == ["m/3/weight"]  # what is not learned is not kept
        np.testing.assert_array_equal(arrays["m/3/weight"], model.weight.detach().numpy())


def test_given_weights_stand_in_for_training():
    leaf, record = torch.zeros(2, dtype=torch.float64, requires_grad=True), recorder()
    with weights.given({"m/3/late/0": np.array([1.0, 2.0])}):
        assert record.learned({"0": leaf}, lambda: pytest.fail("trained"), "late") is None
    assert leaf.tolist() == [1.0, 2.0]
    assert "weights" not in record.tables
    assert record.learned({"0": leaf}, lambda: "history", "late") == "history"
    assert record.tables["weights"] == [{"key": "m/3/late/0", "value": [1.0, 2.0]}]


@pytest.mark.parametrize(
    ("given", "message"), [({}, "got nothing"), ({"m/3/0": np.zeros(3)}, r"shape \(3,\), expected .* \(2,\)")]
)
def test_weights_of_another_model_are_refused(given, message):
    with weights.given(given), pytest.raises(ConfigError, match=message):
        recorder().learned({"0": torch.zeros(2)}, lambda: None)


@pytest.mark.parametrize("name", [*KEPT[:1], *(pytest.param(n, marks=pytest.mark.slow) for n in KEPT[1:])])
def test_what_a_run_learned_scores_the_same_without_training(name, tmp_path):
    place = Place(name, "smoke", "auto")
    run(composed(name, "smoke", "auto"), tmp_path / place.path)
    table = evaluate(tmp_path, place)
    assert set(table["method"]) >= set(EXPERIMENTS[name].LEARNED)
    assert len(differing(table, [])) == 0
    assert len(differing(table.assign(scored=table["value"] + 1.0), [])) == len(table)


def test_the_command_says_what_is_missing_or_damaged(tmp_path, capsys):
    place = Place("adp", "smoke", "auto")
    words = ["experiment=adp", "size=smoke", f"results={tmp_path}"]
    with pytest.raises(SystemExit, match="no run has finished"):
        main(words)
    run(composed("adp", "smoke", "auto"), tmp_path / place.path)
    main(words)
    assert "scored without training" in capsys.readouterr().out
    path = tmp_path / place.path / weights.FILE
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(SystemExit, match=r"weights\.npz is damaged"):
        main(words)
    with pytest.raises(SystemExit, match="experiment: got 'nothing', expected one of: adp"):
        main(["experiment=nothing"])
    with pytest.raises(SystemExit, match="setting: got 'speed'"):
        main(["experiment=adp", "speed=1"])
