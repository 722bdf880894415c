#!/bin/sh
# Prints the path of a Python that has what requirements.txt beside this file names, and installs what is missing for it:
# Python itself with apt-get, the package with pip, into a virtual environment under the project's cache (as the control
# plane: $WINDLASS_CACHE, or $XDG_CACHE_HOME/windlass, or ~/.cache/windlass), named by what is in it. Says everything else
# on stderr; ends with failure and a sentence where it cannot.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
fail() {
    echo "the Python exporter cannot be set up: $1" >&2
    exit 1
}
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "no python3 with venv: installing python3-venv with apt-get" >&2
    [ "$(id -u)" = 0 ] && root= || root=sudo
    { $root apt-get update && $root apt-get install --yes --no-install-recommends python3-venv; } >&2 ||
        fail "apt-get cannot install python3-venv; install Python 3.9 or later with its venv module"
fi
cache=${WINDLASS_CACHE:-${XDG_CACHE_HOME:+$XDG_CACHE_HOME/windlass}}
cache=${cache:-${HOME:?is not set}/.cache/windlass}
digest=$({ cat "$here/requirements.txt"; python3 -c 'import sys; print(sys.version, sys.base_prefix)'; } | sha256sum | cut -c 1-16)
venv=$cache/python-$digest
mkdir -p "$cache"
# One at a time: tests of several workspaces may want it at once.
exec 9>"$cache/python.lock"
flock 9
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || fail "python3 -m venv $venv failed"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$here/requirements.txt" >&2 || fail "pip cannot install $here/requirements.txt"
    touch "$venv/complete"
fi
echo "$venv/bin/python"
