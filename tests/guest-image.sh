#!/bin/bash
# Makes the guest of tests/Interop/Guest: the kernel of Debian's package linux-image-cloud-amd64, unpacked and not installed, and an
# initramfs with busybox, the virtio modules and mkfs.ext4. Both go to out/guest, and are made once: --force makes them anew.
#
#   tests/guest-image.sh [--force]
#
# Needs apt-get, dpkg, busybox (busybox-static), cpio, depmod (kmod) and mke2fs (e2fsprogs). Modules: GUEST_MODULES, names as modprobe takes
# them, replaces the list below.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin:/sbin

modules=${GUEST_MODULES:-virtio_pci virtio_blk virtio_net virtio_rng virtio_console virtio_scsi virtio_balloon virtio_input virtiofs vmw_vsock_virtio_transport}
target=out/guest
recipe=$(cat tests/guest-image.sh tests/guest-init.sh | sha256sum | cut -d ' ' -f 1)" $modules"

case "${1:-}" in
  --force) rm -rf "$target" ;;
  -h|--help) sed -n '2,8s/^# \{0,1\}//p' tests/guest-image.sh; exit 0 ;;
  "") ;;
  *) echo "tests/guest-image.sh: unknown option '$1'. See tests/guest-image.sh --help." >&2; exit 2 ;;
esac
[ "$(cat "$target/recipe" 2> /dev/null)" != "$recipe" ] || exit 0

for program in apt-get dpkg busybox cpio depmod modprobe mke2fs ldd; do
  command -v "$program" > /dev/null || { echo "tests/guest-image.sh: $program is not installed." >&2; exit 1; }
done

mkdir -p out
work=$(mktemp -d "$PWD/out/guest-XXXXXX")
trap 'rm -rf "$work"' EXIT

package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$package" ] || { echo "tests/guest-image.sh: apt knows no package linux-image-cloud-amd64; run apt-get update." >&2; exit 1; }
(cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package" && dpkg -x "$package"_*.deb kernel)
kernel=$(basename "$work"/kernel/lib/modules/*)
depmod -b "$work/kernel" "$kernel"

root=$work/root
mkdir -p "$root"/{bin,dev,etc,lib64,mnt,proc,run,sys,tmp} "$root/lib/modules/$kernel"
cp "$(command -v busybox)" "$root/bin/busybox"
install -m 755 tests/guest-init.sh "$root/init"
: > "$root/etc/mke2fs.conf"
[ ! -e /etc/mke2fs.conf ] || cp /etc/mke2fs.conf "$root/etc/"

# The program, and every library that it says it needs, where it looks for them.
cp "$(command -v mke2fs)" "$root/bin/mkfs.ext4"
ldd "$root/bin/mkfs.ext4" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

for module in $modules; do
  modprobe -d "$work/kernel" -S "$kernel" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
  place=$root/lib/modules/$kernel/${file#*/lib/modules/"$kernel"/}
  mkdir -p "$(dirname "$place")"
  cp "$file" "$place"
done
cp "$work/kernel/lib/modules/$kernel"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$kernel/"
depmod -b "$root" "$kernel"

mkdir "$work/guest"
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) | gzip -1 > "$work/guest/initramfs.gz"
cp "$work/kernel/boot/vmlinuz-$kernel" "$work/guest/vmlinuz"
echo "$recipe" > "$work/guest/recipe"
rm -rf "$target"
mv "$work/guest" "$target"
echo "Made the guest for tests: $package, $(du -sh "$target/initramfs.gz" | cut -f 1) initramfs, in $target"
