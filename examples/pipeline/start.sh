#!/usr/bin/env bash
# Starts an example: bash examples/pipeline/start.sh NAME FLAGS...   (called by examples/NAME/run.sh or prepare.sh)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

module=pipeline
case ${1:-} in
    wmt* | iwslt*) module=corpora ;;
    reproduce | bert | glue) module=$1 ;;
esac

# Wrong flags should show, and --help should answer, before anything is installed.
if python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    PYTHONPATH=$root/examples python3 -B -m $module.arguments "$@" || exit $?
    for word in "$@"; do
        case $word in -h | --help) exit 0 ;; esac
    done
fi

source "$root/examples/bootstrap.sh"
mos_bootstrap

# Left by a launcher around this script, these would make fairseq believe that it is one rank of many.
unset WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT
PYTHONPATH=$root/examples exec python -m $module "$@"
