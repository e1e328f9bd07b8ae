#!/bin/sh
# Starts nginx in the foreground's process group, as a child of a process that ends: it upgrades only
# when its parent is another one than it was started by, as after daemon(3).
#   nginx_start.sh PORT DIRECTORY
set -eu
sed -e "s,DIR,$2,g" -e "s,PORT,$1," "$(dirname "$0")/nginx.conf" >"$2/conf"
program=$(command -v nginx)
(
  "$program" -p "$2" -c "$2/conf" &
  for _ in $(seq 500); do
    [ -s "$2/nginx.pid" ] && exit 0
    sleep 0.01
  done
  exit 1
)
exec tail -f /dev/null
