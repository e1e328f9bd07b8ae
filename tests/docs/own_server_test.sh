#!/bin/sh
# The example project is red as it is, and green once its server hands its sockets over.
set -u
LIVEEXEC_TORTURE=$PWD/tests/harness/torture/liveexec-torture
export LIVEEXEC_TORTURE REPORT="$TEST_TMPDIR/report" UPGRADES=3 MAX_GAP=10000
SERVER=losing sh examples/own-server/ci.sh >"$TEST_TMPDIR/red" 2>&1
status=$?
if [ "$status" -ne 1 ] || ! grep -q '^connection-lost' "$TEST_TMPDIR/red"; then
  cat "$TEST_TMPDIR/red"
  echo "exit code $status; the server that loses its connections was not caught"
  exit 1
fi
SERVER=keeping sh examples/own-server/ci.sh || {
  echo "the server that keeps its connections did not pass"
  exit 1
}
for report in report.html report.json junit.xml; do
  [ -s "$REPORT/$report" ] || { echo "no $report"; exit 1; }
done
