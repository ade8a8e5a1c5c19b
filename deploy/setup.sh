# Sourced by the scripts in this folder: makes .venv from the locked requirements, once, and again when they change.
# Needs Python 3.11 or newer (PYTHON names one) and a package index as pip is configured; nothing else.

root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python $0"
}

# prepare LOCK: afterwards $root/.venv has the packages of the lock and this project.
prepare() {
    lock=$root/deploy/$1
    venv=$root/.venv
    stamp=$venv/.prepared-$1
    want=$(cksum <"$lock")$(cksum <"$root/pyproject.toml")$(cat "$root"/schemas/*.pyx "$root"/schemas/*.pxi "$root"/streams/domain/*.pyx "$root"/streams/domain/*.pxi "$root/deploy/extensions.py" | cksum)
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python) || exit 2
        [ -t 2 ] && echo "Setting up $venv ..." >&2
        "$python" -m venv "$venv" || fail "cannot create $venv; on Debian install python3-venv"
    fi
    [ -t 2 ] && echo "Installing the locked packages ..." >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$lock" ||
        fail "the packages could not be installed (see above); is the package index reachable?"
    compiler=$(mktemp -d)
    fetch_compiler "$compiler"
    PYTHONPATH=$compiler "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
        --no-build-isolation --editable "$root" || fail "the project could not be installed (see above)"
    rm -rf "$compiler"
    if [ -s "$root/build/extensions.log" ]; then
        echo "$(basename "$0"): the hot path is not compiled and runs in Python, slower: $(cat "$root/build/extensions.log")" >&2
    fi
    echo "$want" >"$stamp"
}

# fetch_compiler FOLDER: afterwards there is a C compiler in it, where the machine has none and the hot path can be compiled.
fetch_compiler() {
    if [ -n "${CC:-}" ] || command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null ||
        ! "$venv/bin/python" -c 'import sysconfig; open(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null; then
        return 0
    fi
    [ -t 2 ] && echo "Fetching a C compiler ..." >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes \
        --target "$1" -r "$root/deploy/requirements-compiler.lock" || :
}

# prepare_browser: afterwards there is a Chromium and a font with Chinese for the tests of the pages, where root may
# install Debian packages. Elsewhere those tests are skipped and say why; with CI=true they fail.
prepare_browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null 2>&1 && return
    done
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        return
    fi
    [ -t 2 ] && echo "Installing Chromium for the tests of the pages ..." >&2
    log=$(mktemp)
    if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        chromium fonts-noto-cjk; } >"$log" 2>&1 </dev/null; then
        tail -n 3 "$log" >&2
        echo "$(basename "$0"): Chromium could not be installed (see above); the tests of the pages are skipped" >&2
    fi
    rm -f "$log"
}
