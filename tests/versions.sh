#!/usr/bin/env bash
# Lint and tests on the other Pythons that README promises, each in an environment of its own:
#   bash tests/versions.sh [VERSION ...] [-- pytest arguments]     (default: 3.12 3.13)
# Environments are made once in .venvs/VERSION; what a version printed is in .venvs/VERSION.log.
# MOS_TORCH_INDEX_URL=URL: where to take torch from (its CPU builds, say; PyPI's brings gigabytes of CUDA).
# Exit code 1: a version failed, and the table at the end says which.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"

versions=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do versions+=("$1") && shift; done
if [ $# -gt 0 ]; then shift; fi
if [ ${#versions[@]} = 0 ]; then versions=(3.12 3.13); fi

# Prints the interpreter of a version: on PATH, or one of pyenv's.
interpreter() {
    local candidate
    for candidate in "$(command -v "python$1")" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if [ -x "$candidate" ] && "$candidate" -c '' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

mkdir -p .venvs
table=()
failed=0
for version in "${versions[@]}"; do
    environment=$root/.venvs/$version
    result=passed
    if ! python=$(interpreter "$version"); then
        result="no interpreter found"
    elif ! { [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"; }; then
        result="no environment could be made"
    else
        printf '== Python %s (log: .venvs/%s.log)\n' "$version" "$version"
        VIRTUAL_ENV=$environment bash tests/run.sh "$@" 2>&1 | tee ".venvs/$version.log"
        status=${PIPESTATUS[0]}
        summary=$(grep -E '^=* ?[0-9]+ (passed|failed|skipped|error)|^[0-9]+ (passed|failed|skipped)' ".venvs/$version.log" | tail -n 1 | tr -d '=')
        if [ "$status" != 0 ]; then result="failed (exit code $status)"; fi
        result="$result: ${summary:-$(tail -n 1 ".venvs/$version.log")}"
    fi
    case $result in passed:*) ;; *) failed=1 ;; esac
    table+=("Python $version: $result")
done
printf '\n'
printf '%s\n' "${table[@]}"
exit $failed
