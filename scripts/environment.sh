#!/bin/sh
# Install what a requirements file pins into the virtual environment.
#   sh scripts/environment.sh requirements/runtime.txt
# Does nothing when it is installed: the environment has a copy of each installed requirements file.
# The project's own packages are installed too, in editable form, so that `python -m loader` runs from
# any folder. Superset's, Airflow's and Dagster's environments do not need them.
# VENV (default .venv) is the environment, PYTHON the interpreter that makes it (default: the newest
# of 3.11 to 3.13).
set -eu

requirements=$1
venv=${VENV:-.venv}
installed=$venv/installed/$requirements
project=$venv/installed/project # the folder of the project whose packages are installed

fail() {
    echo "$1" >&2
    exit 1
}

is_right() {
    cmp -s "$requirements" "$installed" && has_project && "$venv/bin/python" -c '' 2>/dev/null
}

has_project() {
    case $requirements in
        */superset.txt | */airflow.txt | */dagster.txt) return 0 ;;
    esac
    [ -f "$project" ] && [ -f "$(cat "$project")/loader/__main__.py" ]
}

find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
            continue
        case $found in
            3.11 | 3.12 | 3.13) ;;
            *) other="$candidate is Python $found" && continue ;;
        esac
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
        other="$candidate has no venv module (on Debian: apt-get install python$found-venv)"
    done
    fail "Python 3.11, 3.12 or 3.13 is needed${PYTHON:+ (looked for: $PYTHON)}${other:+, but $other}."
}

install_packages() {
    echo "Installing $(grep -c '==' "$requirements") pinned packages into $venv ..."
    # The file names every package, so pip resolves nothing. With hashes pip cannot resolve: it fails
    # where one package requires another with extras and a third requires it without.
    if ! "$venv/bin/python" -m pip install --no-input --disable-pip-version-check \
        --require-hashes --no-deps --requirement "$requirements" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "The packages of $requirements could not be installed; see pip's message above (all of it: $log)."
    fi
}

is_right && exit 0

# One at a time: a second make waits for the first and then has nothing to do.
exec 9<"$requirements"
if command -v flock >/dev/null; then flock 9; fi
is_right && exit 0

# A half-made environment has no working pip: start again.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        fail "$venv exists but is not a virtual environment. Move it, or set VENV to another path."
    fi
    python=$(find_python)
    "$python" -m venv --clear "$venv" || fail "$python could not make a virtual environment in $venv."
fi

log=$venv/pip.log
if ! cmp -s "$requirements" "$installed"; then
    rm -f "$installed"
    install_packages
    mkdir -p "${installed%/*}"
    cp "$requirements" "$installed"
fi
if ! has_project; then
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --no-deps \
        --no-build-isolation --no-index --editable . >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "The project's own packages could not be installed; see pip's message above."
    }
    pwd >"$project"
fi
