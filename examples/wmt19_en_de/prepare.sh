#!/usr/bin/env bash
# Downloads and prepares the data: bash examples/wmt19_en_de/prepare.sh [--limit N] [--from DIR] [--help]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" wmt19_en_de "$@"
