#!/bin/sh
# Boots systemd in the directory $1 (its `upper` over the layers $2), as process 1 of namespaces of its own:
# run by tests/package/machine.ts under unshare. Everything that it mounts goes with it.
set -e
base=$1
root=$base/root

mount -t overlay overlay -o "lowerdir=$2,upperdir=$base/upper,workdir=$base/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"

# Version 2 where the kernel has given it to us, else systemd's own hierarchy of version 1.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  mkdir "$root/sys/fs/cgroup/unified" "$root/sys/fs/cgroup/systemd"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
  mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for each in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${each%%:*}" "$root/dev/${each#*:}"; done

ip link set lo up

# Not by chroot alone, in which nobody may make the user namespaces that the unit asks for.
cd "$root"
mkdir -p mnt
pivot_root . mnt
# Shared, as where systemd finds no container: it hands out credentials by mounts of a process of its own.
exec chroot . /bin/sh -c 'umount -l /mnt && mount --make-rshared / && exec /usr/bin/env -i container=other \
  PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=no'
