#!/usr/bin/env bash
# The README's first command: builds Octaskly, starts a dispatcher and three workers in a home of their own, has them compress
# and hash a few hundred real files that travel with their tasks, compares every result with a local run, and stops everything.
#
#   bash scripts/demo.sh [--keep]      --keep leaves the temporary folder behind and says where it is
#
# Needs a Rust toolchain and a C compiler. Listens on loopback only, on free ports. Ends only the processes it started.
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
hash=$(command -v sha256sum || command -v cksum) || fail "neither sha256sum nor cksum is here"
hash=${hash##*/}

say "Building (the first time takes a few minutes)"
cargo build --locked --release
octaskly="${CARGO_TARGET_DIR:-target}/release/octaskly"
[ -x "$octaskly" ] || fail "the build left no $octaskly"
octaskly=$(realpath "$octaskly")
"$octaskly" --version

# What is exported for somebody's own nodes is not meant for these.
for variable in $(compgen -e OCTASKLY_ || true); do unset "$variable"; done
work=$(mktemp -d "${TMPDIR:-/tmp}/octaskly-demo.XXXXXX")
export OCTASKLY_HOME="$work/home"
pids=()
stop() {
  # The dispatcher last, so that workers can say goodbye.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  pids=()
}
finish() {
  status=$?
  trap - EXIT
  stop
  if [ "$keep" = yes ] || [ "$status" -ne 0 ]; then echo "logs and files are in $work"; else rm -rf "$work"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "Collecting a few hundred source files: Octaskly's own, its crates' and the toolchain's"
mkdir -p "$work/files"
roots=("$PWD/src" "$PWD/tests" "${CARGO_HOME:-$HOME/.cargo}/registry/src" "$(rustc --print sysroot)")
for root in "${roots[@]}"; do
  # Of each root at most 120, from all over it.
  find "$root" -type f \( -name '*.rs' -o -name '*.md' -o -name '*.html' -o -name '*.py' -o -name '*.txt' \) -size +0 -size -512k 2>/dev/null \
    | LC_ALL=C sort >"$work/found" || true
  step=$(($(wc -l <"$work/found") / 120 + 1))
  awk -v step="$step" 'NR % step == 0' "$work/found" | while IFS= read -r file; do
    name="$(basename "$root")/${file#"$root"/}"
    mkdir -p "$work/files/$(dirname "$name")"
    cp "$file" "$work/files/$name"
  done
done
cd "$work/files"
find . -type f | sed 's|^\./||' | LC_ALL=C sort >"$work/list"
count=$(wc -l <"$work/list")
[ "$count" -ge 100 ] || fail "only $count source files found"
echo "$count files, $(du -sh . | cut -f1)"

say "Starting a dispatcher and three workers (home: $OCTASKLY_HOME)"
"$octaskly" dispatcher --bind 127.0.0.1 --port 0 --p2p-enabled false --verbose 2>"$work/dispatcher.log" & pids+=($!)
port=
for _ in $(seq 300); do
  port=$(sed -n 's/.*Dispatcher listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/dispatcher.log" | head -n 1)
  [ -n "$port" ] && break
  kill -0 "${pids[0]}" 2>/dev/null || { cat "$work/dispatcher.log" >&2; fail "the dispatcher did not start"; }
  sleep 0.1
done
[ -n "$port" ] || fail "the dispatcher did not say where it listens"
for i in 1 2 3; do
  "$octaskly" worker --name "demo-$i" --dispatcher "127.0.0.1:$port" --max-jobs 2 2>"$work/worker-$i.log" & pids+=($!)
done
joined=0
for _ in $(seq 300); do
  joined=$("$octaskly" workers --json=lines 2>/dev/null | wc -l)
  [ "$joined" -eq 3 ] && break
  sleep 0.1
done
[ "$joined" -eq 3 ] || { cat "$work"/worker-*.log >&2; fail "only $joined of 3 workers joined"; }
"$octaskly" workers

say "A command that feels local: both outputs, standard input, the exit code"
code=0
echo "hello from stdin" | "$octaskly" run -- sh -c 'cat; echo "ran on $OCTASKLY_WORKER as task $OCTASKLY_TASK_ID"; exit 3' || code=$?
echo "exit code: $code"
[ "$code" -eq 3 ] || fail "the exit code should have been 3"

# One task a file. Each finds its file in a directory of its own, and what it makes comes back here, beside the original.
compress() {
  "$octaskly" run --verbose --each-line "$work/list" --in '{}' --out '{}.gz' "gzip -9 -n -c {} > {}.gz && $hash {}" \
    >"$work/hashes.$1" 2>"$work/run.$1" || { cat "$work/run.$1" >&2; fail "the job failed"; }
  grep -o 'Uploading .*' "$work/run.$1" || fail "nothing was said of uploads"
}
check() {
  LC_ALL=C sort "$work/hashes.$1" | cmp - "$work/hashes.local" || fail "hashes differ from those of a local run"
  while IFS= read -r file; do
    cmp "$file.gz" "$work/local/$file.gz" || fail "$file.gz differs from that of a local run"
  done <"$work/list"
  [ "$(find . -type f | wc -l)" -eq $((2 * count)) ] || fail "other files came back than $count .gz"
  echo "all $count hashes and all $count compressed files are those of a local run"
}
stored() { "$octaskly" status --json | grep -o '"files_bytes":[0-9]*'; }

say "A real job: compress and hash all of them, files in and files out, no shared folder"
echo "\$ octaskly run --each-line list --in {} --out {}.gz 'gzip -9 -n -c {} > {}.gz && $hash {}'"
started=$(date +%s%N)
compress first
echo "$count tasks in $((($(date +%s%N) - started) / 1000000)) ms"

say "Checking every result against a local loop"
while IFS= read -r file; do
  mkdir -p "$work/local/$(dirname "$file")"
  gzip -9 -n -c "$file" >"$work/local/$file.gz"
  "$hash" "$file"
done <"$work/list" | LC_ALL=C sort >"$work/hashes.local"
check first

say "Who did what"
"$octaskly" show last --tasks --json=lines >"$work/tasks"
grep -o '"worker":"[^"]*"' "$work/tasks" | cut -d'"' -f4 | LC_ALL=C sort | uniq -c
[ "$(grep -c '"state":"succeeded"' "$work/tasks")" -eq "$count" ] || fail "not every task succeeded"
"$octaskly" status

say "The same inputs again: nothing is uploaded, nothing more is kept"
before=$(stored)
find . -type f -name '*.gz' -delete
compress again
grep -q 'Uploading 0 of' "$work/run.again" || fail "something was uploaded again"
check again
[ "$(stored)" = "$before" ] || fail "the dispatcher keeps more than before: $(stored) instead of $before"

say "Stopping the dispatcher and the workers"
started_pids=("${pids[@]}")
stop
for pid in "${started_pids[@]}"; do
  kill -0 "$pid" 2>/dev/null && fail "process $pid did not stop"
done
echo "done"
