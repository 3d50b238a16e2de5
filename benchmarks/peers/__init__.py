"""The peers, each called as its own documentation says, with its layer built once and data in its own form.

A peer is a module, or an object, with NAME, LADDERS, CUDA, `unavailable()` and `build(data, setting)`; see
:class:`benchmarks.engines.Engine`. None of them is told less than ours: a constant matrix is given without its zeros
and without a batch axis where the package can use that, all cores are theirs, and layers are built outside the
timing.
"""
