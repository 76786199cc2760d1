#!/usr/bin/env bash
# Fine-tuning on GLUE: bash examples/glue/run.sh prepare|finetune|table FLAGS... [--help]
# A killed or interrupted run goes on with the same command; what is finished is never done again.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../pipeline/start.sh" glue "$@"
