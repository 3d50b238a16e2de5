"""Build the C++ core of the native engine; where there is no compiler the package installs without it."""

from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

SOURCES = Path("layers/native/csrc")

ParallelCompile("CONVEX_LAYERS_JOBS", default=2).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "layers.native._core",
            sorted(str(path) for path in SOURCES.glob("*/*.cpp")),
            depends=sorted(str(path) for path in SOURCES.glob("*/*.hpp")),
            include_dirs=[str(SOURCES)],
            cxx_std=17,
            extra_compile_args=["-O3", "-fno-math-errno"],
            extra_link_args=["-pthread"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
