"""What tests of the study of adjoints share: a method by its name, and a place for what it records."""

from experiments.common.config import LayerConfig
from experiments.common.differentiation.methods import Method
from experiments.common.recorder import Recorder


def method(name: str, **options: float) -> Method:
    return Method(name, LayerConfig(adjoint={"name": name, **options}, tol=1e-9))


def recorder() -> Recorder:
    return Recorder("differentiation", "m", 0, ("1", "1"), examples=True)


def values(record: Recorder, metric: str, split: str | None = None) -> dict[int, float]:
    """What was recorded of a metric, by step."""
    rows = [
        row for row in record.tables["metrics"] if row["metric"] == metric and split in (None, row["split"])
    ]
    return {row["step"]: row["value"] for row in rows}
