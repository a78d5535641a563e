#!/bin/bash
# Builds, then compares this library with DPDK and QEMU on this machine: a table, and bench/out/compare.json. See bench/run.sh --help.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1

command -v dotnet > /dev/null || { echo "bench/run.sh: the .NET SDK 10 is not on PATH (https://dotnet.microsoft.com/download)." >&2; exit 1; }

install=1
arguments=()
for argument in "$@"; do
  case $argument in
    --no-install) install= ;;
    -h | --help | --list) install=; arguments+=("$argument") ;;
    *) arguments+=("$argument") ;;
  esac
done

# As root, with apt, the peers' programs are installed when they are missing; rows without their peer fail and say why.
packages=
command -v dpdk-testpmd > /dev/null || packages="$packages dpdk-dev"
command -v qemu-storage-daemon > /dev/null || packages="$packages qemu-system-common"
if [ -n "$install" ] && [ -n "$packages" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
  echo "Installing Debian packages:$packages" >&2
  # shellcheck disable=SC2086
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages; } > /dev/null 2>&1 ||
    echo "Installing failed; rows without their peer will fail." >&2
fi

for project in src/Tool bench/Control bench/Compare; do
  dotnet build -c Release "$project" -v q --nologo -clp:ErrorsOnly >&2 || exit 1
done
exec dotnet bench/Compare/bin/Release/net10.0/Vhost.Bench.Compare.dll "${arguments[@]}"
