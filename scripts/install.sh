#!/usr/bin/env bash
# Installs Octaskly from this source tree, or removes what it installed.
#
#   bash scripts/install.sh install   [--prefix DIR] [--binary FILE]
#   bash scripts/install.sh uninstall [--prefix DIR]
#
# Prefix: /usr/local for root, ~/.local for everybody else. Put there: bin/octaskly, completions for bash, zsh and fish, manual
# pages, and lib/octaskly/installed, the list of these files and of the directories made for them, which is what uninstall
# goes by. Queues, keys and logs live elsewhere (~/.local/share/octaskly, or wherever --home points) and are never touched.
set -euo pipefail

usage() { sed -n '4,5s/^# \{0,3\}//p' "$0"; }
say() { printf '%s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}
misused() { printf 'error: %s\n' "$1" >&2; usage >&2; exit 2; }

action="" prefix="" binary=""
while [ $# -gt 0 ]; do
  case "$1" in
    install | uninstall) [ -z "$action" ] || misused "one action at a time"; action=$1 ;;
    --prefix) [ $# -ge 2 ] && [ -n "$2" ] || misused "--prefix needs a directory"; prefix=$2; shift ;;
    --prefix=?*) prefix=${1#*=} ;;
    --binary) [ $# -ge 2 ] && [ -n "$2" ] || misused "--binary needs a file"; binary=$2; shift ;;
    --binary=?*) binary=${1#*=} ;;
    -h | --help) usage; exit 0 ;;
    *) misused "not understood: $1" ;;
  esac
  shift
done
[ -n "$action" ] || { usage >&2; exit 2; }
[ "$action" = install ] || [ -z "$binary" ] || misused "--binary goes with install"

if [ -z "$prefix" ]; then
  if [ "$(id -u)" -eq 0 ]; then
    prefix=/usr/local
  else
    [ -n "${HOME:-}" ] || fail "HOME is not set, so there is no place to install to" "say where with --prefix DIR"
    prefix=$HOME/.local
  fi
fi
case "$prefix" in /*) ;; *) prefix=$PWD/$prefix ;; esac
prefix=${prefix%/}
case "$prefix" in *$'\n'*) fail "the prefix has a line break in its name" ;; esac
list=$prefix/lib/octaskly/installed
# Where each file belongs, below the prefix. An uninstall removes what the list names, and of that only what could be ours.
pages=share/man/man1

# The nearest existing directory above a path that need not exist.
existing_above() {
  local at=$1
  while [ ! -e "$at" ]; do at=$(dirname "$at"); done
  printf '%s' "$at"
}

build() {
  root=$(cd "$(dirname "$0")/.." && pwd)
  [ -f "$root/Cargo.toml" ] || fail "$root is no source tree of Octaskly" "run the script from a clone"
  # Under sudo the toolchain is the calling user's, and so is the tree: build as that user.
  as=()
  if [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] && ! command -v cargo >/dev/null; then
    as=(sudo -u "$SUDO_USER" -H)
  fi
  run_cargo=("${as[@]}" sh -c '[ -n "${CARGO_HOME:-}" ] || CARGO_HOME=$HOME/.cargo; PATH=$PATH:$CARGO_HOME/bin; exec cargo "$@"' cargo)
  "${run_cargo[@]}" --version >/dev/null 2>&1 \
    || fail "cargo is missing" "install Rust from https://rustup.rs, or bring a finished program with --binary FILE"
  command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null \
    || fail "no C compiler" "install one (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc)"
  say "Building (the first time takes a few minutes)"
  (cd "$root" && "${run_cargo[@]}" build --locked --release) || fail "the build failed; what it said stands above"
  target=${CARGO_TARGET_DIR:-$root/target}
  case "$target" in /*) ;; *) target=$root/$target ;; esac
  binary=$target/release/octaskly
}

# Makes a directory below the prefix, and notes each one that was not there.
make_directory() {
  [ ! -d "$prefix/$1" ] || return 0
  [ "$1" = . ] || make_directory "$(dirname "$1")"
  mkdir -p "$prefix/$1"
  printf '%s/\n' "$1" >>"$stage/made"
}

# Puts one file in place in a single step, so that a running program or a reader never sees half of it.
place() { # SOURCE MODE PATH-BELOW-PREFIX
  local to=$prefix/$3
  [ ! -d "$to" ] || fail "$to is a directory: move it away, or choose another --prefix"
  make_directory "$(dirname "$3")"
  cp "$1" "$to.new.$$"
  chmod "$2" "$to.new.$$"
  mv -f "$to.new.$$" "$to"
  printf '%s\n' "$3" >>"$stage/installed"
}

install_all() {
  above=$(existing_above "$prefix")
  [ -d "$above" ] || fail "$above is no directory"
  [ -w "$above" ] || fail "no permission to write to $above" "choose a place of your own with --prefix DIR, or use sudo"
  [ -n "$binary" ] || build
  [ -x "$binary" ] || fail "there is no program at $binary"
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  version=$("$binary" --version) || fail "$binary does not run on this machine"
  "$binary" completions bash >"$stage/bash"
  "$binary" completions zsh >"$stage/zsh"
  "$binary" completions fish >"$stage/fish"
  "$binary" man >"$stage/octaskly.1"
  : >"$stage/installed"
  # Directories that an earlier installation made are still ours.
  { [ ! -f "$list" ] || grep '/$' "$list" || true; } >"$stage/made"
  place "$binary" 755 bin/octaskly
  place "$stage/bash" 644 share/bash-completion/completions/octaskly
  place "$stage/zsh" 644 share/zsh/site-functions/_octaskly
  place "$stage/fish" 644 share/fish/vendor_completions.d/octaskly.fish
  place "$stage/octaskly.1" 644 $pages/octaskly.1
  commands=$("$binary" --help | awk '/^Commands:/ { on = 1; next } on && NF == 0 { exit } on && /^  [a-z]/ { print $1 }')
  for command in $commands; do
    [ "$command" != help ] || continue
    "$binary" man "$command" >"$stage/page" 2>/dev/null || continue
    place "$stage/page" 644 "$pages/octaskly-$command.1"
  done
  forget_leftovers
  make_directory lib/octaskly
  cat "$stage/installed" "$stage/made" >"$list.new.$$"
  mv -f "$list.new.$$" "$list"
  say "Installed $version to $prefix/bin/octaskly"
  say "The $(grep -c . "$stage/installed") files of it, and the directories made for them, are listed in $list"
  found=$(command -v octaskly || true)
  if [ -z "$found" ]; then
    say "hint: $prefix/bin is not in PATH: add  export PATH=\"$prefix/bin:\$PATH\"  to your shell's start file"
  elif [ "$(realpath "$found")" != "$(realpath "$prefix/bin/octaskly")" ]; then
    say "hint: the shell finds $found first"
  fi
}

# What an earlier version installed and this one does not.
forget_leftovers() {
  [ -f "$list" ] || return 0
  while IFS= read -r path; do
    grep -qxF -- "$path" "$stage/installed" || remove_file "$path"
  done < <(grep -v '/$' "$list")
}

# Removes a file that this script put there; a list that somebody edited must not lead it elsewhere.
remove_file() {
  case "$1" in
    *..*) ;;
    bin/octaskly | share/*/octaskly* | share/*/_octaskly) rm -f -- "$prefix/$1"; return ;;
  esac
  say "hint: left alone, because it is none of ours: $1"
}

# Removes a directory that was made for the files, unless somebody else uses it by now.
remove_directory() {
  case "$1" in
    *..* | /*) ;;
    ./) rmdir -- "$prefix" 2>/dev/null || true ;;
    *) rmdir -- "$prefix/$1" 2>/dev/null || true ;;
  esac
}

uninstall_all() {
  if [ ! -f "$list" ]; then
    hint="say with --prefix DIR where it is"
    found=$(command -v octaskly || true)
    [ -z "$found" ] || hint="the shell finds $found: try --prefix $(dirname "$(dirname "$found")")"
    fail "nothing is installed below $prefix" "$hint"
  fi
  [ -w "$(dirname "$list")" ] && { [ ! -e "$prefix/bin" ] || [ -w "$prefix/bin" ]; } \
    || fail "no permission to remove files below $prefix" "use sudo, as for the installation"
  # Innermost first.
  directories=$(grep '/$' "$list" | LC_ALL=C sort -r || true)
  while IFS= read -r path; do remove_file "$path"; done < <(grep -v '/$' "$list")
  rm -f -- "$list"
  while IFS= read -r path; do remove_directory "$path"; done <<<"$directories"
  say "Removed Octaskly from $prefix"
  say "Queues, keys and logs stay where they are, if there are any: ${XDG_DATA_HOME:-${HOME:-~}/.local/share}/octaskly"
}

case "$action" in
  install) install_all ;;
  uninstall) uninstall_all ;;
esac
