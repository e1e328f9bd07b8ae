#!/bin/sh
# HAProxy's reload: the master executes itself again and starts new workers; the old ones finish what
# they have. Done when the master's worker is another process.
#   haproxy_reload.sh MASTER_PID
set -eu
children() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; }
before=$(children "$1")
kill -USR2 "$1"
for _ in $(seq 500); do
  now=$(children "$1")
  for child in $now; do
    case " $before " in *" $child "*) ;; *) exit 0 ;; esac
  done
  sleep 0.01
done
echo "HAProxy started no new worker" >&2
exit 1
