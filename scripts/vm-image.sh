#!/bin/sh
# Builds what the real VM of the tests boots: a kernel and an initramfs, under target/vm/ (or the directory named).
#
#   scripts/vm-image.sh [DIRECTORY]      ->  DIRECTORY/vmlinuz, DIRECTORY/initramfs.gz
#
# Nothing is installed on the machine: the kernel comes out of Debian's package linux-image-cloud-amd64, fetched with
# `apt-get download` and unpacked in place. On a distribution without that package, set SOFTNET_VM_KERNEL_PACKAGE to the
# name of one whose modules are plain or xz-packed .ko files. What is there already is not built again.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$here/../target/vm}
init=$here/vm-init.sh
# In the order in which they must be loaded. virtio_mmio is for QEMU's microvm.
modules='virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_mmio failover net_failover virtio_net af_packet'
lease=$here/vm-udhcpc.sh

say() { echo "vm-image: $*" >&2; }
die() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "the program $1 is missing: apt-get install $2"; }

need busybox busybox-static
need cpio cpio
need gzip gzip
need dpkg-deb dpkg
need apt-get apt

mkdir -p "$out"
[ -w "$out" ] || die "$out belongs to $(stat -c %U "$out"): sudo chown -R $(id -un) $out, or name another directory"
out=$(CDPATH='' cd -- "$out" && pwd)

# Two tests that start at once build it once.
[ ! -e "$out/.lock" ] || [ -w "$out/.lock" ] ||
    die "$out was made by $(stat -c %U "$out/.lock"): sudo chown -R $(id -un) $out, or name another directory"
exec 9>"$out/.lock"
command -v flock >/dev/null 2>&1 && flock 9

if [ -s "$out/vmlinuz" ] && [ -s "$out/initramfs.gz" ] &&
    [ "$out/initramfs.gz" -nt "$init" ] && [ "$out/initramfs.gz" -nt "$lease" ] && [ "$out/initramfs.gz" -nt "$0" ]; then
    exit 0
fi

busybox=$(command -v busybox)
if command -v ldd >/dev/null 2>&1 && ldd "$busybox" >/dev/null 2>&1; then
    die "$busybox is not static, so it cannot be the whole system of a VM: apt-get install busybox-static"
fi

kernel_package() {
    if [ -n "${SOFTNET_VM_KERNEL_PACKAGE:-}" ]; then
        echo "$SOFTNET_VM_KERNEL_PACKAGE"
        return
    fi
    apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

# What an older script took out of the package may lack a module.
if ! [ -s "$out/vmlinuz" ] || [ "$(cat "$out/modules/wanted" 2>/dev/null)" != "$modules" ]; then
    package=$(kernel_package)
    if [ -z "$package" ]; then
        [ "$(id -u)" = 0 ] || [ -n "$(apt-cache pkgnames linux-image- 2>/dev/null | head -n 1)" ] ||
            die "apt has no list of packages yet, and only root may fetch it: sudo apt-get update, then this again"
        if [ "$(id -u)" = 0 ]; then
            say "no list of packages yet: running apt-get update"
            apt-get update -qq >&2
        fi
        package=$(kernel_package)
    fi
    [ -n "$package" ] || die "no package linux-image-cloud-amd64 here: set SOFTNET_VM_KERNEL_PACKAGE to a kernel's package"
    say "fetching $package with apt-get download (about 25 MB), unpacking it under $out"
    work=$(mktemp -d "$out/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq "$package" >&2) || die "apt-get download $package failed: an old list of packages? sudo apt-get update"
    dpkg-deb -x "$work"/*.deb "$work/root"
    rm -rf "$out/modules"
    mkdir "$out/modules"
    for module in $modules; do # one that is built into the kernel is not there, which is fine
        file=$(find "$work/root" -name "$module.ko" -o -name "$module.ko.xz" | head -n 1)
        [ -n "$file" ] || continue
        case $file in
        *.xz) xz -dc "$file" >"$out/modules/$module.ko" ;;
        *) cp "$file" "$out/modules/$module.ko" ;;
        esac
        echo "$module" >>"$out/modules/order"
    done
    grep -q virtio_net "$out/modules/order" || die "no virtio_net in $package"
    cp "$work"/root/boot/vmlinuz-* "$out/vmlinuz.new"
    mv "$out/vmlinuz.new" "$out/vmlinuz"
    echo "$modules" >"$out/modules/wanted"
fi

say "packing the initramfs: busybox, $(wc -l <"$out/modules/order") modules, $(basename "$init")"
tree=$(mktemp -d "$out/.tree.XXXXXX")
trap 'rm -rf "$tree" "${work:-$tree}"' EXIT
mkdir -p "$tree/bin" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/etc" "$tree/modules"
cp "$busybox" "$tree/bin/busybox"
cp "$out"/modules/* "$tree/modules/"
install -m 755 "$init" "$tree/init"
install -m 755 "$lease" "$tree/udhcpc.sh"
(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$out/initramfs.new"
mv "$out/initramfs.new" "$out/initramfs.gz"
