"""A whole record and a whole image as one sparse program of total variation, its map of weights learned through it.

Question: denoising layers since OptNet (arXiv 1703.00443, section 4.3) cut signals into windows of some dozens of
samples, because a dense layer takes no more. What is a whole signal as one program worth, and what does it cost?

    z = argmin 1/2 ||z - y||^2 + sum_e w_e |z_j - z_i|,    w = start * exp(map of y),

over all pairs e of neighbours; the map is a small convolutional network (experiments/common/weighted_tv.py), and it is
trained by the error of z. The record is the electrocardiogram of PyWavelets, 1024 samples as one program of 2047
variables: training, validation and test are its thirds with a gap between them. The image is its photographer, reduced
to 64 x 64 pixels, 12160 variables (`size=paper`: 128 x 128, 48896), in noise of a stated size; the three parts are
blocks of it in turn. Every program is of the whole signal, and an error counts the pixels of its part alone: no method
sees a clean pixel of another part.

Methods: `total_variation`, one weight for all pairs, the best of a grid on validation; `map_windows`, the map, its
programs of windows with dense matrices as in experiments/denoising_ecg.py; `map_whole`, the same map and one sparse
program; `convolutions`, a network of three without a program, trained for about the processor time of `map_whole`. Maps
start at the weight of the first method. Rates were compared on the validation part of seed 100, which is none of those
reported: of the map of the record 0.003 to 0.1, of the image 0.001 to 0.03, and the least was best.

    python -m experiments.run experiment=large_denoising size=companion    # a minute
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.pictures import PARTS, SIDE, image, recording, split_in_blocks, split_in_time
from experiments.common.recorder import Recorder
from experiments.common.results import Tables, merge
from experiments.common.training import Recipe, Split, fit, predict, squared_loss
from experiments.common.weighted_tv import Convolutional, MappedTV, Pairs, WeightMap, matrices
from layers import QPLayer

METHODS = ("total_variation", "convolutions", "map_windows", "map_whole")
LEARNED = ("map_windows", "map_whole")
FINAL = ("final_mse", "output_snr")
DECADES = ("residual", "gradient_error")
UNITS = {"ecg": ("recorded unit", "recorded unit squared"), "image": ("grey value", "grey value squared")}
# Weights of total variation that are tried, in standard deviations of the noise.
GRID = tuple(0.25 * 2 ** (k / 2) for k in range(8))
# Half a step of the difference that a derivative is compared with, relative to a parameter of size one.
STEP = 1e-6
# Pixels of an image that are kept for the figure, a side.
SHOWN = 32


@dataclass
class Data:
    """`samples` of the record in noise of `snr` dB; the image of `side` x `side` in noise of deviation `noise`.

    `repeats` noisy versions are the validation, and as many the test.
    """

    samples: int = 1024  #: of the record [samples]
    snr: float = 10.0  #: power of the record over that of its noise [dB]
    side: int = 64  #: of the image [pixels]
    noise: float = 0.1  #: standard deviation of that of the image [grey value]
    repeats: int = 1  #: noisy versions to validate and to test on [signals]

    def check(self) -> None:
        """Raise a `ConfigError` unless such data can be made."""
        require(30 <= self.samples <= 1024, "data.samples", self.samples, "30 to 1024 samples")
        require(math.isfinite(self.snr), "data.snr", self.snr, "a finite ratio in dB")
        fits = 4 <= self.side <= SIDE and SIDE % self.side == 0
        require(fits, "data.side", self.side, f"4 or more pixels that divide {SIDE}")
        require(0 < self.noise < math.inf, "data.noise", self.noise, "a positive, finite standard deviation")
        require(self.repeats > 0, "data.repeats", self.repeats, "a positive number of noisy versions")


@dataclass
class Task:
    """How a signal is taken on: noisy versions, windows and the distance between them, filters, and both trainings."""

    copies: int  #: noisy versions to learn from [signals]
    window: int  #: of a dense program, a side [samples or pixels]
    stride: int  #: between windows [samples or pixels]
    reach: int  #: of a filter to each side [samples or pixels]
    filters: int  #: of the map, half of those of the network [filters]
    train: Recipe
    network: Recipe

    def check(self, name: str, least: int) -> None:
        """Raise a `ConfigError` unless windows of such a size fit in a signal of size `least`."""
        require(self.copies > 0, f"{name}.copies", self.copies, "a positive number of noisy versions")
        require(2 <= self.window <= least, f"{name}.window", self.window, f"2 to {least} samples or pixels")
        require(1 <= self.stride <= self.window, f"{name}.stride", self.stride, f"1 to {name}.window")
        require(self.reach > 0, f"{name}.reach", self.reach, "a positive number")
        require(self.filters > 0, f"{name}.filters", self.filters, "a positive number")
        self.train.check(f"{name}.train")
        self.network.check(f"{name}.network")


def _ecg() -> Task:
    recipe = Recipe(epochs=8, batch=2, lr=3e-3, anneal=True)
    return Task(24, 24, 4, 8, 8, recipe, Recipe(epochs=30, batch=2, lr=3e-3, anneal=True))


def _image() -> Task:
    recipe = Recipe(epochs=4, batch=1, lr=1e-3, anneal=True)
    return Task(4, 6, 6, 2, 8, recipe, Recipe(epochs=60, batch=1, lr=3e-3, anneal=True))


@dataclass
class Config(RunConfig):
    """Settings; of each task `train` is the recipe of the maps and `network` that of the network."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    data: Data = field(default_factory=Data)
    ecg: Task = field(default_factory=_ecg)
    image: Task = field(default_factory=_image)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        self.ecg.check("ecg", self.data.samples)
        self.image.check("image", self.data.side)


class Counted(nn.Module):
    """A denoiser whose answer is zero where it does not count: (picture, where it counts) -> picture."""

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, given: Tensor) -> Tensor:
        """The answers, shape `(copies, height, width)`, of `(copies, 2, height, width)`."""
        noisy, counts = given.unbind(1)
        return counts * self.denoiser(noisy)


def make_data(data: Data, task: str, seed: int, copies: int) -> dict[str, Split]:
    """Noisy pictures with what counts of each beside them, `copies` to train on, and the clean ones where it counts."""
    splits: dict[str, Split] = {}
    for number, part in enumerate(PARTS):
        rng = np.random.default_rng([seed, ("ecg", "image").index(task), number])
        if task == "ecg":
            clean = recording()[None, : data.samples]
            counts = np.isin(np.arange(data.samples), _thirds(data)[part])[None].astype(float)
        else:
            clean, counts = image(data.side), split_in_blocks(data.side)[part].astype(float)
        clean = np.tile(clean, (copies if part == "train" else data.repeats, 1, 1))
        counts = np.broadcast_to(counts, clean.shape)
        noisy = clean + noise(data, task) * rng.standard_normal(clean.shape)
        splits[part] = Split(np.stack([noisy, counts], 1), counts * clean)
    return splits


def _thirds(data: Data) -> dict[str, range]:
    return split_in_time(data.samples, data.samples // 32)


def noise(data: Data, task: str) -> float:
    """Standard deviation of the noise; of the record relative to that of its training part."""
    if task == "image":
        return data.noise
    first = _thirds(data)["train"]
    return float(recording()[first.start : first.stop].std()) * 10 ** (-data.snr / 20)


def make_model(config: Config, task: str, method: str, seed: int, start: float) -> nn.Module:
    """The untrained denoiser."""
    chosen: Task = getattr(config, task)
    reach = (0, chosen.reach) if task == "ecg" else (chosen.reach, chosen.reach)
    generator, scale = torch.Generator().manual_seed(seed), noise(config.data, task)
    if method == "convolutions":
        return Counted(Convolutional(reach, 2 * chosen.filters, scale, generator))
    weights = WeightMap(reach, chosen.filters, start, scale, generator)
    window = (1 if task == "ecg" else chosen.window, chosen.window)
    windows = (window, chosen.stride) if method == "map_windows" else (None, 1)
    return Counted(MappedTV(weights, config.layer.build(), *windows))


def best_weight(config: Config, task: str, seed: int) -> float:
    """The weight of the grid whose total variation of whole pictures is best on validation."""
    return _best_weight(json.dumps([asdict(config.data), asdict(config.layer)]), task, seed)


@lru_cache(maxsize=4)
def _best_weight(settings: str, task: str, seed: int) -> float:
    data, layer = json.loads(settings)
    split = make_data(Data(**data), task, seed, 1)["validation"]
    errors: dict[float, float] = {}
    for multiple in GRID:
        weight = multiple * noise(Data(**data), task)
        model = _constant(weight, LayerConfig(**layer).build())
        errors[weight] = _errors(model, {"validation": split})["validation"][0]
    return min(errors, key=lambda weight: errors[weight])


def _constant(weight: float, layer: QPLayer) -> nn.Module:
    """Total variation of whole pictures with one weight for all pairs."""
    return Counted(MappedTV(WeightMap((0, 0), 1, weight, 1.0, torch.Generator().manual_seed(0)), layer))


def _errors(model: nn.Module, splits: dict[str, Split]) -> dict[str, tuple[float, float]]:
    """Mean squared error of what counts by split, and the variance of the clean part over it in dB."""
    scores: dict[str, tuple[float, float]] = {}
    for part, split in splits.items():
        inside = split.noisy[:, 1] > 0
        error = float(np.mean((predict(model, split.noisy) - split.clean)[inside] ** 2))
        scores[part] = error, 10 * math.log10(split.clean[inside].var() / error)
    return scores


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method and seed on the record and on the images."""
    tables: Tables = {}
    for task, units in UNITS.items():
        splits = make_data(config.data, task, seed, getattr(config, task).copies)
        record = Recorder(f"large_denoising_{task}", method, seed, units, examples=seed == config.seeds[0])
        with record.timed("train"):
            model = train(config, task, method, seed, splits, record)
        few = {
            part: Split(own.noisy[: config.data.repeats], own.clean[: config.data.repeats])
            for part, own in splits.items()
        }
        for part, (error, ratio) in _errors(model, few).items():
            record.errors({part: error})
            record.metric("output_snr", part, 0, ratio, "dB")
        _look(task, model, splits["test"], record)
        if method in LEARNED:
            _measure(config, model, splits["train"], record)
        tables = merge([tables, record.tables])
    return tables


def train(
    config: Config, task: str, method: str, seed: int, splits: dict[str, Split], record: Recorder
) -> nn.Module:
    """The denoiser of `method`, what is in it chosen or learned on training and validation."""
    start = 0.0 if method == "convolutions" else best_weight(config, task, seed)
    if method == "total_variation":
        return _constant(start, config.layer.build())
    model = make_model(config, task, method, seed, start)
    chosen: Task = getattr(config, task)
    recipe = chosen.network if method == "convolutions" else chosen.train
    rng = np.random.default_rng([seed, 2 + METHODS.index(method)])
    seen = {part: splits[part] for part in ("train", "validation")}
    work = partial(fit, model, seen, recipe, rng)
    history = record.learned(model, work, task) if method in LEARNED else work()
    if history is not None:
        # zeros where nothing counts are in the mean of a training
        shares = {part: split.noisy[:, 1].mean() for part, split in seen.items()}
        record.curves(
            {part: {k: error / shares[part] for k, error in own.items()} for part, own in history.mse.items()}
        )
    return model


def _look(task: str, model: nn.Module, test: Split, record: Recorder) -> None:
    """What figures show: of the record its test part, of the image its middle, and the weights of pairs in a row."""
    noisy, counts = test.noisy[0]
    shown = counts > 0
    rows, cols = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    if task == "image":
        rows, cols = (np.arange(SHOWN) + max((len(rows) - SHOWN) // 2, 0) for _ in range(2))
        rows, cols = rows[rows < noisy.shape[0]], cols[cols < noisy.shape[1]]
    place = np.ix_(rows, cols)
    seen = {None: predict(model, test.noisy[:1])[0]}
    if record.method == METHODS[0]:
        seen |= {"noisy": noisy, "clean": test.clean[0]}
    if isinstance(model, Counted) and isinstance(model.denoiser, MappedTV) and record.method in LEARNED:
        with torch.no_grad():
            weights = model.denoiser.weights(torch.from_numpy(noisy[None]))[0].numpy()
        along = weights[Pairs(*noisy.shape).along]
        record.matrix("weights", np.pad(along, ((0, 0), (0, 1)), mode="edge")[place].round(4))
    for method, picture in seen.items():
        record.signals(picture[place].round(4), method, int(cols[0]))


def _measure(config: Config, model: nn.Module, split: Split, record: Recorder) -> None:
    """Size of the program, seconds of one picture, what its answer leaves, and the error of its derivative."""
    given, clean = (tensor[:1] for tensor in split.tensors())
    tv = model.denoiser
    assert isinstance(tv, MappedTV)
    Q, G = matrices(*(tv.window or given.shape[2:]))
    for name, count in (("variables", len(Q)), ("rows", len(G)), ("entries", G._nnz() + Q._nnz())):
        record.metric(name, "program", 0, count, "1")
    begin = time.perf_counter()
    loss = squared_loss(model, given, clean)
    middle = time.perf_counter()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    record.timing("forward", middle - begin)
    record.timing("backward", time.perf_counter() - middle)
    if tv.window is None:
        with torch.no_grad():
            record.metric("residual", "train", 0, float(tv.solution(given[:, 0]).residuals.largest), "1")
    record.metric("gradient_error", "train", 0, _difference(model, given, clean, gradients), "1")


def _difference(model: nn.Module, given: Tensor, clean: Tensor, gradients: tuple[Tensor, ...]) -> float:
    """How far the derivative along the gradient itself is from a central difference, relative to it."""
    exact = float(sum(g.square().sum() for g in gradients)) ** 0.5
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    values: list[float] = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            for parameter, own, g in zip(model.parameters(), kept, gradients, strict=True):
                parameter.copy_(own + sign * STEP * g / exact)
            values.append(float(squared_loss(model, given, clean)))
        for parameter, own in zip(model.parameters(), kept, strict=True):
            parameter.copy_(own)
    return abs((values[0] - values[1]) / (2 * STEP) / exact - 1)


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)
