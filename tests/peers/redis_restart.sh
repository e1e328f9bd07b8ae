#!/bin/sh
# redis-server has no upgrade: it saves, ends, and is started anew. Its data stay, its connections do not.
#   redis_restart.sh PORT       while redis_supervisor.sh runs it
set -eu
port=$1
before=$(redis-cli -p "$port" info server | sed -n 's/^run_id:\([^\r]*\).*/\1/p')
redis-cli -p "$port" shutdown save >/dev/null 2>&1 || true
for _ in $(seq 1000); do
  now=$(redis-cli -p "$port" info server 2>/dev/null | sed -n 's/^run_id:\([^\r]*\).*/\1/p') || true
  if [ -n "$now" ] && [ "$now" != "$before" ] && [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ]; then
    exit 0
  fi
  sleep 0.01
done
echo "redis-server did not come back" >&2
exit 1
