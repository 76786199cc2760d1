#!/usr/bin/env bash
# Trains: bash examples/corpora/train.sh NAME STAGE FLAGS...   (called by examples/NAME/train.sh)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Wrong flags should show, and --help should answer, before anything is installed.
if python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    PYTHONPATH=$root/examples python3 -B -m corpora.training --check "$@" || exit $?
    for word in "$@"; do
        case $word in
            -h | --help) exit 0 ;;
            --) break ;;
        esac
    done
fi

source "$root/examples/bootstrap.sh"
mos_bootstrap
PYTHONPATH=$root/examples exec python -m corpora.training "$@"
