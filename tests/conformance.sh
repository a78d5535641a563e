#!/bin/bash
# Runs the conformance suite several times against a released peer, and compares the runs case by case.
#
#   tests/conformance.sh PEER... [--runs N] [--timeout N] [--quick] [--output FOLDER] [--no-build]
#
# PEER: qemu-storage-daemon, testpmd (DPDK), own-blk, own-net, or all. Each is started in a folder of its own, with a command that starts
# it again when a case has ended it, and is stopped at the end. --runs: how often (3). --timeout: seconds to wait for an answer (2); a machine
# that is busy needs more. --quick: a few chapters, in which no peer ends.
# Results: out/conformance/PEER/run-1.json, run-1.html and so on, or FOLDER/PEER/…. The exit code is 0 only when all runs of all peers came to their end, with
# the peer alive, and give the same verdicts (severities that differ are listed); 1: they differ; 2: the command line makes no sense; 3: a peer is not
# installed, does not start, is gone and does not come back, or a run did not end. With --runs 1 nothing is compared.
set -u -o pipefail
began=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3
exec < /dev/null
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
# Our own peers are killed, and would leave the pipes of the debugger behind.
export DOTNET_EnableDiagnostics=0

wrong() { echo "tests/conformance.sh: $1 See tests/conformance.sh --help." >&2; exit 2; }

known="qemu-storage-daemon testpmd own-blk own-net"
peers=() output="$PWD/out/conformance" runs=3 timeout=2 only='*' build=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --runs) runs=${2-}; shift; [[ $runs =~ ^[1-9][0-9]?$ ]] || wrong "--runs '$runs': must be a number from 1 to 99." ;;
    --timeout) timeout=${2-}; shift; [[ $timeout =~ ^[1-9][0-9]?$ ]] || wrong "--timeout '$timeout': must be a number from 1 to 99." ;;
    --quick) only='negotiation,split-rings,status' ;;
    --output) output=${2-}; shift; [ -n "$output" ] || wrong "--output: must name a folder."; [[ $output = /* ]] || output="$began/$output" ;;
    --no-build) build=no ;;
    -h|--help) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    all) read -ra peers <<< "$known" ;;
    -*) wrong "unknown option '$1'." ;;
    *) [[ " $known " == *" $1 "* ]] || wrong "unknown peer '$1': must be one of $known, or all."; peers+=("$1") ;;
  esac
  shift
done
[ ${#peers[@]} -gt 0 ] || wrong "no peer is named: one of $known, or all."

command -v dotnet > /dev/null || { echo "tests/conformance.sh: the .NET SDK 10 is not on PATH (https://dotnet.microsoft.com/download)." >&2; exit 3; }
if [ "$build" = yes ]; then
  dotnet build src/Tool -c Release -v q --nologo -clp:ErrorsOnly || exit 3
fi
tool="$PWD/src/Tool/bin/Release/net10.0/vhost-user.dll"
[ -e "$tool" ] || { echo "tests/conformance.sh: $tool is not built." >&2; exit 3; }

folder=$(mktemp -d) && folder=$(cd "$folder" && pwd -P) || exit 3
# Where DPDK keeps what it runs with; with its processes killed, nobody else takes it away.
dpdk=vu$$ dpdk_folder="${RUNTIME_DIRECTORY:-/var/run}/dpdk"
[ "$(id -u)" -eq 0 ] || [ -n "${RUNTIME_DIRECTORY-}" ] || dpdk_folder="${XDG_RUNTIME_DIR:-/tmp}/dpdk"
# Ends the peer that is running, and waits until it is gone.
stop_peer() { [ ! -x "$folder/stop" ] || "$folder/stop"; }
clean() { trap '' INT TERM HUP; [ -z "${suite-}" ] || { kill "$suite" && wait "$suite"; } 2> /dev/null; stop_peer; rm -rf "$folder" "${dpdk_folder:?}/$dpdk"; }
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

program_of() {
  case "$1" in
    qemu-storage-daemon) echo qemu-storage-daemon ;;
    testpmd) echo dpdk-testpmd ;;
    *) echo dotnet ;;
  esac
}

# The command line of a peer in $folder, as words of a shell.
command_of() {
  case "$1" in
    qemu-storage-daemon)
      echo "qemu-storage-daemon --blockdev driver=file,node-name=d0,filename=disk.img,cache.direct=on --export type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path=s,writable=on,num-queues=1" ;;
    testpmd)
      echo "dpdk-testpmd --lcores 0@0,1@$(($(nproc) > 1 ? 1 : 0)) --no-pci --no-huge -m 128 --file-prefix $dpdk --vdev net_vhost0,iface=s,queues=2,client=0 -- -i --nb-cores=1 --rxq=2 --txq=2 --forward-mode=rxonly --auto-start --total-num-mbufs=8192" ;;
    own-blk) printf 'dotnet %q serve blk --memory 64M --num-queues 4 --socket-path s\n' "$tool" ;;
    own-net) printf 'dotnet %q serve switch --port s\n' "$tool" ;;
  esac
}

device_of() {
  case "$1" in
    qemu-storage-daemon|own-blk) echo blk ;;
    *) echo net ;;
  esac
}

# Writes the commands that end a peer and start it again: "start" returns once the socket is there.
write_commands() {
  rm -rf "${folder:?}"/*
  # testpmd reads commands and ends when there are none any more; a pipe that its own end is open of has no end.
  mkfifo "$folder/commands" || return
  truncate -s 64M "$folder/disk.img"
  local here
  here=$(printf %q "$folder")
  cat > "$folder/stop" << STOP
#!/bin/bash
cd $here || exit 1
[ -e pid ] || exit 0
read -r pid < pid
# Only what works in this folder: the number may be another process's by now, or that of one that has ended and was not waited for.
works_here() { [ "\$(readlink "/proc/\$pid/cwd")" = "\$(pwd -P)" ]; }
works_here && kill -9 "\$pid"
for ((i = 0; i < 500; i++)); do works_here || break; sleep 0.02; done
rm -f pid s
STOP
  cat > "$folder/start" << START
#!/bin/bash
$here/stop
cd $here || exit 1
exec setsid $(command_of "$1") <> commands > peer.log 2>&1 &
echo \$! > pid
for ((i = 0; i < 500; i++)); do
  [ -S s ] && exit 0
  kill -0 \$! 2> /dev/null || break
  sleep 0.02
done
tail -n 3 peer.log >&2
exit 1
START
  chmod +x "$folder/stop" "$folder/start"
}

# The number behind a name at the top of a report, whose one line has the cases behind it.
number() { grep -o "\"$2\":[0-9.]*" "$1" | head -n 1 | cut -d: -f2; }

totals() { grep -o '"totals":{[^}]*}' "$1" | tail -n 1 | sed 's/"totals":{//; s/}//; s/"//g; s/:/ /g; s/,/, /g'; }

# Whether the peer was gone before the end, and did not come back: all cases behind that were skipped.
gone() { grep -q '"reason":"the back-end is gone since ' "$1"; }

judged() { totals "$1" | awk -F, '{ for (i = 1; i <= NF; i++) { split($i, pair, " "); if (pair[1] != "SKIP") all += pair[2] } print all }'; }

# One run; from the second on it is compared with the first.
run() {
  local peer=$1 number=$2 results=$3 json="$3/run-$2.json" ends=" 0 1 3 " code
  local -a baseline=()
  [ "$number" -eq 1 ] || { baseline=(--baseline "$results/run-1.json"); ends=" 0 3 4 "; }
  "$folder/start" || { echo "$peer does not start." >&2; return 3; }
  dotnet "$tool" test --socket "$folder/s" --device "$(device_of "$peer")" --only "$only" --timeout "$timeout" --restart-command "exec $(printf %q "$folder")/start" \
    --json --report "$results/run-$number.html" "${baseline[@]}" > "$json" 2> "$results/run-$number.log" &
  suite=$!
  # Waited for, and not run in front: a signal is heard at once then.
  wait "$suite"
  code=$?
  suite=
  stop_peer
  if [ ! -s "$json" ] || [[ $ends != *" $code "* ]]; then
    echo "$peer, run $number, did not end as it should (exit code $code):" >&2
    tail -n 5 "$results/run-$number.log" >&2
    return 3
  fi
  echo "$peer, run $number: $(judged "$json") cases not SKIP; $(totals "$json"); $(number "$json" seconds) s; $(number "$json" restarts) restarts"
  if gone "$json"; then
    echo "$peer, run $number: the peer was gone before the end: $(grep -o '"reason":"the back-end is gone[^"]*' "$json" | head -n 1 | cut -d'"' -f4)" >&2
    return 3
  fi
  if [ "$(judged "$json")" -eq 0 ]; then
    echo "$peer, run $number: every case was skipped." >&2
    return 3
  fi
  [ "$code" -eq 4 ] || return 0
  # How severe it is what a peer does that has lost its way is chance: it is told, and its verdict counts.
  grep -o 'differs: .*' "$results/run-$number.log" | sed "s/^differs:/  differs from run 1:/"
  ! grep -o 'differs: .*' "$results/run-$number.log" | grep -qvE ': ([A-Z]+) \[[a-z]+\], was \1 \[[a-z]+\]$'
}

worst=0
for peer in "${peers[@]}"; do
  command -v "$(program_of "$peer")" > /dev/null || { echo "$peer: $(program_of "$peer") is not installed." >&2; worst=3; continue; }
  results="$output/$peer"
  rm -rf "$results"
  mkdir -p "$results"
  write_commands "$peer" || exit 3
  for ((i = 1; i <= runs; i++)); do
    run "$peer" "$i" "$results"
    code=$?
    [ "$code" -le "$worst" ] || worst=$code
    # Without a first run there is nothing to compare with.
    [ "$code" -ne 3 ] || break
  done
done
if [ "$worst" -eq 0 ] && [ "$runs" -eq 1 ]; then
  echo "One run each, nothing to compare with: ${peers[*]}"
elif [ "$worst" -eq 0 ]; then
  echo "All runs agree: ${peers[*]}"
fi
exit "$worst"
