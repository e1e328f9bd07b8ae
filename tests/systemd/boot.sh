#!/bin/bash
# Boots systemd as PID 1 of namespaces of its own, over a copy-on-write view of this machine's files.
# usage: unshare --pid --fork --mount --uts boot.sh WORK UNITS
# WORK/share is /srv/liveexec in there. Nothing of the machine outside of WORK is changed.
set -euo pipefail
work=$1 units=$2

mount --make-rprivate /
mount -t tmpfs tmpfs "$work/overlay"
mkdir "$work"/overlay/{changed,scratch,root}
root=$work/overlay/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/overlay/changed,workdir=$work/overlay/scratch" "$root"
mkdir -p "$root/srv/liveexec"
mount --bind "$work/share" "$root/srv/liveexec"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/run/systemd/system"
cp "$units"/* "$root/run/systemd/system/"
hostname liveexec-systemd
exec chroot "$root" env -i container=liveexec PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=liveexec.target --log-target=console --show-status=0
