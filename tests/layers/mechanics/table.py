"""The whole matrix: what is tried on which example, which cells are refused and how, and the page that says so."""

from collections.abc import Callable
from dataclasses import dataclass

from torch._dynamo.exc import Unsupported

from layers import DifferentiationError, LayerError, ProblemError
from tests.layers.mechanics.modes import MODES
from tests.layers.mechanics.objects import OBJECTS
from tests.layers.mechanics.processes import PROCESSES
from tests.layers.mechanics.programs import CURVED, EXAMPLES
from tests.layers.mechanics.records import RECORDS
from tests.layers.mechanics.transforms import TRANSFORMS

GROUPS: dict[str, dict[str, Callable]] = {
    "Modes, dtypes and devices": MODES,
    "Transforms and derivatives": TRANSFORMS,
    "Copies, graphs, warm starts, failures, threads": OBJECTS,
    "What records a program, and tensors without numbers": RECORDS,
    "Processes": PROCESSES,
}
CELLS = {name: cell for group in GROUPS.values() for name, cell in group.items()}
ALL = tuple(EXAMPLES)


@dataclass(frozen=True)
class Refusal:
    """Cells that are refused, the error, what its message has to name, and the same for the page."""

    examples: tuple[str, ...]
    error: type[Exception]
    way_out: str
    told: str


META = Refusal(ALL, ProblemError, "a tensor on the meta device has none", "The meta device has no values.")
LAYERS = tuple(name for name in ALL if name not in ("QPLayer", "solve_qp"))
SPARSE = Refusal(
    LAYERS,
    ProblemError,
    r"call \w+\.to_dense\(\)",
    "The values of parameters are dense: pass `tensor.to_dense()`. The program itself stays sparse (docs/choosing.md).",
)
TRACE = Refusal(
    ALL,
    LayerError,
    "torch.export or torch.compile, or save the module itself by torch.save",
    "A trace would answer every call with the solution of its example: use `torch.export` or `torch.compile`, or save "
    "the module by `torch.save`.",
)
RECORD = Refusal(
    ALL,
    LayerError,
    "Use torch.func.jvp or vjp, torch.compile or torch.export",
    "So would what `make_fx` records, on which `torch.func.linearize` stands: use `torch.func.jvp` or `vjp`.",
)
FAKE = Refusal(
    ALL,
    LayerError,
    "let torch.compile or torch.export ask for the shapes",
    "There is nothing to solve. `torch.compile` and `torch.export` learn the shapes without it.",
)
WRAPPED = Refusal(
    ALL,
    ProblemError,
    "must be a plain tensor, found Wrapped, .* pass what it holds",
    "Pass what it holds, as `full_tensor()` of a `DTensor`.",
)
EXPORT = Refusal(
    CURVED,
    LayerError,
    "Save the module itself by torch.save, or export what is around it",
    "Exported are programs with linear constraints whose parameters are not declared to have a sign or the like. Save "
    "the module of others by `torch.save`.",
)
FULL_GRAPH = Refusal(
    LAYERS,
    Unsupported,
    "leave out fullgraph=True",
    "A `ConvexLayer` breaks the graph: leave out `fullgraph=True`. The error is torch's.",
)
SECOND = Refusal(
    CURVED,
    DifferentiationError,
    "take differences of first derivatives",
    "Curved cones are differentiated once; the objective twice. For the rest take differences of first derivatives.",
)

REFUSED: dict[str, Refusal] = {
    "meta tensors": META,
    "sparse tensors": SPARSE,
    "jit.trace": TRACE,
    "make_fx": RECORD,
    "func.linearize": RECORD,
    "fake tensors": FAKE,
    "wrapped tensors": WRAPPED,
    "wrapped cotangents": WRAPPED,
    "export": EXPORT,
    "compile(fullgraph=True)": FULL_GRAPH,
    "func.hessian": SECOND,
    "jacrev of jacrev, of jacfwd": SECOND,
    "jacfwd of jacfwd": SECOND,
    "autograd hessian": SECOND,
    "hessian(vectorize=True)": SECOND,
    "gradgradcheck": SECOND,
    "a gradient inside dual numbers": SECOND,
    "jvp of grad": SECOND,
    "grad of jvp": SECOND,
}

#: cells that take seconds each
SLOW = ("compile", "vmap of compile", "spawn", "forkserver", "DistributedDataParallel")


def refusal(mechanic: str, example: str) -> Refusal | None:
    """How a cell is refused; None if it is right."""
    found = REFUSED.get(mechanic)
    return found if found is not None and example in found.examples else None


HEAD = """# What the layer does under PyTorch

Written by `python tools/mechanics.py` from the matrix of `tests/layers/mechanics`, every cell of which is a test
(`tests/layers/test_mechanics.py`). ✓ is right: values and derivatives are those of a closed form. A number is refused:
an error says why, and names the way out that stands below. The examples of the columns are in
`tests/layers/mechanics/programs.py`; the last five are a `ConvexLayer`.

A process made by fork after torch has computed on several threads hangs in torch itself, with or without a layer: call
`torch.set_num_threads(1)` first in the child, as the workers of a `DataLoader` do.
"""


def page() -> str:
    """docs/pytorch.md."""
    notes: list[str] = []

    def mark(mechanic: str, example: str) -> str:
        found = refusal(mechanic, example)
        if found is None:
            return "✓"
        if found.told not in notes:
            notes.append(found.told)
        return str(notes.index(found.told) + 1)

    lines = [HEAD]
    for group, cells in GROUPS.items():
        lines += [f"## {group}", "", "| | " + " | ".join(ALL) + " |", "|---" + "|:-:" * len(ALL) + "|"]
        for name, cell in cells.items():
            told = (cell.__doc__ or "").strip().split("\n")[0].replace("``", "`").replace("|", r"\|")
            marks = " | ".join(mark(name, example) for example in ALL)
            lines.append(f"| {told.removesuffix('.')} | {marks} |")
        lines.append("")
    lines += ["## Refused", "", *(f"{i}. {note}" for i, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"
