"""A sweep becomes one table and one figure: seeds of equal settings merge, everything changed is a column."""

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from experiments.collect import LABELS, collect, main
from experiments.common.errors import ConfigError
from experiments.common.results import read_table
from experiments.compare import compare
from experiments.job import composed, place, run
from figures import sweep

OWN = "method == 'optnet_tuned_tv' and split == 'test' and metric == 'final_mse'"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return the folder of a sweep over two rates and two single seeds, and of a run at the rate of the files."""
    root = tmp_path_factory.mktemp("sweep")
    for changed in (
        *({"train.lr": lr, "seeds": [seed]} for lr in (0.5, 0.25) for seed in (0, 1)),
        {"seeds": [0, 1]},
    ):
        config = composed("denoising", "smoke", "auto")
        for name, value in {"methods": ["optnet_tuned_tv", "total_variation"], **changed}.items():
            OmegaConf.update(config, name, value)
        run(config, root / place(OmegaConf.to_object(config)).path)
    return root


def test_runs_that_differ_in_their_seeds_alone_are_one_row(swept):
    own = collect(swept)["denoising"].query(OWN)
    assert list(own["train.lr"]) == [0.001, 0.25, 0.5]
    assert list(own["seeds"]) == [2, 2, 2]
    single = [pd.read_csv(path).query(OWN)["value"].item() for path in swept.rglob("*lr=0.5*/metrics.csv")]
    assert len(single) == 2
    np.testing.assert_allclose(own["mean"].iloc[-1], np.mean(single), rtol=1e-9)


def test_a_run_has_the_intervals_that_its_own_summary_has(tmp_path):
    """Of a metric that spans decades those of its logarithms, of a share those of its trials."""
    config = composed("mpc_imitation", "smoke", "auto")
    OmegaConf.update(config, "methods", ["unbounded"])
    folder = tmp_path / place(OmegaConf.to_object(config)).path
    run(config, folder)
    keys = ["method", "split", "metric"]
    tables = (read_table(folder / "summary.csv"), collect(folder)["mpc_imitation"])
    summary, found = (table.sort_values(keys, ignore_index=True) for table in tables)
    assert list(found["interval"]) == list(summary["interval"])
    assert {"t of logarithms", "Wilson"} <= set(found["interval"])
    np.testing.assert_allclose(found["lo"], summary["lo"], rtol=1e-8)


def test_a_part_of_a_sweep_is_collected_from_its_own_folder(swept):
    whole, part = collect(swept)["denoising"], collect(swept / "denoising" / "smoke" / "auto")["denoising"]
    pd.testing.assert_frame_equal(whole, part)


def test_the_figure_has_a_panel_for_each_metric_over_the_setting_that_varies(swept):
    table = collect(swept)["denoising"]
    figure = sweep.draw(table, LABELS)
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == table["metric"].nunique()
    assert {axes.get_xlabel() for axes in panels} == {"train.lr"}
    assert all(axes.get_ylabel() for axes in panels)


def test_settings_without_an_order_have_places_with_their_names(swept):
    table = collect(swept)["denoising"]
    table["layer"] = np.where(table["train.lr"] == 0.5, "qpth", table["layer"])
    ticks = [text.get_text() for text in sweep.draw(table, LABELS).axes[0].get_xticklabels()]
    assert "layer=qpth, train.lr=0.5" in ticks


def test_the_program_writes_table_and_figure(swept, tmp_path, capsys):
    main([str(swept), "--output", str(tmp_path)])
    names = [str(tmp_path / f"denoising.{end}") for end in ("csv", "png")]
    assert capsys.readouterr().out.splitlines() == names
    written, collected = pd.read_csv(tmp_path / "denoising.csv"), collect(swept)["denoising"]
    pd.testing.assert_frame_equal(written, collected, check_dtype=False, rtol=1e-8)


def test_comparison_finds_changed_runs_and_calls_none_of_them_reproduced(swept):
    changed = [row for row in compare(swept) if "train.lr=0.5" in str(row["size"])]
    assert changed
    assert all("train.lr=0.5" in str(row["command"]) for row in changed)
    assert "reproduced" not in {row["verdict"] for row in changed}


def test_nothing_to_collect_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no run below it has finished"):
        collect(tmp_path)
    with pytest.raises(SystemExit, match="error: "):
        main([str(tmp_path)])
