"""Checks the command line before Hydra sees it: every mistake is told with the valid choices."""

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.config import LayerConfig
from experiments.common.errors import ConfigError, require, require_one_of

GROUPS = ("experiment", "layer", "size")
# Where the tables go follows from the settings, so these of Hydra's would be asked for in vain.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(
            f"{message}; a setting is written name=value, for example experiment=denoising, and the options are "
            "--help, --multirun, --cfg job, --info and, for Hydra's own, --hydra-help"
        )


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Hydra's own options, and the settings as `overrides`.

    Raises
    ------
    ConfigError
        For an option that is not spelled out, or that does not exist.
    """
    # Hydra takes `--experiment` for the beginning of one of its options.
    theirs = get_args_parser()
    options = _Options(prog="python -m experiments.run", parents=[theirs], add_help=False, allow_abbrev=False)
    return options.parse_intermixed_args(arguments)


def check_command_line(configs: Path, arguments: list[str]) -> None:
    """Compose and check every run that `arguments` ask for.

    Raises
    ------
    ConfigError
        For an unknown option, an unknown setting or a value that cannot be used, with the valid ones.
    """
    given = parsed(arguments)
    with initialize_config_dir(str(configs), version_base="1.3"):
        overrides = _parse(given.overrides)
        sweeps = [override for override in overrides if override.is_sweep_override()]
        if sweeps and not given.multirun:
            raise ConfigError(
                f"{sweeps[0].input_line}: several values need --multirun (or brackets, for a list)"
            )
        for override in sweeps:
            if override.is_interval_sweep():
                name = override.key_or_group
                raise ConfigError(
                    f"{override.input_line}: nothing here searches an interval; give values, as in {name}=0.1,0.2"
                )
        for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]:
            composed(_parse(list(job)))


def compose_checked(words: list[str]) -> DictConfig:
    """The checked configuration that the words of a command line ask for, inside an initialised Hydra."""
    return composed(_parse(words))


def composed(overrides: list[Override]) -> DictConfig:
    """The checked configuration of one run, inside an initialised Hydra."""
    for override in overrides:
        if override.is_add() or override.is_delete() or override.is_force_add():
            raise ConfigError(
                f"{override.input_line}: settings are changed as name=value, not added or removed"
            )
        if override.key_or_group in FOLDERS:
            raise ConfigError(
                f"{override.key_or_group}: the folder follows from the settings; its root is output="
            )
        _check_group(override)
    _check_sizes(overrides)
    plain = compose("config", _lines(override for override in overrides if _chooses(override)))
    _check_adjoint(plain, overrides)
    for override in overrides:
        if not _chooses(override):
            _check_setting(plain, override)
    try:
        config = compose("config", _lines(overrides))
        settings: Any = OmegaConf.to_object(config)
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise ConfigError("; ".join(lines[:2])) from error
    settings.check()
    return config


def _lines(overrides: Iterable[Override]) -> list[str]:
    return [line for override in overrides if (line := override.input_line)]


def spelled_out(word: str) -> str:
    """A word of the command line as the configuration has it: `layer.adjoint=smoothed` is short for its name."""
    key, _, value = word.partition("=")
    return f"layer.adjoint.name={value}" if key == "layer.adjoint" and not value.startswith("{") else word


def _parse(arguments: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides([spelled_out(word) for word in arguments])
    except HydraException as error:
        line = str(error).splitlines()[0]
        raise ConfigError(f"{line}; expected name=value, for example size=smoke train.lr=1e-3") from error


def _chooses(override: Override) -> bool:
    return override.key_or_group in GROUPS


def _check_group(override: Override) -> None:
    if override.key_or_group == "hydra/launcher":
        options = (
            GlobalHydra.instance().config_loader().get_group_options("hydra/launcher", ObjectType.CONFIG)
        )
        require_one_of("hydra/launcher (others come with their plugin)", override.value(), options)
        slurm = override.value() != "submitit_slurm" or shutil.which("srun") is not None
        known = "a node of a cluster, where srun is on the path; here joblib runs side by side"
        require(slurm, "hydra/launcher", override.value(), known)
    if _chooses(override):
        group = override.key_or_group
        options = GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG)
        require_one_of(group, override.value(), [name for name in options if not name.endswith("_schema")])


def _check_sizes(overrides: list[Override]) -> None:
    """Whether the experiment has the size that was chosen."""
    chosen = {override.key_or_group: str(override.value()) for override in overrides if _chooses(override)}
    if "experiment" in chosen:
        name, size = chosen["experiment"], chosen.get("size", "smoke")
        known = GlobalHydra.instance().config_loader().get_group_options(f"size/{name}", ObjectType.CONFIG)
        if size not in known:
            raise ConfigError(
                f"experiment={name}: size: got {size!r}, expected one of: {', '.join(known) or 'none'}; "
                f"configs/experiment/{name}.yaml tells them in its section sizes"
            )


def _check_adjoint(config: DictConfig, overrides: list[Override]) -> None:
    """What is said of the adjoint, all together: which settings there are depends on its name."""
    own: dict[str, Any] = dict(config.layer.adjoint)
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key.startswith("layer.adjoint."):
            own[key.removeprefix("layer.adjoint.")] = value
        elif key == "layer.adjoint" and isinstance(value, dict):
            own |= value
    LayerConfig(adjoint=own).derivative()


def _check_setting(config: DictConfig, override: Override) -> None:
    key = override.key_or_group
    if key.partition(".")[0].partition("/")[0] == "hydra":
        return
    node, known = config, ""
    for part in key.split("."):
        valid = [str(name) for name in node] if isinstance(node, DictConfig) else []
        require_one_of(f"setting {key}", part, valid) if valid else _no_fields(key, known)
        node, known = node[part], f"{known}.{part}".lstrip(".")
    value = override.value()
    if isinstance(node, ListConfig) and not isinstance(value, (list, ChoiceSweep)):
        raise ConfigError(f"{key}: got {value}, expected a list; write {key}=[{value}]")


def _no_fields(key: str, known: str) -> None:
    raise ConfigError(f"setting {key}: {known} is a single value and has no fields")
