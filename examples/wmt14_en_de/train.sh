#!/usr/bin/env bash
# Trains with the published hyper-parameters: bash examples/wmt14_en_de/train.sh {supernet,scratch,retrain} [--gpus N] [--help]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
source "$root/examples/bootstrap.sh"
mos_bootstrap
PYTHONPATH=$root/examples exec python -m corpora.training wmt14_en_de "$@"
