#!/bin/sh
# First process of a guest: mounts, lets the kernel load its modules, then runs the scripts that
# appear as NUMBER.sh in the exchange folder, one after the other, and leaves NUMBER.out and
# NUMBER.status. A file `halt` ends it. EXCHANGE and TOOLS are folders of the machine outside.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run
mount -t tmpfs mnt /mnt
mkdir -p /mnt/exchange /mnt/tools /run/modules/lib/modules /run/bin /dev/net
mount -t hostfs none /mnt/exchange -o EXCHANGE
mount -t hostfs none /mnt/tools -o TOOLS
mount --bind /usr/lib/uml/modules /run/modules/lib/modules
printf '#!/bin/sh\nexec modprobe -d /run/modules "$@"\n' >/run/bin/modprobe
chmod 755 /run/bin/modprobe
echo /run/bin/modprobe >/proc/sys/kernel/modprobe
for module in ipv6 tun xfrm_user esp4 esp6; do modprobe -d /run/modules "$module"; done
ip link set lo up
cd /mnt/exchange || exit 1
touch ready
number=1
while [ ! -e halt ]; do
  if [ -e "$number.sh" ]; then
    sh "$number.sh" >"$number.out" 2>&1 </dev/null
    echo $? >"$number.new"
    mv "$number.new" "$number.status"
    number=$((number + 1))
  else
    sleep 0.02
  fi
done
echo o >/proc/sysrq-trigger
sleep 5
