#!/usr/bin/env bash
# A LAN of network namespaces on one machine: real hosts to a program, nothing to the machine's own network.
#
# Every host and the switch between them is a namespace held open by one sleeping process. There are no files and no mounts:
# a LAN is found by its holders' environment, and when they are gone so is every interface of it. All LANs use the same
# addresses (10.77.0.HOST/24), because no two of them can reach each other, nor anything outside.
set -euo pipefail

readonly NET=10.77.0 MOST_HOSTS=200 MARK=OCTASKLY_LAN

usage() {
  cat <<'TEXT'
usage: lan.sh COMMAND …

  up NAME COUNT [--rate RATE] [--while PID]
                              builds a LAN of COUNT hosts, numbered from 1, at 10.77.0.HOST;
                              --rate 100mbit limits what each host sends and receives (tbf);
                              --while ends the LAN by itself once process PID is gone
  down NAME                   ends every process on it and removes it; done already is well done
  list                        the LANs there are: name and number of hosts
  addresses NAME              its hosts: number and address
  exec NAME HOST -- COMMAND…  runs a command on a host; HOST may be `switch`, where every frame passes
                              (exec NAME switch -- tcpdump -ni any)
  pid NAME HOST               the process that holds the host's namespace (nsenter -n -t PID)
  cut NAME HOST HOST…         none of these can reach another of them any more, silently; all still reach
                              the rest. There is one such group at a time
  heal NAME                   ends the cut (naming the cut hosts is allowed)
  unplug NAME HOST            nobody can reach the host any more, silently; its link stays up
  plug NAME HOST              ends that

NAME is 1 to 32 of a-z A-Z 0-9 - _. Needs Linux, iproute2 and util-linux, and root, or a user namespace of its own:
  unshare -Urn bash -c 'scripts/lan.sh up lab 3 && scripts/lan.sh exec lab 1 -- ping -c1 10.77.0.2; scripts/lan.sh down lab'
Inside of one `unshare -Urn` all commands see the same LANs; those of other namespaces and users are not seen.
TEXT
}

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
misuse() { printf 'error: %s\nhint: lan.sh --help\n' "$*" >&2; exit 2; }

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || fail "the command $tool is missing: install $(package_of "$tool")"
  done
}

package_of() {
  case $1 in
    ip | bridge | tc) echo iproute2 ;;
    nsenter | unshare | setsid) echo util-linux ;;
    *) echo coreutils ;;
  esac
}

check_name() { [[ $1 =~ ^[a-zA-Z0-9_-]{1,32}$ ]] || misuse "\"$1\" is no name for a LAN: 1 to 32 of a-z A-Z 0-9 - _"; }
check_count() { [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || misuse "\"$2\" is no $1"; }

# Lines "HOST PID" of the LAN $1, or "NAME HOST PID" of all of them, of this user namespace.
holders() {
  local name=$1 entry pid lan host files mine
  mine=$(readlink /proc/self/ns/user)
  files=$(grep -lazs "^$MARK=${name:-[^/]*}/" /proc/[0-9]*/environ) || true
  for entry in $files; do
    pid=${entry#/proc/}
    pid=${pid%/environ}
    [ "$(readlink "/proc/$pid/ns/user" 2>/dev/null)" = "$mine" ] || continue
    entry=$(grep -az "^$MARK=" "/proc/$pid/environ" 2>/dev/null | tr -d '\0') || continue
    entry=${entry#"$MARK="}
    lan=${entry%%/*}
    host=${entry#*/}
    if [ -n "$name" ]; then echo "$host $pid"; else echo "$lan $host $pid"; fi
  done
}

# The holder of host $2 of LAN $1.
holder() {
  local found pid
  found=$(holders "$1")
  [ -n "$found" ] || fail "there is no LAN $1: build it with lan.sh up $1 COUNT"
  pid=$(awk -v host="$2" '$1 == host { print $2 }' <<<"$found")
  [ -n "$pid" ] || fail "the LAN $1 has no host $2"
  echo "$pid"
}

# Runs a command inside of the namespace that process $1 holds.
inside() {
  local pid=$1
  shift
  nsenter --net --target "$pid" -- "$@"
}

# Starts the holder of host $2 of LAN $1 and leaves its process id in $held.
hold() {
  local keeper=(sleep infinity) outside
  [ -z "$while_pid" ] || keeper=(tail --pid="$while_pid" -f /dev/null)
  outside=$(readlink /proc/self/ns/net)
  env -i "PATH=$PATH" "$MARK=$1/$2" setsid unshare --net "${keeper[@]}" </dev/null >/dev/null 2>&1 &
  held=$!
  local tries=0 now
  while now=$(readlink "/proc/$held/ns/net" 2>/dev/null) || [ -d "/proc/$held" ]; do
    [ -z "$now" ] || [ "$now" = "$outside" ] || return 0
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || break
    sleep 0.01
  done
  fail "this machine refuses network namespaces"
}

# Ends what `up` started, when it does not come to its end.
give_up() {
  local status=$? pid
  trap - EXIT INT TERM HUP
  # The shell's own list: a signal may come before the id of the newest is noted anywhere else.
  for pid in $(jobs -p); do kill -KILL "$pid" 2>/dev/null || true; done
  exit "$status"
}

up() {
  local name=${1:-} count=${2:-} rate='' switch host
  while_pid=''
  [ $# -ge 2 ] || misuse "up takes a name and a number of hosts"
  shift 2
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || misuse "$1 takes a value"
    case $1 in
      --rate) rate=$2 ;;
      --while) while_pid=$2 ;;
      *) misuse "up knows no option $1" ;;
    esac
    shift 2
  done
  check_name "$name"
  check_count "number of hosts" "$count"
  [ "$count" -le $MOST_HOSTS ] || misuse "$count hosts are too many: at most $MOST_HOSTS"
  [[ $rate =~ ^([0-9]+[kmg]?bit)?$ ]] || misuse "\"$rate\" is no rate, such as 100mbit"
  [ -z "$while_pid" ] || check_count "process id" "$while_pid"
  need ip nsenter unshare setsid
  [ -z "$rate" ] || need tc
  [ -z "$(holders "$name")" ] || fail "there is a LAN $name already: remove it with lan.sh down $name"

  trap give_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  hold "$name" switch
  switch=$held
  inside "$switch" sh -ec 'ip link set lo up
    ip link add lan type bridge mcast_snooping 0
    ip link set lan up'
  for ((host = 1; host <= count; host++)); do
    hold "$name" "$host"
    # Every interface is made where it belongs: none is ever seen on the machine's own network.
    inside "$switch" sh -ec "ip link add host$host type veth peer name eth0 netns $held
      ip link set host$host master lan up"
    inside "$held" sh -ec "ip link set lo up
      ip address add $NET.$host/24 broadcast + dev eth0
      ip link set eth0 mtu 1500 up
      ip route add 224.0.0.0/4 dev eth0"
    if [ -n "$rate" ]; then
      inside "$held" tc qdisc add dev eth0 root tbf rate "$rate" burst 128kb latency 50ms
      inside "$switch" tc qdisc add dev "host$host" root tbf rate "$rate" burst 128kb latency 50ms
    fi
  done
  trap - EXIT INT TERM HUP
}

down() {
  [ $# -eq 1 ] || misuse "down takes a name"
  check_name "$1"
  local found nets='' _host pid net
  found=$(holders "$1")
  [ -n "$found" ] || return 0
  while read -r _host pid; do nets+=" $(readlink "/proc/$pid/ns/net" 2>/dev/null || true)"; done <<<"$found"
  # Whatever runs there keeps its namespace alive: all of it goes, the holders too, and once more what was forked meanwhile.
  for _ in 1 2 3; do
    while read -r pid net; do
      [ -z "$net" ] || [[ " $nets " != *" $net "* ]] || kill -KILL "$pid" 2>/dev/null || true
    done < <(find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%p %l\n' 2>/dev/null | sed 's,^/proc/,,; s,/ns/net,,')
  done
}

list() {
  holders '' | awk '{ hosts[$1] += $2 != "switch" } END { for (name in hosts) print name, hosts[name] }' | sort
}

addresses() {
  [ $# -eq 1 ] || misuse "addresses takes a name"
  check_name "$1"
  local host _pid found
  found=$(holders "$1")
  [ -n "$found" ] || fail "there is no LAN $1: build it with lan.sh up $1 COUNT"
  while read -r host _pid; do
    [ "$host" = switch ] || echo "$host $NET.$host"
  done <<<"$found" | sort -n
}

execute() {
  [ $# -ge 3 ] || misuse "exec takes a name, a host and a command"
  local name=$1 host=$2 pid
  shift 2
  [ "$1" != -- ] || shift
  [ $# -gt 0 ] || misuse "exec takes a command"
  check_name "$name"
  need nsenter
  pid=$(holder "$name" "$host")
  exec nsenter --net --target "$pid" -- "$@"
}

# The hosts that are cut from each other, in order.
isolated() {
  inside "$1" bridge -d link show | awk '/^[0-9]+: / { port = $2 } /isolated on/ { sub(/^host/, "", port); sub(/[@:].*/, "", port); print port }' | sort -n
}

cut_hosts() {
  [ $# -ge 3 ] || misuse "cut takes a name and at least two hosts"
  local name=$1 switch host before wanted
  shift
  check_name "$name"
  need bridge nsenter
  switch=$(holder "$name" switch)
  wanted=$(printf '%s\n' "$@" | sort -nu)
  for host in $wanted; do holder "$name" "$host" >/dev/null; done
  before=$(isolated "$switch")
  for host in $before; do
    grep -qx "$host" <<<"$wanted" || fail "hosts ${before//$'\n'/, } are cut from each other; with these they would be too: lan.sh heal $name first"
  done
  for host in $wanted; do inside "$switch" bridge link set dev "host$host" isolated on; done
}

heal() {
  [ $# -ge 1 ] || misuse "heal takes a name"
  local name=$1 switch host before
  shift
  check_name "$name"
  need bridge nsenter
  switch=$(holder "$name" switch)
  before=$(isolated "$switch")
  if [ $# -gt 0 ] && [ -n "$before" ] && [ "$(printf '%s\n' "$@" | sort -nu)" != "$before" ]; then
    fail "hosts ${before//$'\n'/, } are cut from each other and can only be healed together: lan.sh heal $name"
  fi
  for host in $before; do inside "$switch" bridge link set dev "host$host" isolated off; done
}

# Sets the state of a host's port: 0 passes nothing, 3 forwards.
port_state() {
  [ $# -eq 3 ] || misuse "this takes a name and a host"
  check_name "$2"
  need bridge nsenter
  local switch
  switch=$(holder "$2" switch)
  holder "$2" "$3" >/dev/null
  inside "$switch" bridge link set dev "host$3" state "$1"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
  '' | -h | --help | help)
    usage
    [ -n "$command" ] || exit 2
    exit 0
    ;;
  up | down | list | addresses | exec | pid | cut | heal | unplug | plug) ;;
  *) misuse "there is no command \"$command\"" ;;
esac
[[ $OSTYPE == linux* ]] || fail "network namespaces are Linux's; this is $OSTYPE"
[ "$EUID" -eq 0 ] || fail "not root: run it as root, or everything together inside of \`unshare -Urn bash\`"
case $command in
  up) up "$@" ;;
  down) down "$@" ;;
  list) list ;;
  addresses) addresses "$@" ;;
  exec) execute "$@" ;;
  pid)
    [ $# -eq 2 ] || misuse "pid takes a name and a host"
    check_name "$1"
    holder "$1" "$2"
    ;;
  cut) cut_hosts "$@" ;;
  heal) heal "$@" ;;
  unplug) port_state 0 "$@" ;;
  plug) port_state 3 "$@" ;;
esac
