"""Run an experiment: `python -m experiments.run experiment=denoising layer=qpth size=smoke train.lr=1e-3`.

Groups: `experiment`, `layer`, `size`; every other setting is a field of the experiment's `Config`. Several
runs at once: `--multirun layer=auto,qpth 'seeds=[0],[1]'`. Tables go to <output>/<experiment>/<size>/<layer>,
output=build/results unless told otherwise. A run that was interrupted goes on where it stopped when the same
command is given again.
"""

import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
import pandas as pd
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments import (
    adp,
    cocp_lqr,
    cocp_supply_chain,
    cocp_vehicle,
    data_poisoning,
    denoising,
    denoising_ecg,
    differentiation,
    gallery,
    markowitz,
    mpc_imitation,
    mpc_pendulum,
    mpc_timing,
    portfolio,
    representation,
    sudoku,
    sudoku_9x9,
)
from experiments.common.cells import THREADS, forget_cells
from experiments.common.errors import ConfigError
from experiments.common.overrides import check_command_line
from experiments.common.provenance import provenance
from experiments.common.results import write_table, write_text
from experiments.common.stats import scales, summarise
from layers import LayerError

EXPERIMENTS: dict[str, ModuleType] = {
    "adp": adp,
    "cocp_lqr": cocp_lqr,
    "cocp_supply_chain": cocp_supply_chain,
    "cocp_vehicle": cocp_vehicle,
    "data_poisoning": data_poisoning,
    "denoising": denoising,
    "denoising_ecg": denoising_ecg,
    "differentiation": differentiation,
    "gallery": gallery,
    "markowitz": markowitz,
    "mpc_imitation": mpc_imitation,
    "mpc_pendulum": mpc_pendulum,
    "mpc_timing": mpc_timing,
    "portfolio": portfolio,
    "representation": representation,
    "sudoku": sudoku,
    "sudoku_9x9": sudoku_9x9,
}
CONFIGS = Path(__file__).resolve().parents[1] / "configs"

for _name, _module in EXPERIMENTS.items():
    ConfigStore.instance().store(
        group="experiment", name=f"{_name}_schema", node=_module.Config, package="_global_"
    )


def run(config: DictConfig, directory: Path) -> None:
    """Check `config`, run its experiment and write tables, summary and provenance into `directory`.

    Raises
    ------
    ConfigError
        Before anything is computed, if a setting cannot be used.
    """
    settings: Any = OmegaConf.to_object(config)
    settings.check()
    module = EXPERIMENTS[settings.experiment]
    start = time.perf_counter()
    tables = module.run(settings, directory)
    for name, rows in tables.items():
        write_table(directory / f"{name}.csv", rows)
    summary = summarise(pd.DataFrame(tables["metrics"]), module.FINAL, **scales(module, config))
    write_table(directory / "summary.csv", summary)
    record = provenance(settings, time.perf_counter() - start, THREADS)
    write_text(directory / "provenance.json", json.dumps(record, indent=2) + "\n")
    forget_cells(directory)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="config")
def _run_composed(config: DictConfig) -> None:
    run(config, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """Entry point of the command line: one screen for every mistake, no traceback."""
    try:
        check_command_line(CONFIGS, sys.argv[1:])
        _run_composed()
    except (ConfigError, LayerError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: finished parts are kept, the same command goes on from there")


if __name__ == "__main__":
    main()
