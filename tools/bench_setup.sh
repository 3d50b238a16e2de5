#!/usr/bin/env bash
# The peers that only the benchmark needs, in .venv-bench on top of an interpreter that has the rest:
# `tools/bench_setup.sh PYTHON`, called by `make bench`. Nothing that PYTHON has is installed a second time, and nothing
# is installed into it. The declared dependencies of libdqp, commercial solvers among them, are left out: it works
# without those that are not used.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
pins=(proxsuite==0.8.0 cmeel==0.62.0 libdqp==0.1.2 qpsolvers==4.13.0 daqp==0.11.0 piqp==0.7.0 quadprog==0.1.14
  elastiqp==0.2.0 pounce-solver==0.13.0 ffolayer==0.1.2)

rm -rf .venv-bench
"$python" -m venv --without-pip .venv-bench
site=$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
below=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "import site; site.addsitedir('$below')" > "$site/below.pth"
echo "bench_setup: installing the peers into .venv-bench"
"$python" -m pip --python .venv-bench/bin/python install --quiet --disable-pip-version-check --no-deps "${pins[@]}"
.venv-bench/bin/python -c 'import benchmarks.jobs, proxsuite, dqp, qpth, moreau, cvxpylayers, daqp, elastiqp.torch, pounce.torch, ffolayer'
touch .venv-bench/.ready
