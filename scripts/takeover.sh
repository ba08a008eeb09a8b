#!/usr/bin/env bash
# Measures how soon a task runs elsewhere when its worker is killed with SIGKILL (the host lives), or is stopped with SIGSTOP.
#
#   bash scripts/takeover.sh [--binary FILE] [--kills N] [--stops N]
#
# --binary FILE  the octaskly to measure (target/release/octaskly, else target/debug/octaskly)
# --kills N      rounds with SIGKILL (20)
# --stops N      rounds with SIGSTOP (3)
#
# Counted from the signal to the first instruction of the task's next start, both by this machine's clock. Everything runs on
# loopback in a temporary folder; only processes that were started here are ended.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }
binary="" kills=20 stops=3
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "$1 needs a value" 2
  case "$1" in
    --binary) binary=$2 ;;
    --kills) kills=$2 ;;
    --stops) stops=$2 ;;
    *) fail "not understood: $1" 2 ;;
  esac
  shift 2
done
if [ -z "$binary" ]; then
  binary=target/release/octaskly
  [ -x "$binary" ] || binary=target/debug/octaskly
fi
[ -x "$binary" ] || fail "there is no $binary: build one, or name one with --binary"
binary=$(realpath "$binary")

for variable in $(compgen -e OCTASKLY_ || true); do unset "$variable"; done
work=$(mktemp -d "${TMPDIR:-/tmp}/octaskly-takeover.XXXXXX")
export OCTASKLY_HOME="$work/home"
declare -A node=()
finish() {
  status=$?
  trap - EXIT
  for name in "${!node[@]}"; do kill -CONT "${node[$name]}" 2>/dev/null || true; done
  for name in "${!node[@]}"; do kill -KILL "${node[$name]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  sleep 1
  if [ "$status" -eq 0 ]; then rm -rf "$work"; else echo "logs are in $work" >&2; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

within() { # within SECONDS WHAT COMMAND…: waits until the command succeeds
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || fail "waited too long for $what"
    sleep 0.05
  done
}
"$binary" dispatcher --bind 127.0.0.1 --port 0 --p2p-enabled false >"$work/dispatcher.log" 2>&1 &
node[dispatcher]=$!
answers() { "$binary" status >/dev/null 2>&1; }
within 20 "the dispatcher" answers
worker() {
  "$binary" worker --name "$1" --max-jobs 1 >>"$work/$1.log" 2>&1 &
  node[$1]=$!
  disown
}
idle() { "$binary" workers --json 2>/dev/null | tr -d ' \n' | grep -q "\"name\":\"$1\",[^}]*\"state\":\"idle\""; }
lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }

round() { # round SIGNAL: sets took_ms
  local starts="$work/starts" killed next
  : >"$starts"
  within 30 "worker a" idle a
  "$binary" submit -q --shell "date +%s%N >>'$starts'; exec sleep 300" >/dev/null
  within 20 "a first start" lines "$starts" 1
  worker b
  within 30 "worker b" idle b
  sleep 0.2
  killed=$(date +%s%N)
  kill "-$1" "${node[a]}"
  within 30 "a second start" lines "$starts" 2
  next=$(sed -n 2p "$starts")
  "$binary" cancel last >/dev/null
  kill -CONT "${node[a]}" 2>/dev/null || true
  kill -TERM "${node[b]}" "${node[a]}" 2>/dev/null || true
  for pid in "${node[a]}" "${node[b]}"; do
    within 30 "the end of the workers" gone "$pid"
  done
  worker a
  took_ms=$(((next - killed) / 1000000))
}
gone() { ! kill -0 "$1" 2>/dev/null; }

series() { # series SIGNAL ROUNDS
  local took=() n
  for ((n = 0; n < $2; n++)); do
    round "$1"
    took+=("$took_ms")
  done
  printf '%s\n' "${took[@]}" | sort -n | awk -v signal="$1" '
    { v[NR] = $1 }
    END { if (NR) printf "SIG%s: %d rounds, median %d ms, least %d ms, most %d ms\n", signal, NR, v[int((NR + 1) / 2)], v[1], v[NR] }'
}
worker a
series KILL "$kills"
series STOP "$stops"
