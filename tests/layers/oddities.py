"""What people pass: right data, and everything else, as strategies of Hypothesis."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.layers.instances import NAMES, random_qp

Data = dict[str, Any]

#: one tensor, made into something else
CHANGES: dict[str, Any] = {
    "None": lambda v: None,
    "text": lambda v: "1.0",
    "number": lambda v: 1.0,
    "list": lambda v: v.tolist(),
    "list of rows": list,
    "array": lambda v: v.numpy(),
    "object": lambda v: object(),
    "integers": lambda v: v.long(),
    "booleans": lambda v: v > 0,
    "complex": lambda v: torch.complex(v, v),
    "float16": lambda v: v.half(),
    "bfloat16": lambda v: v.bfloat16(),
    "float32": lambda v: v.float(),
    "float8": lambda v: v.to(torch.float8_e4m3fn),
    "unsigned float8": lambda v: v.to(torch.float8_e8m0fnu),
    "quantized": lambda v: torch.quantize_per_tensor(v.float(), 0.1, 0, torch.qint8),
    "COO": lambda v: v.to_sparse(),
    "CSR": lambda v: v.to_sparse_csr() if v.dim() == 2 else v.to_sparse(),
    "meta": lambda v: v.to("meta"),
    "nested": lambda v: torch.nested.nested_tensor([v.reshape(-1), v.reshape(-1)[:1]]),
    "jagged": lambda v: torch.nested.nested_tensor([v.reshape(-1), v.reshape(-1)[:1]], layout=torch.jagged),
    "lazy": lambda v: torch.nn.parameter.UninitializedParameter(),
    "parameter": lambda v: torch.nn.Parameter(v.clone()),
    "buffer": lambda v: torch.nn.Buffer(v.clone()),
    "conjugate": lambda v: torch.complex(v, v).conj().real,
    "negative view": lambda v: torch.complex(v, v).conj().imag,
    "transposed": lambda v: v.mT if v.dim() > 1 else v[None],
    "column": lambda v: v.unsqueeze(-1),
    "one axis more": lambda v: v[None],
    "three times": lambda v: v.expand(3, *v.shape),
    "five axes": lambda v: v[None, None, None],
    "flat": lambda v: v.reshape(-1),
    "0-d": lambda v: v.sum(),
    "empty": lambda v: v[..., :0],
    "no elements": lambda v: v.expand(0, *v.shape),
    "longer": lambda v: torch.cat([v, v], -1),
    "other strides": lambda v: torch.stack([v, v], -1)[..., 0],
    "NaN": lambda v: torch.full_like(v, nan),
    "one NaN": lambda v: spoilt(v, nan),
    "one infinity": lambda v: spoilt(v, inf),
    "minus infinity": lambda v: spoilt(v, -inf),
    "zero": torch.zeros_like,
    "huge": lambda v: v * 1e300,
    "one huge": lambda v: spoilt(v, 1e300),
    "large": lambda v: v * 1e50,
    "one large": lambda v: spoilt(v, 1e20),
    "tiny": lambda v: v * 1e-300,
    "negative": lambda v: -v,
    "ones": torch.ones_like,
    "with a graph": lambda v: v.clone().requires_grad_(),
    "inference": lambda v: made_in_inference(v),
}  # fmt: skip

SOLVERS = [
    "auto",
    "native",
    "interior_point",
    "admm",
    "Auto",
    "clarabel",
    "OSQP",
    "",
    None,
    3,
    ["auto"],
    np.array(["auto", "native"]),
]
NUMBERS = [1e-8, 1e-4, 1e3, 50, 1, 0, -1, 1.5, True, None, "1e-8", "tight", nan, inf, -inf, 10**400, 1e-300, 1j, [1e-8],
           np.float32(1e-6), np.array([1e-8, 1.0]), np.int64(30), torch.tensor(40.0),
           torch.ones(2), b"1", object()]  # fmt: skip
POLICIES = ["raise", "nan", "ignore", "Raise", "warn", None, 1, ("raise",), np.array(["raise", "nan"])]
ADJOINTS = ["auto", "implicit", "implict", None, 0, {"auto": 1}]
OPTIONS = {
    "solver": SOLVERS,
    "tol": NUMBERS,
    "max_iterations": NUMBERS,
    "on_failure": POLICIES,
    "adjoint": ADJOINTS,
}


def spoilt(v: Tensor, value: float) -> Tensor:
    """A copy with another last entry."""
    v = v.clone()
    v.reshape(-1)[-1:] = value
    return v


def made_in_inference(v: Tensor) -> Tensor:
    """A copy that takes part in no graph."""
    with torch.inference_mode():
        return v.clone()


@st.composite
def changed(draw: st.DrawFn, data: Data, most: int = 2) -> Data:
    """The data with up to ``most`` changes, of one argument or of several; no change is a right call."""
    data = dict(data)
    for _ in range(draw(st.integers(0, most))):
        name = draw(st.sampled_from(sorted(data)))
        change = draw(st.sampled_from(sorted(CHANGES)))
        try:
            data[name] = CHANGES[change](data[name])
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            continue  # what is no tensor any more, or a kind of tensor that torch makes nothing else of
    return data


@st.composite
def programs(draw: st.DrawFn) -> Data:
    """A quadratic program of up to three variables, and what it is changed to."""
    n, m, p = draw(st.integers(1, 3)), draw(st.integers(0, 3)), draw(st.integers(0, 1))
    batch = draw(st.sampled_from([(), (), (1,), (2,), (2, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    data = dict(zip(NAMES, random_qp(rng, n, m, p, batch), strict=True))
    if draw(st.booleans()):
        data = {name: value.float() for name, value in data.items()}
    return draw(changed(data))


@st.composite
def options(draw: st.DrawFn, names: tuple[str, ...] = tuple(OPTIONS)) -> Data:
    """Up to two options, of which most are wrong."""
    chosen = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    return {name: draw(st.sampled_from(OPTIONS[name])) for name in chosen}
