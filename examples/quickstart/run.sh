#!/usr/bin/env bash
# The whole idea in minutes: bash examples/quickstart/run.sh [--target-lang fr] [--corpus DIR] [--help]
# The environment is made on the first run; the results are in examples/quickstart/work/.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" quickstart "$@"
