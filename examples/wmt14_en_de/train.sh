#!/usr/bin/env bash
# Trains with the published hyper-parameters: bash examples/wmt14_en_de/train.sh {supernet,scratch,retrain} [--gpus N] [--help]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../corpora/train.sh" wmt14_en_de "$@"
