#!/bin/bash
# Prints the line coverage of codec, transport and ring code, per part and in total; fails below 95 % in total.
#
#   tests/coverage.sh
#
# Parts: src/Protocol/{Wire,Transport,Notification,Rings,Memory}, src/Frontend/Rings, src/Backend/Rings. Code made by source generators does not count.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
exec < /dev/null
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

# Counting what two threads reach at once is slow: the tests with memory that is rewritten meanwhile do not need their full numbers here.
export VHOST_TEST_DESCRIPTORS=2000

results=out/coverage
rm -rf "$results"
mkdir -p "$results"
dotnet build -c Release Vhost.Frontend.sln -v q --nologo -clp:ErrorsOnly || exit 1

for project in Protocol Frontend Backend Interop; do
  # The tests with other processes cover nothing here that the others do not.
  filter="FullyQualifiedName!~.External&FullyQualifiedName!~.Tool&FullyQualifiedName!~.Documentation"
  dotnet test "tests/$project" -c Release --no-build --nologo -v q --results-directory "$results/$project" --filter "$filter" \
    --collect "XPlat Code Coverage" --settings tests/coverage.runsettings --blame-hang-timeout 5m --blame-hang-dump-type none ||
    { echo "tests/$project failed; coverage of failing tests means nothing."; exit 1; }
done

find "$results" -name 'coverage.cobertura.xml' -exec cat {} + | awk '
  function part_of(file,  n, piece) {
    sub(/^.*src\//, "", file)
    n = split(file, piece, "/")
    if (n < 3) return ""
    if (piece[1] == "Protocol" && piece[2] ~ /^(Wire|Transport|Notification|Rings|Memory)$/) return piece[1] "/" piece[2]
    if ((piece[1] == "Frontend" || piece[1] == "Backend") && piece[2] == "Rings") return piece[1] "/" piece[2]
    return ""
  }
  # Cobertura names files relative to one of its sources: the tree above them is put back.
  /<source>/ { source = $0; sub(/.*<source>/, "", source); sub(/<\/source>.*/, "", source) }
  /<class / { file = $0; sub(/.* filename="/, "", file); sub(/".*/, "", file); file = source "/" file; gsub(/\/+/, "/", file); inside = file ~ /\/obj\// ? "" : part_of(file) }
  inside != "" && /<line / {
    number = $0; sub(/.* number="/, "", number); sub(/".*/, "", number)
    hits = $0; sub(/.* hits="/, "", hits); sub(/".*/, "", hits)
    key = file ":" number
    if (!(key in part)) { part[key] = inside; total[inside]++ }
    if (hits > 0 && !(key in hit)) { hit[key] = 1; covered[inside]++ }
  }
  END {
    for (key in part) if (!(key in hit)) print key > "out/coverage/uncovered.txt"
    for (name in total) { printf "%-24s %6.2f %%  (%d of %d lines)\n", name, 100 * covered[name] / total[name], covered[name], total[name] | "sort"; all += total[name]; reached += covered[name] }
    close("sort")
    if (all == 0) { print "No coverage was collected."; exit 1 }
    printf "%-24s %6.2f %%  (%d of %d lines)\n", "total", 100 * reached / all, reached, all
    exit (100 * reached / all >= 95) ? 0 : 1
  }'
code=$?
[ "$code" -eq 0 ] || echo "Coverage is below 95 %. Lines that no test reaches: out/coverage/uncovered.txt"
exit "$code"
