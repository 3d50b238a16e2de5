"""A run with anything changed never lands where the unchanged one does, and a reader refuses what is not its own."""

import json
import shutil

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.common.errors import ConfigError
from experiments.common.records import Place, folder_name, places, read_csv, read_record, selected
from experiments.common.results import write_table
from experiments.compare import compare
from experiments.job import CONFIGS, check_run, place
from experiments.publish import publish
from figures.program import load
from tests.experiments.recorded import record

RESULTS = CONFIGS.parent / "results"
METRIC = {"method": "a", "seed": 0, "split": "test", "step": 0, "metric": "mse", "value": 1.0, "unit": "1"}


def placed(*overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return place(OmegaConf.to_object(compose("config", ["size=smoke", *overrides])))


@pytest.fixture
def finished(tmp_path):
    """Return a folder of results with one unchanged run, small enough to be read at once."""
    folder = tmp_path / "denoising" / "companion" / "auto"
    write_table(folder / "metrics.csv", [{"experiment": "denoising", **METRIC}])
    labels = {"experiment": "denoising", "method": "a", "seed": 0, "phase": "train", "unit": "s"}
    write_table(folder / "timings.csv", [{**labels, "value": 1.0}])
    record(folder)
    return tmp_path, folder


def test_an_unchanged_run_has_the_folder_of_its_experiment_size_and_layer():
    assert placed() == Place("denoising", "smoke", "auto")
    assert placed("layer=qpth", "experiment=sudoku").path.as_posix() == "sudoku/smoke/qpth"


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        (("seeds=[0]",), "seeds=[0]"),
        (("train.lr=0.5", "data.train=3"), "data.train=3,train.lr=0.5"),
        (("methods=[total_variation]",), "methods=[total_variation]"),
        (("layer.tol=1e-3",), "layer.tol=0.001"),
    ],
)
def test_a_changed_run_has_a_folder_named_by_its_changes(overrides, changes):
    assert placed(*overrides) == Place("denoising", "smoke", "auto", changes)


def test_a_run_with_fewer_seeds_or_methods_is_an_older_one_and_no_other(tmp_path):
    which = placed("methods=[total_variation]", "seeds=[0]")
    plain = Place("denoising", "smoke", "auto")
    for fewer, known in ((True, [0]), (False, [0, 7])):
        folder = tmp_path / str(fewer) / plain.path
        write_table(folder / "metrics.csv", [])
        record(folder)
        path = folder / "provenance.json"
        found = json.loads(path.read_text())
        found["config"]["seeds"] = known
        path.write_text(json.dumps(found))
    assert check_run(tmp_path / "True", plain)["config"]["seeds"] == [0]
    with pytest.raises(ConfigError, match="seeds was"):
        check_run(tmp_path / "False", plain)
    assert which.changes  # on the command line both are changes all the same


def test_what_counts_is_the_setting_and_not_how_it_was_written():
    unchanged = OmegaConf.to_object(_composed("size=smoke"))
    assert placed(f"train.lr={unchanged.train.lr:.9f}", "seeds=[0,1]").changes == ""
    assert placed("train.lr=5e-1") == placed("train.lr=0.5")


def _composed(*overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", list(overrides))


def test_a_layer_that_was_changed_into_another_fills_the_folder_of_neither():
    chimera = placed("layer=moreau", "layer.solver=qpth")
    assert chimera not in (placed("layer=moreau"), placed("layer=qpth"))
    assert chimera == Place("denoising", "smoke", "qpth", "layer.tol=0.001")
    assert placed("layer=auto", "layer.solver=qpth") == placed("layer=qpth")


@pytest.mark.parametrize("override", ["workers=2", "output=elsewhere"])
def test_where_a_run_computes_is_no_change(override):
    assert placed(override) == placed()


def test_a_device_is_no_change():
    config = OmegaConf.to_object(_composed("experiment=sudoku", "size=smoke"))
    config.convolutional.device = "cuda"
    assert place(config).changes == ""


def test_long_and_odd_changes_make_short_names_that_differ():
    many = {f"section.setting{i}": 1.5 for i in range(17)}
    names = {
        folder_name(many),
        folder_name(many | {"section.setting16": 1.6}),
        folder_name({"a": "x/y"}),
        folder_name({"a": "x y"}),
        folder_name({"a": "x_y"}),
    }
    assert len(names) == 5
    assert all(len(name.encode()) < 200 and "/" not in name for name in names)


def test_tracked_runs_of_older_programs_can_be_read():
    for which in selected(RESULTS, ["denoising", "sudoku"]):
        assert check_run(RESULTS, which)["seconds"] > 0


@pytest.mark.slow
def test_every_tracked_run_has_the_settings_of_today():
    for which in selected(RESULTS):
        check_run(RESULTS, which)


def test_a_folder_with_the_run_of_other_settings_is_refused_by_name(finished):
    results, folder = finished
    record(folder, changes={"seeds": [0]})
    again = "python -m experiments.run experiment=denoising size=companion layer=auto"
    wrong = rf"is that of another run, denoising/companion/auto/seeds=\[0\]; `{again}` makes it again"
    for read in (
        lambda: compare(results),
        lambda: publish(results, results / "tracked"),
        lambda: load(results, "companion/auto", {"metrics": "denoising/metrics"}),
    ):
        with pytest.raises(ConfigError, match=wrong):
            read()


def test_a_run_whose_settings_are_no_longer_those_of_the_files_is_refused_by_name(finished):
    results, folder = finished
    whole = json.loads((folder / "provenance.json").read_text())
    whole["config"]["train"]["lr"] = 0.125
    (folder / "provenance.json").write_text(json.dumps(whole))
    with pytest.raises(
        ConfigError, match=r"train\.lr was 0\.125 in this run and is .* in the files of today"
    ):
        compare(results)


@pytest.mark.parametrize("name", ["metrics.csv", "timings.csv"])
@pytest.mark.parametrize("harm", ["cut", "deleted"])
def test_a_damaged_or_missing_table_is_named(finished, name, harm):
    results, folder = finished
    path = folder / name
    path.write_bytes(path.read_bytes()[:-5]) if harm == "cut" else path.unlink()
    which = Place("denoising", "companion", "auto")
    says = rf"{name} is {'damaged' if harm == 'cut' else 'missing'}"
    with pytest.raises(ConfigError, match=says):
        compare(results)
    with pytest.raises(ConfigError, match=says):
        publish(results, results / "tracked")
    with pytest.raises(ConfigError, match=says):
        read_csv(results, which, path.stem)
    assert not (results / "tracked").exists()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"config": {}}'])
def test_damaged_provenance_is_named(finished, text):
    results, folder = finished
    (folder / "provenance.json").write_text(text)
    with pytest.raises(ConfigError, match=r"provenance\.json cannot be read"):
        read_record(results, Place("denoising", "companion", "auto"))


def test_tables_without_provenance_are_found_and_refused(finished):
    results, folder = finished
    (folder / "provenance.json").unlink()
    assert places(results) == [Place("denoising", "companion", "auto")]
    with pytest.raises(ConfigError, match=r"provenance\.json is missing: no run has finished"):
        compare(results)


def test_published_runs_come_whole_and_changed_ones_stay(finished):
    results, folder = finished
    changed = folder / "seeds=[0]"
    shutil.copytree(folder, changed)
    whole = json.loads((changed / "provenance.json").read_text())
    (changed / "provenance.json").write_text(json.dumps(whole | {"changes": {"seeds": [0]}}))
    tracked = results / "tracked"
    assert publish(results, tracked) == [Place("denoising", "companion", "auto")]
    assert places(tracked) == [Place("denoising", "companion", "auto")]
    for path in folder.glob("*.csv"):
        assert (tracked / "denoising" / "companion" / "auto" / path.name).read_bytes() == path.read_bytes()
    check_run(tracked, Place("denoising", "companion", "auto"))
    with pytest.raises(ConfigError, match="no run of experiment=sudoku"):
        publish(results, tracked, ["sudoku"])
