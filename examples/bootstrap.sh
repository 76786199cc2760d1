#!/usr/bin/env bash
# Makes (or reuses) the Python environment in which fairseq-mos, fairseq and the tests run.
#
#   source examples/bootstrap.sh && mos_bootstrap    in a bash script: installs, then puts it on PATH
#   bash examples/bootstrap.sh                       installs only and prints the environment's folder
#
# An active virtual or conda environment is used as it is: its torch and numpy stay. Otherwise the
# environment is .venv in the repository. What was installed is remembered in a stamp, so a second
# call takes well under a second, and an interrupted one goes on where it stopped.
#
#   PYTHON=python3.11          the Python that .venv is made with (3.11 to 3.13)
#   MOS_TORCH_INDEX_URL=URL    the package index to take torch from, e.g. that of its CPU builds
#
# Messages go to standard error. Exit code 2: one line says what is missing.

_MOS_BOOTSTRAP_FILE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/$(basename "${BASH_SOURCE[0]}")

mos_bootstrap() {
    local environment
    # A process of its own: neither its variables nor its traps reach the caller.
    environment=$(bash "$_MOS_BOOTSTRAP_FILE") || return $?
    export PATH="$environment/bin:$PATH"
    if [ -f "$environment/pyvenv.cfg" ]; then export VIRTUAL_ENV="$environment"; fi
    unset PYTHONHOME
    hash -r
}

if [ "${BASH_SOURCE[0]}" != "$0" ]; then return 0; fi

# ---- from here on: the process that installs ---------------------------------------------------

set -euo pipefail
root=$(dirname "$(dirname "$_MOS_BOOTSTRAP_FILE")")
own=$root/.venv
heartbeat=

say() { printf '[bootstrap] %s\n' "$*" >&2; }
fail() {
    printf 'bootstrap: error: %s\n' "$*" >&2
    exit 2
}
stop_heartbeat() {
    if [ -n "$heartbeat" ]; then kill "$heartbeat" 2>/dev/null || true; fi
    heartbeat=
}
interrupted() {
    trap - INT TERM
    say "interrupted; the next run goes on from here"
    exit 130
}
trap stop_heartbeat EXIT
trap interrupted INT TERM

# Settings that would send packages elsewhere or hide what is missing.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONNOUSERSITE=1

# Two runs at once would corrupt each other; the lock ends with the process that holds it.
if command -v flock >/dev/null; then
    exec 9<"$_MOS_BOOTSTRAP_FILE"
    if ! flock -n 9; then
        say "waiting for another bootstrap of this folder"
        flock 9
    fi
fi

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
is_supported() { case $1 in 3.11 | 3.12 | 3.13) true ;; *) false ;; esac; }
supported="Python 3.11 to 3.13 is supported"

# Sets $python, the interpreter that .venv is made with.
choose_python() {
    local candidate version
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON: no such program; $supported"
        version=$(version_of "$PYTHON") || fail "PYTHON=$PYTHON does not run as a Python; $supported"
        is_supported "$version" || fail "PYTHON=$PYTHON is Python $version; $supported"
        python=$PYTHON
        return
    fi
    for candidate in python3 python3.11 python3.12 python3.13; do
        if version=$(version_of "$candidate") && is_supported "$version"; then
            python=$candidate && return
        fi
    done
    version=$(version_of python3) || fail "no python3 found; $supported: install one or set PYTHON=/path/to/python"
    fail "python3 is Python $version; $supported: set PYTHON=/path/to/python"
}

# What the environment in $1 should be and is: prints "ready" or the stamp to write at the end.
# A moved checkout, another Python, a changed pin or a removed package all give "not ready".
stamp_code='
import hashlib, importlib.metadata as metadata, pathlib, sys
root, environment = map(pathlib.Path, sys.argv[1:])
digest = hashlib.sha256(f"{sys.version}\n{root}\n{environment}\n".encode())
for name in ("setup.py", "constraints.txt", "pyproject.toml", "examples/bootstrap.sh"):
    digest.update(f"{name}\n".encode() + (root / name).read_bytes())
stamp = digest.hexdigest()
try:
    same = (environment / ".fairseq-mos-stamp").read_text().strip() == stamp
    for name in ("torch", "fairseq-fixed", "fairseq-mos"):
        metadata.version(name)
except (OSError, metadata.PackageNotFoundError):
    same = False
print("ready" if same else stamp)
'

# The constraints for an environment that is not ours: its torch and numpy stay as they are.
# Complains about what cannot work there.
constraints_code='
import importlib.metadata as metadata, re, sys
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
if version("fairseq"):
    sys.exit("it holds the package fairseq, whose files fairseq-fixed would overwrite")
torch = version("torch")
if torch and tuple(map(int, torch.split(".")[:2])) < (2, 5):
    sys.exit(f"its torch {torch} is too old (2.5 or later is needed)")
keep = {name: version(name) for name in ("torch", "torchaudio", "numpy") if version(name)}
for line in open(sys.argv[1], encoding="utf-8"):
    if re.split(r"[=<>; ]", line.strip())[0] not in keep:
        print(line, end="")
for item in keep.items():
    print("%s==%s" % item)
'

# Runs pip; its output goes to the log, a line every 20 seconds to the terminal.
# Arguments: what is being done, then pip's arguments.
pip_step() {
    local what=$1 begin=$SECONDS status=0
    shift
    say "$what ..."
    printf '\n== %s\n' "$what" >>"$log"
    (
        while sleep 20 >/dev/null 2>&1 9<&- && kill -0 $$ 2>/dev/null; do
            say "    $((SECONDS - begin)) s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-70)"
        done
    ) 9<&- >/dev/null &
    heartbeat=$!
    (cd "$root" && "$environment/bin/python" -m pip "$@") >>"$log" 2>&1 || status=$?
    stop_heartbeat
    if [ "$status" != 0 ]; then explain_failure "$what"; fi
    say "    done in $((SECONDS - begin)) s"
}

# Ends with one line about the last step in the log; the cause first, where it is a known one.
explain_failure() {
    local last
    last=$(awk '/^== /{text=""} {text=text $0 "\n"} END{printf "%s", text}' "$log")
    # Not grep -q: closing the pipe early would count as a failure of the pipe.
    says() { printf '%s' "$last" | grep -E "$1" >/dev/null; }
    if says 'No space left on device'; then
        fail "the disk is full ($1); log: $log"
    elif says 'Python\.h: No such file'; then
        fail "the header files of Python are missing (apt-get install python3-dev); log: $log"
    elif says 'NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|Network is unreachable' \
        && says 'No matching distribution|Could not find a version|Max retries|Could not install|ResolutionImpossible'; then
        fail "no connection to the package index ($1): check the network or the proxy, then run again; log: $log"
    elif [ -n "$active" ] && says 'ResolutionImpossible'; then
        fail "packages of the active environment contradict what is needed: deactivate it or use another; log: $log"
    fi
    printf '%s\n' "$last" | tail -n 15 >&2
    fail "$1 failed; log: $log"
}

# Fairseq compiles C++ unless it is there already or comes as a wheel (3.12 on Linux x86_64).
check_compiler() {
    local version cc include
    version=$(version_of "$environment/bin/python")
    if [ "$version $(uname -sm)" = "3.12 Linux x86_64" ]; then return; fi
    "$environment/bin/python" -c 'import importlib.metadata as m; m.version("fairseq-fixed")' 2>/dev/null && return
    command -v "${CXX:-c++}" >/dev/null \
        || fail "no C++ compiler (${CXX:-c++}), which fairseq needs: apt-get install g++ (macOS: xcode-select --install)"
    cc=$("$environment/bin/python" -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')
    if [ -z "${CC:-}" ] && ! command -v "$cc" >/dev/null; then export CC=cc; fi
    command -v "${CC:-$cc}" >/dev/null \
        || fail "no C compiler (${CC:-$cc}), which fairseq needs: apt-get install g++ (macOS: xcode-select --install)"
    include=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    [ -f "$include/Python.h" ] \
        || fail "no header files for Python $version ($include/Python.h), which fairseq needs: apt-get install python$version-dev"
}

# A folder that an interrupted `python -m venv` or a moved checkout left behind is not usable.
usable() {
    [ -x "$own/bin/python" ] && "$own/bin/python" -m pip --version >/dev/null 2>&1 \
        && grep -qF "$own" "$own/bin/activate" && is_supported "$(version_of "$own/bin/python")"
}

prepare_own() {
    environment=$own
    if [ -n "${PYTHON:-}" ]; then
        choose_python
        if usable && [ "$(version_of "$own/bin/python")" != "$(version_of "$python")" ]; then
            say "$own has Python $(version_of "$own/bin/python"), PYTHON=$PYTHON is another: making it anew"
            rm -rf "$own"
        fi
    fi
    if [ -x "$own/bin/python" ] && [ "$(stamp_of)" = ready ]; then return; fi
    if usable; then return; fi
    choose_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null \
        || fail "$python cannot make virtual environments (no venv or ensurepip): apt-get install python$(version_of "$python")-venv, or set PYTHON"
    if [ -e "$own" ]; then say "$own is incomplete: making it anew"; fi
    rm -rf "$own"
    say "making $own with Python $(version_of "$python")"
    "$python" -m venv "$own" >&2 || fail "cannot make $own with $python"
}

prepare_active() {
    environment=$1
    [ -x "$environment/bin/python" ] || fail "the active environment $1 has no bin/python: deactivate it or make it anew"
    local version
    version=$(version_of "$environment/bin/python") || fail "the Python of the active environment $1 does not run"
    is_supported "$version" || fail "the active environment $1 has Python $version; $supported: deactivate it"
}

stamp_of() { "$environment/bin/python" -I -c "$stamp_code" "$root" "$environment" 2>/dev/null || echo broken; }

is_own() { [ "$1" -ef "$own" ] || [ "$1" = "$own" ]; }

active=${VIRTUAL_ENV:-}
# Conda's base is active in every shell of many users and not meant to be installed into.
if [ -z "$active" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then active=${CONDA_PREFIX:-}; fi
if [ -z "$active" ] || is_own "$active"; then
    active=
    prepare_own
else
    prepare_active "$active"
fi

stamp=$(stamp_of)
if [ "$stamp" = ready ]; then
    say "using $environment"
    printf '%s\n' "$environment"
    exit 0
fi
[ "$stamp" != broken ] || fail "the Python in $environment does not work: remove that folder and run again"

begin_all=$SECONDS
[ -w "$environment" ] || fail "no permission to write to $environment"
"$environment/bin/python" -m pip --version >/dev/null 2>&1 \
    || fail "the environment $environment has no pip: run 'python -m ensurepip' in it, or deactivate it"
say "installing into $environment, once; this takes some minutes"
rm -f "$environment/.fairseq-mos-stamp"
log=$environment/bootstrap.log
: >"$log"
constraints=$root/constraints.txt
if [ -n "$active" ]; then
    constraints=$environment/bootstrap-constraints.txt
    reason=$("$environment/bin/python" -I -c "$constraints_code" "$root/constraints.txt" 2>&1 >"$constraints") \
        || fail "cannot use the active environment $environment: $reason; deactivate it or use another"
fi

check_compiler

# Fairseq's build imports torch, numpy and cython; in an isolated build pip would fetch a second torch.
if [ -n "${MOS_TORCH_INDEX_URL:-}" ]; then
    pip_step "1/3 torch from MOS_TORCH_INDEX_URL" install --index-url "$MOS_TORCH_INDEX_URL" -c "$constraints" torch
fi
pip_step "1/3 torch and build tools" install -c "$constraints" torch numpy cython setuptools wheel
# With CUDA_HOME set, fairseq would also compile CUDA kernels that this project does not use.
unset CUDA_HOME
pip_step "2/3 fairseq-fixed (compiled here; the longest step)" \
    install --no-build-isolation -c "$constraints" fairseq-fixed
pip_step "3/3 fairseq-mos and the tools of its tests and examples" \
    install --no-build-isolation -c "$constraints" -e '.[dev]'

"$environment/bin/python" -c 'import fairseq, torch' >>"$log" 2>&1 \
    || fail "everything is installed, but fairseq cannot be imported; log: $log"
printf '%s\n' "$stamp" >"$environment/.fairseq-mos-stamp.new"
mv "$environment/.fairseq-mos-stamp.new" "$environment/.fairseq-mos-stamp"
say "ready after $((SECONDS - begin_all)) s"
printf '%s\n' "$environment"
