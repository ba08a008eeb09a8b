#!/usr/bin/env bash
# Measures this machine and rewrites the measured parts of docs/BENCHMARKS.md: what stands there between two marks
# `<!-- measured: NAME -->` and `<!-- end -->`. Everything else in that file is written by hand and stays.
#
#   bash scripts/bench.sh [--binary FILE] [--without-cargo] [--out FILE] [--tasks N] [--rounds N] [--seconds N]
#
# --binary FILE    the octaskly to measure, instead of building one (release profile)
# --without-cargo  skip `cargo bench`, which builds and runs for several minutes
# --out FILE       a copy of the document to rewrite instead of docs/BENCHMARKS.md
#
# Other programs are measured when they are there; when one is missing the document says so. Nothing is installed, no
# port beyond loopback is used, and all state lives in a temporary folder.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '5s/^# \{0,3\}//p' "$0"; }
fail() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }
say() { printf '%s\n' "$*" >&2; }

binary="" cargo=true out=$root/docs/BENCHMARKS.md tasks=2000 rounds=5 seconds=10
while [ $# -gt 0 ]; do
  case "$1" in
    --without-cargo) cargo=false ;;
    --binary | --out | --tasks | --rounds | --seconds)
      [ $# -ge 2 ] && [ -n "$2" ] || { usage >&2; fail "$1 needs a value" 2; }
      case "$1" in
        --binary) binary=$2 ;;
        --out) out=$2 ;;
        *) [[ $2 =~ ^[1-9][0-9]{0,6}$ ]] || fail "$1 needs a whole number" 2 ;;&
        --tasks) tasks=$2 ;;
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
      esac
      shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "not understood: $1" 2 ;;
  esac
  shift
done
[ -f "$out" ] || fail "there is no $out to rewrite"
[ "$cargo" = false ] && [ -n "$binary" ] || command -v cargo >/dev/null || fail "cargo is missing; measure a finished program with --binary FILE --without-cargo"

work=$(mktemp -d)
nodes=()
finish() {
  for node in "${nodes[@]}"; do kill "$node" 2>/dev/null && wait "$node" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT
if [ -z "$binary" ]; then
  say "building"
  (cd "$root" && cargo build --locked --release) || fail "the build failed"
  binary=${CARGO_TARGET_DIR:-$root/target}/release/octaskly
fi
[ -x "$binary" ] || fail "there is no program at $binary"
binary=$(realpath "$binary")
# Nothing of the caller's cluster, and nothing of these runs in his home.
unset "${!OCTASKLY_@}"
export OCTASKLY_HOME=$work/home TMPDIR=$work

now() { date +%s%N; }
# Median, least and greatest of the numbers on stdin.
spread() { sort -n | awk '{ a[NR] = $1 } END { m = NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2; printf "%s %s %s", m, a[1], a[NR] }'; }
# Writes FILE's text between the marks of NAME.
put() { # NAME FILE
  grep -qxF "<!-- measured: $1 -->" "$out" || fail "$out has no mark <!-- measured: $1 -->"
  awk -v open="<!-- measured: $1 -->" -v from="$2" '
    $0 == open { print; while ((getline line < from) > 0) print line; skipping = 1; next }
    skipping && $0 == "<!-- end -->" { skipping = 0 }
    !skipping { print }' "$out" >"$work/document"
  cat "$work/document" >"$out"
}

machine() {
  local model memory
  model=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -1)
  memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo 2>/dev/null)
  printf '%s, %s: %s processors (%s), %s, %s %s; ' "$(date -u +%F)" "$(uname -m)" "$(getconf _NPROCESSORS_ONLN)" \
    "${model:-unknown}" "${memory:-unknown memory}" "$(uname -s)" "$(uname -r)"
  printf '%s, release profile' "$("$binary" --version)"
  if command -v rustc >/dev/null; then printf ', %s' "$(rustc --version | cut -d' ' -f1-2)"; fi
  printf '; load average at the start %s.\n' "$(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || echo unknown)"
}

bench_commands() {
  local what
  for what in throughput latency transfer; do
    say "octaskly bench $what"
    printf '`octaskly bench %s --rounds %s --seconds %s`\n\n```text\n' "$what" "$rounds" "$seconds"
    "$binary" -q bench "$what" --rounds "$rounds" --seconds "$seconds" "$@" || fail "octaskly bench $what failed"
    printf '```\n\n'
  done
}

# A dispatcher and a worker of four slots, with their own home.
cluster_start() {
  local port
  port=$((20000 + RANDOM % 20000))
  "$binary" dispatcher --bind 127.0.0.1 --port "$port" --discovery-port "$((port + 1))" >"$work/dispatcher.log" 2>&1 &
  nodes+=($!)
  for _ in $(seq 100); do grep -q 'Dispatcher listening' "$work/dispatcher.log" && break; sleep 0.1; done
  grep -q 'Dispatcher listening' "$work/dispatcher.log" || fail "the dispatcher did not start: $(tail -1 "$work/dispatcher.log")"
  "$binary" worker --name bench --dispatcher 127.0.0.1 --port "$port" --discovery-port "$((port + 1))" --max-jobs 4 >"$work/worker.log" 2>&1 &
  nodes+=($!)
  for _ in $(seq 100); do "$binary" -q workers 2>/dev/null | grep -q idle && return; sleep 0.1; done
  fail "the worker did not join: $(tail -1 "$work/worker.log")"
}

by_octaskly() { "$binary" -q submit --wait --array "1-$1" -- true >/dev/null; }
by_run() { seq "$1" | "$binary" -q run --each-line - -- true >/dev/null; }
by_xargs() { seq "$1" | xargs -P 4 -n 1 true; }
by_parallel() { seq "$1" | parallel --will-cite -j 4 true; }
by_hq() {
  if [ ! -d "$work/hq" ]; then
    hq --server-dir "$work/hq" server start >"$work/hq.log" 2>&1 & nodes+=($!)
    for _ in $(seq 100); do hq --server-dir "$work/hq" server info >/dev/null 2>&1 && break; sleep 0.1; done
    hq --server-dir "$work/hq" worker start --cpus 4 >"$work/hq-worker.log" 2>&1 & nodes+=($!)
  fi
  hq --server-dir "$work/hq" submit --wait --array "1-$1" --stdout none --stderr none true >/dev/null
}

# Runs each of the programs once a round, in turns.
side_by_side() {
  local names=(octaskly run xargs parallel hq) name i begun count
  local -A title=([octaskly]='`octaskly submit --wait --array 1-N -- true`, a dispatcher and a worker of 4 slots' \
    [run]='`octaskly run --each-line - -- true`, the same two' [xargs]='`xargs -P 4 -n 1 true`' \
    [parallel]='`parallel -j 4 true`' [hq]='`hq submit --wait --array 1-N true`, a server and a worker of 4')
  local there=() missing=()
  for name in "${names[@]}"; do
    case "$name" in
      octaskly | run) there+=("$name") ;;
      *) if command -v "$name" >/dev/null; then there+=("$name"); else missing+=("$name"); fi ;;
    esac
  done
  cluster_start
  for name in "${there[@]}"; do "by_$name" 20 || fail "$name failed; the logs were in $work"; done
  for i in $(seq "$rounds"); do
    for name in "${there[@]}"; do
      # GNU parallel starts a shell for each task and would hold up all the others.
      count=$tasks; [ "$name" != parallel ] || count=$(((tasks + 3) / 4))
      say "round $i: $name"
      begun=$(now)
      "by_$name" "$count" || fail "$name failed"
      awk -v n="$count" -v ns="$(($(now) - begun))" 'BEGIN { printf "%.0f\n", n * 1e9 / ns }' >>"$work/of-$name"
    done
  done
  local bare median least most
  read -r bare _ _ <<<"$(spread <"$work/of-xargs" 2>/dev/null || echo 0 0 0)"
  printf '%s tasks a round (`parallel` a quarter of them), %s rounds in turns, from the start of the command to its end.\n\n' "$tasks" "$rounds"
  printf '| what | tasks a second, median | least to most | against `xargs` |\n|---|---|---|---|\n'
  for name in "${there[@]}"; do
    read -r median least most <<<"$(spread <"$work/of-$name")"
    printf '| %s | %s | %s to %s | %s |\n' "${title[$name]}" "$median" "$least" "$most" \
      "$(awk -v a="$median" -v b="$bare" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "–" }')"
  done
  printf '\n'
  for name in "${there[@]}"; do
    case "$name" in
      xargs | parallel | hq) printf 'Version of `%s`: %s.\n' "$name" "$("$name" --version 2>/dev/null | head -1)" ;;
    esac
  done
  for name in "${missing[@]}"; do printf 'Not measured, because it is not installed: `%s`.\n' "$name"; done
}

one_run() {
  local i begun
  for i in $(seq 25); do
    begun=$(now)
    "$binary" -q run -- true
    awk -v ns="$(($(now) - begun))" 'BEGIN { printf "%.1f\n", ns / 1e6 }' >>"$work/of-one"
  done
  read -r median least most <<<"$(spread <"$work/of-one")"
  printf '`octaskly run -- true` as a whole, 25 times, with that dispatcher and worker: %s ms (%s to %s).\n' "$median" "$least" "$most"
}

# A copy to this very machine, by ssh, where its user lets himself in without a password.
by_scp() {
  if ! command -v scp >/dev/null; then
    printf 'Not measured, because it is not installed: `scp`.\n'
  elif ! ssh -o BatchMode=yes -o ConnectTimeout=2 localhost true 2>/dev/null; then
    printf 'Not measured, because nothing lets this user in at localhost without a password: `scp`.\n'
  else
    local i begun
    head -c 67108864 /dev/zero >"$work/file"
    for i in $(seq "$rounds"); do
      begun=$(now)
      scp -q -o BatchMode=yes "$work/file" "localhost:$work/copy"
      awk -v ns="$(($(now) - begun))" 'BEGIN { printf "%.0f\n", 67108864 * 1000 / ns }' >>"$work/of-scp"
    done
    read -r median least most <<<"$(spread <"$work/of-scp")"
    printf '`scp` of 64 MiB to localhost: %s MB/s (%s to %s).\n' "$median" "$least" "$most"
  fi
}

rooms() {
  local bench
  for bench in engine wire store blob transport spawn dispatch; do
    say "cargo bench --bench $bench"
    printf '`cargo bench --bench %s`\n\n```text\n' "$bench"
    (cd "$root" && cargo bench --locked --bench "$bench" 2>"$work/cargo.log") | sed 's/[[:space:]]*$//' \
      || { tail -20 "$work/cargo.log" >&2; fail "cargo bench --bench $bench failed"; }
    printf '```\n\n'
  done
}

machine >"$work/machine.md"
bench_commands >"$work/commands.md"
{ side_by_side; one_run; by_scp; } >"$work/others.md"
put machine "$work/machine.md"
put commands "$work/commands.md"
put others "$work/others.md"
if [ "$cargo" = true ]; then
  rooms >"$work/rooms.md"
  put rooms "$work/rooms.md"
fi
say "rewrote $out"
