#!/bin/bash
# Builds everything and runs every test project, one after the other.
#
#   tests/run.sh [--no-install] [--no-build]
#
# Tests against other people's programs need Debian packages. As root, with apt, the missing ones are installed (--no-install leaves that);
# without them those tests are skipped and the reason is printed. The last line is "N passed, N failed, N skipped"; the exit code is 0
# only when nothing failed. Results as trx files: out/tests.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
exec < /dev/null
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1

command -v dotnet > /dev/null || { echo "tests/run.sh: the .NET SDK 10 is not on PATH (https://dotnet.microsoft.com/download)." >&2; exit 1; }

install=yes
build=yes
for argument in "$@"; do
  case "$argument" in
    --no-install) install=no ;;
    --no-build) build=no ;;
    -h|--help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "tests/run.sh: unknown option '$argument'. See tests/run.sh --help." >&2; exit 2 ;;
  esac
done

# program:package
peers="qemu-storage-daemon:qemu-system-common qemu-img:qemu-utils qemu-io:qemu-utils dpdk-testpmd:dpdk-dev gcc:gcc
  qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio depmod:kmod e2fsck:e2fsprogs ip:iproute2 tshark:tshark
  chromium:chromium xmllint:libxml2-utils tidy:tidy pdftotext:poppler-utils prove:perl"

missing_packages() {
  local peer
  for peer in $peers; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${peer%%:*}" > /dev/null || echo "${peer##*:}"
  done
  # The test that compares with the system headers includes these.
  [ -e /usr/include/stdio.h ] || echo libc6-dev
  [ -e /usr/include/linux/virtio_ring.h ] || echo linux-libc-dev
}

packages=$(missing_packages | sort -u | tr '\n' ' ')
if [ -n "$packages" ]; then
  if [ "$install" = no ]; then
    echo "Not installed (--no-install): $packages"
  elif [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "Not installed (needs root and apt): $packages"
  else
    echo "Installing Debian packages: $packages"
    log=$(mktemp)
    # shellcheck disable=SC2086
    if { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages; } > "$log" 2>&1; then
      echo "Installed."
    else
      echo "Installing failed; tests that need them will be skipped. The last lines were:"
      tail -n 5 "$log"
    fi
    rm -f "$log"
  fi
fi

# The guests of the tests: nothing is installed for them, but a kernel package is fetched once.
if [ "$install" = yes ] && command -v apt-get > /dev/null; then
  tests/guest-image.sh || { [ "$(id -u)" -eq 0 ] && apt-get -qq update && tests/guest-image.sh; } ||
    echo "There is no guest; tests that boot one will be skipped."
fi

if [ "$build" = yes ]; then
  echo "Building"
  dotnet build -c Release Vhost.Frontend.sln -v q --nologo -clp:ErrorsOnly || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
fi

# Reads the counters of a trx file: "total passed failed skipped".
counters() {
  tr '\n' ' ' < "$1" | sed -n 's/.*<Counters \([^>]*\)>.*/\1/p' |
    awk '{ for (i = 1; i <= NF; i++) { split($i, pair, "=\""); value[pair[1]] = pair[2] + 0 }
           print value["total"], value["passed"], value["failed"] + value["error"] + value["timeout"] + value["aborted"], value["total"] - value["executed"] }'
}

# Lists the tests of a trx file that were not run, with the reason.
skipped_tests() {
  tr '\n' ' ' < "$1" | sed 's/<UnitTestResult /\n&/g; s/<\/Results>/\n/' | grep 'outcome="NotExecuted"' |
    sed 's/.*testName="\([^"]*\)"[^>]*>\(.*\)/\1\t\2/; s/<[^>]*>/ /g; s/  */ /g; s/&quot;/"/g; s/&amp;/\&/g'
}

results=out/tests
rm -rf "$results"
mkdir -p "$results"
passed=0 failed=0 skipped=0

# Runs the tests of a project under a name, with further arguments of dotnet test, and adds up what came of it.
run() {
  local name=$1 project=$2 code p f s
  shift 2
  echo "== $name"
  dotnet test "$project" -c Release --no-build --nologo -v q --results-directory "$results" \
    --logger "trx;LogFileName=$name.trx" --logger "console;verbosity=minimal" --blame-hang-timeout 5m --blame-hang-dump-type none "$@"
  code=$?
  if [ ! -s "$results/$name.trx" ]; then
    # A project without a test yet is not a failure; one that ended without a result is.
    [ "$code" -eq 0 ] || { failed=$((failed + 1)); echo "$name ended without results (exit code $code)."; }
    return
  fi
  read -r _ p f s <<< "$(counters "$results/$name.trx")"
  # A run that was aborted has fewer results than tests.
  [ "$code" -eq 0 ] || [ "$f" -gt 0 ] || f=1
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  skipped_tests "$results/$name.trx" | sed "s/^/$name\t/" >> "$results/skipped.txt"
}

for project in tests/*/*.Tests.csproj; do
  run "$(basename "$project" .csproj)" "$project"
done

# The data path once more as a processor without vector instructions runs it: packets, rings and the memory under them.
vectors="FullyQualifiedName~Net|FullyQualifiedName~Packet|FullyQualifiedName~Burst|FullyQualifiedName~Linear|FullyQualifiedName~Virtqueue|FullyQualifiedName~GuestBuffers|FullyQualifiedName~BothHalves"
others="FullyQualifiedName!~NetBench&FullyQualifiedName!~.Guests&FullyQualifiedName!~.External&FullyQualifiedName!~.Tool&FullyQualifiedName!~.Bench&FullyQualifiedName!~.Documentation&FullyQualifiedName!~CommandLine"
# Explorations of small rings are one call shorter here.
export DOTNET_EnableHWIntrinsic=0 VHOST_SCOPE_EXTRA=-1
for project in tests/{Protocol,Frontend,Backend,Interop}/*.Tests.csproj; do
  run "$(basename "$project" .csproj)-plain" "$project" --filter "($vectors)&$others"
done
unset DOTNET_EnableHWIntrinsic VHOST_SCOPE_EXTRA

if [ -s "$results/skipped.txt" ]; then
  echo
  echo "Skipped, and why:"
  awk -F '\t' '{ print "  " $2 ": " $3 }' "$results/skipped.txt"
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
