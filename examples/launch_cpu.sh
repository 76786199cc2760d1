#!/usr/bin/env bash
# Trains on CPU with several processes (ranks) of this machine, over gloo.
#
#   bash examples/launch_cpu.sh N fairseq-train DATA --user-dir fairseq_mos ARGS...
#
# Each rank is one process of fairseq's own command; the flags that tie them together are added here, and
# so is --cpu. fairseq alone would start no process on CPU, and a plain torchrun would start N runs that
# know nothing of each other. What you see is rank 0's progress and the errors of all ranks. When a rank
# fails the others are stopped; the exit code is 2 for a mistake in the arguments or files, and otherwise
# that of the first rank that failed. OMP_NUM_THREADS defaults to an equal share of the cores.
set -u

usage() {
    echo "usage: bash examples/launch_cpu.sh N fairseq-train ARGS...   (N = number of processes, 1 or more)" >&2
    [ $# -eq 0 ] || echo "launch_cpu.sh: error: $1" >&2
    exit 2
}

[ $# -ge 2 ] || usage "expected a number of processes and a command"
[[ $1 =~ ^[1-9][0-9]*$ ]] || usage "the number of processes is '$1', but must be a whole number of 1 or more"
ranks=$1
shift
command -v -- "$1" >/dev/null || usage "command not found: $1 (is the virtual environment active?)"

hydra=no
backend=yes
for word in "$@"; do
    case $word in
        *fairseq-hydra-train | fairseq_cli.hydra_train) hydra=yes ;;
        --ddp-backend | --ddp-backend=* | distributed_training.ddp_backend=*) backend=no ;;
        --distributed-* | distributed_training.distributed_*) usage "$word is set by this script" ;;
    esac
done

cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
share=$((cores / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 0 ? share : 1))}
# The ranks are on one machine: they need not find each other through its name.
if [ -z "${GLOO_SOCKET_IFNAME:-}" ]; then
    for name in lo lo0; do
        if [ -e "/sys/class/net/$name" ] || ifconfig "$name" >/dev/null 2>&1; then
            export GLOO_SOCKET_IFNAME=$name
            break
        fi
    done
fi
# Traces of another launcher would make fairseq believe in ranks that are not ours.
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT

# The ranks meet in a file of their own: unlike a port, nobody else can take it in between.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/launch_cpu.XXXXXX") || exit 1
pids=()

stop_all() { # SIGNAL
    local pid
    for pid in ${pids[@]+"${pids[@]}"}; do
        [ -z "$pid" ] || kill -s "$1" "$pid" 2>/dev/null
    done
}
interrupted() { # EXIT_CODE
    trap '' INT TERM
    stop_all TERM
    wait
    exit "$1"
}
trap 'rm -rf "$scratch"' EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM

# Where the system can, the ranks end with this script even when it is killed outright.
attached=()
if setpriv --pdeathsig KILL true 2>/dev/null; then attached=(setpriv --pdeathsig KILL); fi

for ((rank = 0; rank < ranks; rank++)); do
    if [ $hydra = yes ]; then
        flags=(common.cpu=true)
        [ $backend = no ] || flags+=(distributed_training.ddp_backend=legacy_ddp)
        prefix=distributed_training.distributed_
        flags+=("${prefix}world_size=$ranks" "${prefix}rank=$rank" "${prefix}backend=gloo"
            "${prefix}init_method=file://$scratch/meeting" "${prefix}no_spawn=true")
    else
        flags=(--cpu)
        [ $backend = no ] || flags+=(--ddp-backend legacy_ddp)
        flags+=(--distributed-world-size "$ranks" --distributed-rank "$rank" --distributed-backend gloo
            --distributed-init-method "file://$scratch/meeting" --distributed-no-spawn)
    fi
    if [ "$rank" -eq 0 ]; then
        ${attached[@]+"${attached[@]}"} "$@" "${flags[@]}" &
    else
        ${attached[@]+"${attached[@]}"} "$@" "${flags[@]}" >"$scratch/rank$rank.log" &
    fi
    pids+=($!)
done

# Collect the ranks as they end. After the first failure the others get a moment to fail by themselves
# (they lose the connection), then they are stopped. A user's mistake on any rank (2) explains the rest.
code=0
failed=no
ticks=0
while :; do
    running=no
    for ((rank = 0; rank < ranks; rank++)); do
        pid=${pids[rank]}
        [ -n "$pid" ] || continue
        if kill -0 "$pid" 2>/dev/null; then
            running=yes
            continue
        fi
        wait "$pid"
        status=$?
        pids[rank]=
        if [ "$status" -ne 0 ]; then
            failed=yes
            if [ "$code" -eq 0 ] || [ "$status" -eq 2 ]; then code=$status; fi
        fi
    done
    [ $running = yes ] || break
    if [ $failed = yes ]; then
        ticks=$((ticks + 1))
        [ $ticks -ne 15 ] || stop_all TERM
        [ $ticks -ne 60 ] || stop_all KILL
    fi
    sleep 0.2
done
if [ $failed = yes ]; then
    for ((rank = 1; rank < ranks; rank++)); do
        grep ' | ERROR | ' "$scratch/rank$rank.log" 2>/dev/null | tail -n 5 | sed "s/^/rank $rank: /" >&2
    done
    echo "launch_cpu.sh: training failed on at least one of $ranks processes (exit code $code)" >&2
fi
exit "$code"
