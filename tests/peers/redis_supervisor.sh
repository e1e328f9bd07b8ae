#!/bin/sh
# Starts redis-server again whenever it has ended, as a service manager does.
#   redis_supervisor.sh PORT DIRECTORY
set -eu
for _ in $(seq 1000); do
  redis-server --port "$1" --bind 127.0.0.1 --dir "$2" --pidfile "$2/redis.pid" --save 3600 1 \
    --appendonly no --daemonize no &
  echo $! >"$2/redis.pid.now"
  wait $! || exit 1
done
