#!/usr/bin/env bash
# Downloads and prepares the data: bash examples/iwslt14_de_en/prepare.sh [--limit N] [--from DIR] [--help]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" iwslt14_de_en "$@"
