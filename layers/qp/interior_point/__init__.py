"""The batched interior point in torch: any device, any size, under every transform."""

from layers.qp.interior_point.attempts import solve

__all__ = ["solve"]
