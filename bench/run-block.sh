#!/bin/bash
# Block requests between two processes, each bound to one processor, at depth 32 and 1: our two halves polled over a null device, and our front-end
# against qemu-storage-daemon with its null device. The peer's command is printed. Only ratios of neighbouring runs mean anything.
#
#   bench/run-block.sh [--seconds N] [--cpus BACKEND,FRONTEND]
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

seconds=3
cpus=0,1
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    --cpus) cpus=${2:?--cpus needs two processors}; shift 2 ;;
    *) echo "bench/run-block.sh: unknown option '$1'" >&2; exit 2 ;;
  esac
done
backend_cpu=${cpus%,*}
frontend_cpu=${cpus#*,}
if [ "$(nproc)" -lt 2 ]; then
  echo "Two processors are needed; this machine has one." >&2
  exit 1
fi

dotnet build -c Release src/Tool -v q --nologo -clp:ErrorsOnly || exit 1
tool=(dotnet src/Tool/bin/Release/net10.0/vhost-user.dll)
folder=$(mktemp -d)
socket=$folder/s
peer=
trap '[ -z "$peer" ] || kill -KILL "$peer" 2> /dev/null; rm -rf "$folder"' EXIT

wait_for_socket() {
  local i
  for ((i = 0; i < 200; i++)); do
    [ -S "$socket" ] && return
    kill -0 "$peer" 2> /dev/null || break
    sleep 0.05
  done
  echo "The peer did not make its socket:" >&2
  cat "$folder/peer.err" >&2
  exit 1
}

# Prints one line of figures out of the JSON of a run.
figures() {
  sed -n 's/.*"iops":\([0-9]*\).*"p50":\([0-9.]*\),"p99":\([0-9.]*\).*"allocated_bytes_per_op":\([0-9.]*\).*/\1 requests\/s, median \2 us, 99 % \3 us, \4 bytes allocated a request/p'
}

measure() {
  taskset -c "$frontend_cpu" "${tool[@]}" blk bench --socket "$socket" --queue-depth "$1" --block-size 4096 --seconds "$seconds" --poll --json | figures
}

end_peer() {
  kill -TERM "$peer" && wait "$peer"
  peer=
  rm -f "$socket"
}

for depth in 32 1; do
  echo "depth $depth, both halves ours, polled:"
  command=(taskset -c "$backend_cpu" "${tool[@]}" serve blk --socket-path "$socket" --null 1G --poll --json)
  echo "  peer: ${command[*]}"
  "${command[@]}" > "$folder/serve.json" 2> "$folder/peer.err" &
  peer=$!
  wait_for_socket
  echo "  front-end: $(measure "$depth")"
  end_peer
  echo "  back-end:  $(sed -n 's/.*"allocated_bytes_per_op":\([0-9.]*\).*/\1 bytes allocated a request/p' "$folder/serve.json")"

  if command -v qemu-storage-daemon > /dev/null; then
    echo "depth $depth, front-end ours and polled, back-end qemu-storage-daemon:"
    command=(taskset -c "$backend_cpu" qemu-storage-daemon --blockdev "driver=null-co,node-name=d0,size=1073741824"
      --export "type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path=$socket,writable=on,num-queues=1")
    echo "  peer: ${command[*]}"
    "${command[@]}" 2> "$folder/peer.err" &
    peer=$!
    wait_for_socket
    echo "  front-end: $(measure "$depth")"
    end_peer
  else
    echo "depth $depth: qemu-storage-daemon is not installed (Debian package qemu-system-common); nothing to compare with."
  fi
done
