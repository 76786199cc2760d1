#!/usr/bin/env bash
# Trains with the published hyper-parameters: bash examples/iwslt14_de_en/train.sh {supernet,scratch,retrain} [--gpus N] [--help]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../corpora/train.sh" iwslt14_de_en "$@"
