from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Doubles = NDArray[np.float64] | Tensor
Integers = NDArray[np.int64]
LARGEST: tuple[int, int, int]
CONSTANTS: dict[str, object]

def solve(
    Q: Doubles,
    q: Doubles,
    G: Doubles,
    h: Doubles,
    A: Doubles,
    b: Doubles,
    batch: int | None,
    tol: float,
    rounding: float,
    max_iterations: int,
    threads: int,
    guess: tuple[Doubles, Doubles, Doubles, Doubles] | None,
    interior: bool = False,
) -> Solved: ...

class Solved:
    @property
    def settled(self) -> bool: ...
    @property
    def told(self) -> bool: ...
    def status(self) -> Integers: ...
    def z(self) -> NDArray[np.float64]: ...
    def arrays(
        self,
    ) -> tuple[
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.int8],
        NDArray[np.int64],
        NDArray[np.int64],
    ]: ...
    def pull_back(
        self,
        Q: Doubles,
        G: Doubles,
        A: Doubles,
        z_bar: Doubles | None,
        lam_bar: Doubles | None,
        nu_bar: Doubles | None,
        wanted: tuple[bool, bool, bool],
        threads: int,
        copies: int,
    ) -> tuple[
        tuple[Doubles | None, Doubles | None, Doubles | None], tuple[Doubles, Doubles, Doubles], float
    ]: ...

def solve_linearised(
    Q: Doubles,
    G: Doubles,
    A: Doubles,
    kind: NDArray[np.int8],
    status: NDArray[np.int64],
    r_z: Doubles,
    r_lam: Doubles,
    r_nu: Doubles,
    transpose: bool,
    threads: int,
) -> tuple[Doubles, Doubles, Doubles, Doubles, float]: ...
def solve_cones(
    cones: tuple[int, int, Sequence[int]],
    places: tuple[NDArray[np.int64], ...],
    P: Doubles,
    q: Doubles,
    A: Doubles,
    b: Doubles,
    max_iterations: int,
    threads: int,
) -> tuple[Doubles, Doubles, Doubles, NDArray[np.int64], NDArray[np.int64]]: ...
def solve_cones_linearised(
    cones: tuple[int, int, Sequence[int]],
    places: tuple[NDArray[np.int64], ...],
    P: Doubles,
    A: Doubles,
    y: Doubles,
    s: Doubles,
    r1: Doubles,
    r2: Doubles,
    threads: int,
) -> tuple[Doubles, Doubles, Doubles]: ...

class SolvedFamily:
    def pull_back(
        self,
        bars: Sequence[Doubles | None],
        needed: Sequence[bool],
        shapes: Sequence[Sequence[int]],
        tol: float,
        threads: int,
    ) -> tuple[Doubles | None, ...] | None: ...

class Family:
    def __init__(
        self,
        sizes: tuple[int, int, int, int],
        widths: Sequence[int],
        parts: Sequence[
            tuple[int, int, Doubles, Sequence[tuple[int, Integers, Integers, Integers, Doubles]]]
        ],
        variables: Sequence[tuple[Integers, Integers, Doubles]],
    ) -> None: ...
    def solve(
        self,
        values: Sequence[Doubles],
        shapes: Sequence[Sequence[int]],
        batch: int,
        tol: float,
        rounding: float,
        max_iterations: int,
        threads: int,
    ) -> tuple[tuple[Doubles, ...], SolvedFamily] | None: ...

def lanes() -> int: ...
