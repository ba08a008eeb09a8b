#!/usr/bin/env bash
# The real binaries on a LAN of namespaces (a dispatcher and four workers), through random kills, stops, pauses, cuts and full
# disks, and then a look at what became of every task. Prints its seed and a table; fails on any loss, any forbidden
# repeat, any overlap of --exclusive attempts, any process left, and on nodes that grow.
#
#   bash scripts/chaos.sh [--seconds N] [--seed S] [--release]
#
# --seconds N  of trouble (600); what is under way then is waited for
# --seed S     what goes wrong when (drawn, and printed)
# --release    with the release profile, which takes minutes to build
#
# Needs Linux, iproute2, util-linux and root (or user namespaces): see scripts/lan.sh. Only processes of its own are ended.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }
seconds=600 seed="" profile=()
while [ $# -gt 0 ]; do
  case "$1" in
    --release) profile=(--release) ;;
    --seconds | --seed)
      [ $# -ge 2 ] && [[ $2 =~ ^[0-9]{1,18}$ ]] || fail "$1 needs a whole number" 2
      if [ "$1" = --seconds ]; then seconds=$2; else seed=$2; fi
      shift ;;
    -h | --help) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    *) fail "not understood: $1" 2 ;;
  esac
  shift
done
export OCTASKLY_CHAOS_SECONDS=$seconds
if [ -n "$seed" ]; then export OCTASKLY_CHAOS_SEED=$seed; else unset OCTASKLY_CHAOS_SEED; fi
exec cargo test "${profile[@]}" --test chaos -- --nocapture
