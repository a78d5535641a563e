#!/bin/busybox sh
# The init of a test guest. Reads lines "ID COMMAND" from the second serial port, runs each with sh and answers with what it printed and,
# in a line of its own, "@ID EXIT". Kernel messages go to the first port.
/bin/busybox mkdir -p /usr/bin /usr/sbin /sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/tmp

exec < /dev/ttyS1 > /dev/ttyS1 2>&1
stty -echo -onlcr
modprobe virtio_pci
printf '\n@ready %s\n' "$(uname -r)"
while IFS= read -r line; do
  id=${line%% *}
  (eval "${line#* }") < /dev/null 2>&1
  printf '\n@%s %s\n' "$id" $?
done
poweroff -f
