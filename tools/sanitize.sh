#!/usr/bin/env bash
# The tests of the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer: `tools/sanitize.sh PYTHON`, called by `make sanitize`.
# build/sanitize is a copy of layers and tests with the sanitised core inside, so that the library needs no switch for it.
# LANES=4 or 2 takes a narrower instruction set than the processor has.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(cd "$(dirname "$(command -v "$1")")" && pwd)/$(basename "$1")
compiler=${CXX:-g++}
there=$PWD/build/sanitize

stop() {
    echo "sanitize: $*" >&2
    exit 1
}

# A library that the compiler does not have comes back as its bare name.
library() { "$compiler" -print-file-name="$1"; }

command -v "$compiler" >/dev/null || stop "there is no compiler '$compiler'; name one: CXX=..."
[ -e "$(library libasan.so)" ] && [ -e "$(library libubsan.so)" ] || stop "$compiler has no libasan and libubsan: GCC brings them"

rm -rf "$there"
mkdir -p "$there/objects"
cp -r layers tests pyproject.toml "$there"
rm -f "$there"/layers/native/_core*.so
cd "$there"

echo "sanitize: building the core ($("$compiler" --version | head -n 1))"
# shellcheck disable=SC2207
flags=(-Ilayers/native/csrc -std=c++17 -O1 -g -fno-omit-frame-pointer -fno-math-errno -fPIC -fvisibility=hidden -pthread
    -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all $("$python" -m pybind11 --includes))
printf '%s\n' layers/native/csrc/*/*.cpp |
    xargs -P 2 -I {} sh -c '"$@" -c {} -o objects/$(echo {} | tr / _).o' compile "$compiler" "${flags[@]}"
"$compiler" "${flags[@]}" -shared objects/*.o -o "layers/native/_core$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')"

# Python keeps much until it ends: leaks are for the test of memory to find. Freed memory is kept aside only for a while, for the same test.
export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=8:allocator_may_return_null=1:log_path=$there/report
export UBSAN_OPTIONS=print_stacktrace=1:log_path=$there/report
export LD_PRELOAD="$(library libasan.so):$(library libstdc++.so)" OMP_NUM_THREADS=1 PYTHONPATH=$there
[ -z "${LANES:-}" ] || export CONVEX_LAYERS_LANES=$LANES

where=$("$python" -c 'from layers.native import _core; print(_core.__file__)')
[ "${where#"$there"}" != "$where" ] || stop "the tests would run on $where"
# The torch engine is the oracle of these tests, and no subject.
"$python" -m pytest --quiet -p no:cacheprovider -m "not slow" -k "not interior_point" --ignore tests/native/test_installation.py \
    tests/native tests/layers/test_{native,solver_statuses,closed_forms,gradients,conic_solutions,convex_layer_direct}.py || {
    cat report.* >&2 2>/dev/null || true
    stop "the tests did not pass on the sanitised core"
}
