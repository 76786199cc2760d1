#!/usr/bin/env bash
# Makes the tables of docs/performance.md anew: bash examples/benchmark/run.sh [--threads N] [--device cuda] [--output DIR]
# JSON and Markdown of each question are in DIR (examples/benchmark/results). About two hours on a free core.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
output=$root/examples/benchmark/results threads=1 device=cpu

usage() { sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; }
fail() {
    printf 'run.sh: error: %s\n' "$*" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --threads | --device | --output) [ $# -gt 1 ] || fail "$1 needs a value" ;;&
        --threads) threads=$2 ;;
        --device) device=$2 ;;
        --output) output=$2 ;;
        *) fail "unknown argument $1; allowed: --threads, --device, --output" ;;
    esac
    shift 2
done
[[ $threads =~ ^[1-9][0-9]*$ ]] || fail "--threads $threads: expected a whole number from 1"
[[ $device = cpu || $device = cuda ]] || fail "--device $device: expected cpu or cuda"

source "$root/examples/bootstrap.sh"
mos_bootstrap
export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
cd "$root/examples/benchmark"

of_device=()
[ "$device" = cpu ] || of_device=(--fused --dtype bfloat16)
step() { python train_step.py --threads "$threads" --device "$device" "${of_device[@]}" --output "$output" "$@"; }
for subnet in largest smallest; do
    step --setting wmt --tokens 480 --subnet "$subnet"
    step --setting small --tokens 3000 --subnet "$subnet"
done
step --setting small --tokens 3000 --subnet sandwich
step --setting wmt --tokens 480 --subnet sandwich --contestants "neuron, all" low-rank
for experts in 4 6; do
    step --setting small --tokens 3000 --subnet sandwich --contestants layer neuron --num-experts "$experts"
done
python generation.py --threads "$threads" --device "$device" --output "$output"
[ "$device" = cpu ] || exit 0
python memory.py --setting wmt --tokens 3000 --output "$output"
for routing in shared neuron; do
    python search_speed.py --routing "$routing" --generation 3 --candidates 30 --threads "$threads" --output "$output"
done
python activate.py --search-space wmt --threads "$threads" --output "$output"
python startup.py --output "$output"
python scaling.py --output "$output"
