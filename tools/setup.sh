#!/usr/bin/env bash
# Bring an interpreter to the pinned versions: `tools/setup.sh PYTHON PIN...`, called by `make setup`.
# With SETUP_ASKS, the name of an environment that was found activated, nothing is installed into one that is not of these
# versions before somebody has agreed.
# PIN... are the packages that are installed without the dependencies they declare.
# PYTHON = .venv/bin/python is made when it is missing; any other interpreter is taken as it is.
# Running it again costs a check of versions; after an interruption .venv is made afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
alone=("$@")
unfinished=.venv/.unfinished

stop() {
    echo "setup: $*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_base() {
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    stop "no Python >= 3.11 on the path (python3 is $(python3 --version 2>&1 || true));" \
        "install one, or name one: make setup PYTHON=/path/to/python"
}

make_venv() {
    local base
    base=$(find_base)
    echo "setup: making .venv with $("$base" --version)"
    "$base" -m venv --clear .venv || stop "'$base -m venv .venv' failed (see above);" \
        "on Debian and Ubuntu the package python3-venv brings what it needs"
    touch "$unfinished"
}

agreed() {
    local answer=no
    if [ -z "${SETUP_ASKS-}" ] || "$python" tools/pins.py --lock >/dev/null; then
        return
    fi
    echo "setup: the activated environment $SETUP_ASKS is not one of environment.yml: it lacks, or has at other versions," \
        "$("$python" tools/pins.py --lock | wc -l) of the packages of requirements.lock."
    if [ -t 0 ]; then
        read -r -p "setup: install them into $SETUP_ASKS? [y/N] " answer
    fi
    [[ $answer =~ ^[Yy] ]] || stop "nothing was installed into $SETUP_ASKS. Deactivate it, and make sets up .venv here;" \
        "or name it, and it is brought to these versions: make setup PYTHON=$python"
}

install() {
    echo "setup: installing the versions of requirements.lock (minutes, most of them for torch)"
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
    # qpth 0.0.18 declares numpy<2, which clashes with the numpy that cvxpy >= 1.8 needs; it works with numpy 2 all
    # the same. skfolio is wanted for a file of prices alone; it declares cvxpy-base, which would overwrite files of
    # cvxpy, and packages for learning and plotting that the file does not need. So both go in without what they
    # declare; what of it they need is in the lock.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "${alone[@]}"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

if [ "$python" = .venv/bin/python ]; then
    if [ -e "$unfinished" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        make_venv
    fi
elif ! command -v "$python" >/dev/null; then
    stop "there is no interpreter '$python'"
fi
new_enough "$python" || stop "Python >= 3.11 is needed, '$python' is $("$python" --version 2>&1)"

if ! "$python" tools/pins.py "${alone[@]}" >/dev/null; then
    agreed
    install
    "$python" tools/pins.py "${alone[@]}" || stop "these packages do not stand at their pinned versions"
fi

# The C++ core of the native engine is built again when a source is newer than it. Without a compiler there is none, and
# the layer takes its torch engine.
core="layers/native/_core$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')"
if [ ! -e "$core" ] || [ -n "$(find layers/native/csrc setup.py -newer "$core")" ]; then
    echo "setup: building the C++ core of the native engine"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    [ -e "$core" ] || echo "setup: no C++17 compiler was found (on Debian and Ubuntu the package g++ is one): the torch engine" \
        "takes the place of the native one, and \`make setup\` builds it once there is a compiler"
fi
rm -f "$unfinished"
