#!/usr/bin/env bash
# How far inherited weights are from training from scratch: bash examples/reproduce/run.sh PLAN.yaml [--dry-run] [--help]
# A killed or interrupted run goes on with the same command; what is finished is never done again.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" reproduce "$@"
