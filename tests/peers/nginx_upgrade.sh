#!/bin/sh
# The binary upgrade of nginx: a new master beside the old one, then the old one's graceful end.
#   nginx_upgrade.sh PID_FILE
set -eu
pid_file=$1
old=$(cat "$pid_file")
kill -USR2 "$old"
for _ in $(seq 500); do
  if [ -s "$pid_file.oldbin" ] && [ -s "$pid_file" ] && [ "$(cat "$pid_file")" != "$old" ]; then
    # The new master has written its file; its workers accept as soon as they run.
    kill -QUIT "$old"
    exit 0
  fi
  sleep 0.01
done
echo "nginx did not start its new binary" >&2
exit 1
