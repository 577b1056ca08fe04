#!/bin/busybox sh
# The first program of a host, in its initial RAM disk: loads the drivers, puts this machine's file system under an
# overlay, and hands over to host.sh there. What it prints goes to the console, a file on this machine.
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
# Named by the order in which they must be loaded.
for module in /modules/*; do insmod "$module" || echo "soft-roce: insmod $module failed"; done

# The machine's file system can be cached at will: it is expected to stay as it is while the host lives.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=1048576,cache=loose machine /lower
mount -t tmpfs -o size=75% over /over; mkdir /over/up /over/work
mount -t overlay -o lowerdir=/lower,upperdir=/over/up,workdir=/over/work root /root
mkdir -p /dev/shm /dev/pts
mount -t proc proc /root/proc; mount -t sysfs sys /root/sys; mount --bind /dev /root/dev
mount -t tmpfs -o size=50% shm /root/dev/shm; mount -t devpts pts /root/dev/pts
mount -t tmpfs run /root/run; mkdir -p /root/run/pegaflow/control /root/run/pegaflow/out
# These two are written on both sides, so nothing of them is cached.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576 control /root/run/pegaflow/control
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576 out /root/run/pegaflow/out

ip link set lo up
host=$(sed 's/.*pegaflow_host=\([0-9]\).*/\1/' /proc/cmdline)
chroot /root /usr/bin/env -i /bin/bash "/run/pegaflow/control/host-$host.sh" </dev/null >/dev/console 2>&1
sync; poweroff -f
