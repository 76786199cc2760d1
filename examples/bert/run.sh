#!/usr/bin/env bash
# A supernet of masked language models, searched by size: bash examples/bert/run.sh [--text DIR] [--help]
# A killed or interrupted run goes on with the same command; the results are in examples/bert/work/.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" bert "$@"
