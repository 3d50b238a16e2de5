"""How Hydra reads the sheets: configs/experiment/<name>.yaml has the groups `experiment` and `size/<name>`.

A file without a program of its name is settings of one's own for the experiment that it names: it has the sizes of
that, and its settings go before theirs.
"""

from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from experiments.common.sheets import section, settings

GROUP = "experiment"


class SheetSource(ConfigSource):
    """Configurations out of the sheets below a folder of configurations."""

    @staticmethod
    def scheme() -> str:
        """The beginning of a path in Hydra's search path that is read here."""
        return "sheets"

    def available(self) -> bool:
        """Whether there are any sheets."""
        return (Path(self.path) / GROUP).is_dir()

    def is_group(self, config_path: str) -> bool:
        """Whether `config_path` is the group of the experiments, or that of the sizes of one."""
        group, _, name = config_path.strip("/").partition("/")
        return (group == GROUP and not name) or (
            group == "size" and bool(name) and self._sheet(name).exists()
        )

    def is_config(self, config_path: str) -> bool:
        """Whether `config_path` is an experiment or one of its sizes."""
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return self.is_group(group) and name in self.list(group, ObjectType.CONFIG)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The experiments, or the sizes of one."""
        if results_filter == ObjectType.GROUP:
            return []
        group, _, name = config_path.strip("/").partition("/")
        if group == GROUP:
            return sorted(path.stem for path in (Path(self.path) / GROUP).glob("*.yaml"))
        return sorted(self._sizes(name))

    def load_config(self, config_path: str) -> ConfigResult:
        """The settings of a sheet, or what one of its sizes changes."""
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        of_sizes = group != GROUP
        found = self._sizes(group.partition("/")[2])[name] if of_sizes else settings(self._sheet(name))
        return ConfigResult(
            config=OmegaConf.create(found),
            path=self.full_path(),
            provider=self.provider,
            header={"package": "_global_"},
        )

    def _sheet(self, name: str) -> Path:
        return Path(self.path) / GROUP / f"{name}.yaml"

    def _sizes(self, name: str) -> dict[str, dict[str, Any]]:
        """What each size of the experiment `name` changes; of settings of one's own, with these on top."""
        sizes = section(self._sheet(name), "sizes") or {}
        found = {size: changes or {} for size, changes in sizes.items()}
        own = settings(self._sheet(name))
        base = own.pop("experiment")
        if base == name or not self._sheet(base).exists():
            return found
        own.pop("defaults")
        merged = {size: OmegaConf.merge(changes, own) for size, changes in self._sizes(base).items()}
        return {**merged, **found}  # pyright: ignore[reportReturnType]


class SheetSearchPath(SearchPathPlugin):
    """Puts the sheets before the files among which they lie."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add a source of sheets for the folder of the application's own configurations."""
        for element in search_path.get_path():
            if element.provider == "main":
                folder = element.path.removeprefix("file://")
                search_path.prepend("sheets", f"{SheetSource.scheme()}://{folder}", "main")
                return


def register() -> None:
    """Have Hydra read sheets in this process."""
    for plugin in (SheetSource, SheetSearchPath):
        Plugins.instance().register(plugin)
