"""How the models of the Sudoku studies are trained."""

from dataclasses import dataclass, field

import torch

from experiments.common.errors import require, require_one_of
from experiments.common.training import Recipe


@dataclass
class LayerRecipe(Recipe):
    """Recipe of a layer: `epochs` of `epoch` puzzles each, whatever the number of training puzzles."""

    epochs: int = 18
    lr: float = 0.1
    epoch: int = 9000  #: in an epoch, whatever the number of training puzzles [puzzles]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        super().check(name)
        require(self.epoch > 0, f"{name}.epoch", self.epoch, "a positive number of puzzles")


@dataclass
class ConvolutionalRecipe(LayerRecipe):
    """Recipe of the convolutional network: `depth` hidden convolutions with `channels` channels.

    It is trained on `device`: with the published width a graphics processor takes minutes and a core of a CPU hours.
    """

    lr: float = 1e-3
    channels: int = 512  #: of a convolution [channels]
    depth: int = 10  #: of the network [hidden convolutions]
    device: str = "cpu"  #: that trains it, cpu or cuda

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        super().check(name)
        require(self.channels > 0, f"{name}.channels", self.channels, "a positive number of channels")
        require(self.depth > 0, f"{name}.depth", self.depth, "a positive number of convolutions")
        here = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        require_one_of(f"{name}.device", self.device, here)

    @property
    def phase(self) -> str:
        """Name of the time of training, with the graphics processor on which it was measured."""
        return "train" if self.device == "cpu" else f"train on {torch.cuda.get_device_name()}"


@dataclass
class FullyConnectedRecipe(LayerRecipe):
    """Recipe of the fully connected network with hidden layers of `widths` units."""

    lr: float = 1e-3
    widths: list[int] = field(default_factory=lambda: [100, 100])  #: of the hidden layers [units]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        super().check(name)
        positive = len(self.widths) > 0 and min(self.widths) > 0
        require(positive, f"{name}.widths", self.widths, "positive numbers of hidden units")
