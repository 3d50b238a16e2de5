"""Checks the command line before Hydra sees it: every mistake is told with the valid choices."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.errors import ConfigError, require_one_of

GROUPS = ("experiment", "layer", "size")
SWEEP = {"-m", "--multirun"}


def check_command_line(configs: Path, arguments: list[str]) -> None:
    """Compose and check every run that `arguments` ask for; other flags than --multirun are Hydra's own
    business.

    Raises
    ------
    ConfigError
        For an unknown option, an unknown setting or a value that cannot be used, with the valid ones.
    """
    flags = {argument for argument in arguments if argument.startswith("-")}
    if flags - SWEEP:
        return
    given = [argument for argument in arguments if argument not in flags]
    with initialize_config_dir(str(configs), version_base="1.3"):
        overrides = _parse(given)
        sweeps = [override for override in overrides if override.is_sweep_override()]
        if sweeps and not flags:
            raise ConfigError(
                f"{sweeps[0].input_line}: several values need --multirun (or brackets, for a list)"
            )
        for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]:
            composed(_parse(list(job)))


def composed(overrides: list[Override]) -> DictConfig:
    """The checked configuration of one run, inside an initialised Hydra."""
    for override in overrides:
        if override.is_add() or override.is_delete() or override.is_force_add():
            raise ConfigError(
                f"{override.input_line}: settings are changed as name=value, not added or removed"
            )
        _check_group(override)
    plain = compose("config", _lines(override for override in overrides if _chooses(override)))
    for override in overrides:
        if not _chooses(override):
            _check_setting(plain, override.key_or_group)
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


def _parse(arguments: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(arguments)
    except HydraException as error:
        line = str(error).splitlines()[0]
        raise ConfigError(f"{line}; expected name=value, for example size=smoke train.lr=1e-3") from error


def _chooses(override: Override) -> bool:
    return override.key_or_group in GROUPS


def _check_group(override: Override) -> None:
    if _chooses(override):
        group = override.key_or_group
        options = GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG)
        require_one_of(group, override.value(), [name for name in options if not name.endswith("_schema")])


def _check_setting(config: DictConfig, key: str) -> None:
    if key.partition(".")[0].partition("/")[0] == "hydra":
        return
    node, known = config, ""
    for part in key.split("."):
        valid = [str(name) for name in node] if isinstance(node, DictConfig) else []
        require_one_of(f"setting {key}", part, valid) if valid else _no_fields(key, known)
        node, known = node[part], f"{known}.{part}".lstrip(".")


def _no_fields(key: str, known: str) -> None:
    raise ConfigError(f"setting {key}: {known} is a single value and has no fields")
