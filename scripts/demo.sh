#!/usr/bin/env bash
# The README's first command: builds Octaskly, starts a dispatcher and three workers in a home of their own, runs a real job
# over real files, checks every result against a local run, and stops everything again.
#
#   bash scripts/demo.sh [--keep]      --keep leaves the temporary home behind and says where it is
#
# Needs a Rust toolchain and a C compiler. Listens on loopback only. Ends only the processes it started.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=no
case "${1:-}" in
  "") ;;
  --keep) keep=yes ;;
  *) echo "usage: bash scripts/demo.sh [--keep]" >&2; exit 2 ;;
esac

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs"
command -v cc >/dev/null || fail "no C compiler: install one (Debian: apt-get install gcc libc6-dev)"

say "Building (the first time takes a few minutes)"
cargo build --locked --release
octaskly="${CARGO_TARGET_DIR:-target}/release/octaskly"
[ -x "$octaskly" ] || fail "the build left no $octaskly"
octaskly=$(realpath "$octaskly")
"$octaskly" --version

work=$(mktemp -d "${TMPDIR:-/tmp}/octaskly-demo.XXXXXX")
export OCTASKLY_HOME="$work/home"
pids=()
finish() {
  status=$?
  trap - EXIT
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [ "$keep" = yes ] || [ "$status" -ne 0 ]; then echo "logs and files are in $work"; else rm -rf "$work"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "Starting a dispatcher and three workers (home: $OCTASKLY_HOME)"
port=$((20000 + RANDOM % 20000))
"$octaskly" dispatcher --bind 127.0.0.1 --port "$port" --verbose 2>"$work/dispatcher.log" & pids+=($!)
for i in 1 2 3; do
  "$octaskly" worker --name "demo-$i" --port "$port" --max-jobs 2 2>"$work/worker-$i.log" & pids+=($!)
done
for _ in $(seq 100); do
  [ "$("$octaskly" workers --json=lines 2>/dev/null | wc -l)" -eq 3 ] && break
  kill -0 "${pids[0]}" 2>/dev/null || { cat "$work/dispatcher.log" >&2; fail "the dispatcher did not start"; }
  sleep 0.1
done
"$octaskly" workers

say "A command that feels local: both outputs, standard input, the exit code"
echo "hello from stdin" | "$octaskly" run -- sh -c 'cat; echo "ran on $OCTASKLY_WORKER as task $OCTASKLY_TASK_ID"; exit 3' || echo "exit code: $?"

say "A real job: compress and hash the sources of this project and of the crates it is built from"
mkdir "$work/out"
# Files that are there wherever Octaskly was just built; whole paths, because the tasks run in directories of their own.
find "$PWD/src" "$PWD/tests" "${CARGO_HOME:-$HOME/.cargo}/registry/src" -name '*.rs' -type f -size -512k 2>/dev/null \
  | LC_ALL=C sort | awk 'NR % 7 == 1 && ++taken <= 300' >"$work/files"
count=$(wc -l <"$work/files")
[ "$count" -gt 0 ] || fail "no source files found"
started=$(date +%s%N)
job=$("$octaskly" submit -q --name "compress and hash" --each-line "$work/files" --env "OUT=$work/out" \
  'gzip -9 -n -c {} >"$OUT/$OCTASKLY_INDEX.gz" && cksum <{}')
"$octaskly" wait "$job" || { "$octaskly" show "$job" --tasks --state failed; fail "job $job failed"; }
elapsed=$((($(date +%s%N) - started) / 1000000))
echo "$count files in $elapsed ms"
"$octaskly" show "$job"

say "Checking every result against a local run"
wrong=0 i=0
"$octaskly" show "$job" --tasks --json=lines >"$work/tasks.jsonl"
while IFS= read -r file; do
  i=$((i + 1))
  gzip -9 -n -c "$file" | cmp -s - "$work/out/$i.gz" || { echo "differs: $file"; wrong=$((wrong + 1)); }
done <"$work/files"
"$octaskly" logs "$job" | LC_ALL=C sort >"$work/cksums.mesh"
while IFS= read -r file; do cksum <"$file"; done <"$work/files" | LC_ALL=C sort >"$work/cksums.local"
cmp "$work/cksums.mesh" "$work/cksums.local" || wrong=$((wrong + 1))
[ "$wrong" -eq 0 ] || fail "$wrong results differ from a local run"
echo "all $count results are identical"

say "Who did what"
grep -o '"worker":"[^"]*"' "$work/tasks.jsonl" | cut -d'"' -f4 | LC_ALL=C sort | uniq -c
"$octaskly" status

say "Done. Stopping the dispatcher and the workers."
