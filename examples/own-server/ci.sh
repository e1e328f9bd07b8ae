#!/bin/sh
# What a CI job runs: exit code 0 when no client noticed an upgrade.
set -eu
cd "$(dirname "$0")"
exec "${LIVEEXEC_TORTURE:-liveexec-torture}" \
  --server "python3 server.py {port} ${SERVER:-losing}" \
  --upgrade sighup --done-line 'listening on' \
  --protocol echo --clients 8 --idle 20 --upgrades "${UPGRADES:-5}" --max-gap "${MAX_GAP:-2000}" \
  --report "${REPORT:-report}"
