#!/usr/bin/env bash
# The same on Multi30k: bash examples/multi30k/run.sh --data DIR [--target-lang fr] [--help]
# DIR holds train.en.gz, train.de.gz, val.*, test_2016_flickr.* as published. About an hour on 2 CPU cores.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" multi30k "$@"
