# shellcheck shell=bash
# Builds the servers that the VM tier boots, once, and keeps them. Needs say.sh, packages.sh.
#
# In DIR/image afterwards:
#
#   bare.raw    Debian 12 as a hoster delivers it: systemd, sshd, LVM and file systems' tools, no Docker. Docker's
#               packages are in /root/debs, which is a repository for apt too
#   docker.raw  the same with these packages installed
#   vmlinuz, initrd.img   the kernel of both, given to QEMU straight: no boot loader
#   machine.args          what every machine is started with, an argument a line
#   key         logs in as root
#
# A disk image is never written to: machines boot overlays of it.

VM_RECIPE=${BASH_SOURCE[0]}
VM_ROOT_FILES=$(dirname "$VM_RECIPE")/vm-root
VM_INIT=$(dirname "$VM_RECIPE")/vm-init
VM_ROOT_UUID=5f3c9a52-8f0e-4f0c-9d0b-7a5e1c0b4e01

VM_INSIDE=(linux-image-cloud-amd64 systemd-sysv udev dbus apt lvm2 xfsprogs btrfs-progs e2fsprogs fdisk
    openssh-server openssh-client iproute2 kmod procps busybox-static
    apparmor)
# What the docker package needs beside itself to run containers.
VM_DOCKER=(docker.io iptables)
# What would only take time from a test. Docker loads its AppArmor profile by itself. An emulated boot spends a second on each of some of these.
VM_MASKED=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer getty@tty1.service serial-getty@ttyS0.service getty-static.service systemd-pstore.service
    apparmor.service systemd-logind.service systemd-timesyncd.service systemd-networkd.service systemd-rfkill.socket
    systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount modprobe@drm.service modprobe@fuse.service
    modprobe@configfs.service sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
    sys-kernel-tracing.mount)

# Not in one go: a newer qemu-utils may be there, which has to go before qemu-system-x86 can come.
need_qemu() {
    need_packages qemu-system-x86
    need_packages qemu-utils openssh-client util-linux
}

# vm_recipe: changes when an image has to be built anew.
vm_recipe() {
    (cd "$VM_ROOT_FILES" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 cat "$VM_RECIPE" "$VM_INIT") | cksum
}

# make_machines DIR: builds DIR/image unless this recipe has already made it.
make_machines() {
    local dir=$1 recipe
    recipe=$(vm_recipe)
    if [ "$(cat "$dir/image/recipe" 2>/dev/null)" = "$recipe" ]; then
        return
    fi
    is_root || die "building a root file system with its owners and device nodes needs root"
    need_packages mmdebstrap e2fsprogs dpkg-dev busybox-static kmod
    say "building the servers for QEMU (two minutes, once)"
    rm -rf "$dir/image.part"
    mkdir -p "$dir/image.part"
    build_images "$dir/image.part"
    echo "$recipe" >"$dir/image.part/recipe"
    rm -rf "$dir/image"
    mv "$dir/image.part" "$dir/image"
}

# build_images DIR
build_images() {
    local root="$1/root"
    bootstrap_root "$root" "$1/build.log"
    finish_root "$root" "$1"
    cp "$root"/boot/vmlinuz-* "$1/vmlinuz"
    make_initrd "$root" "$1/initrd.img"
    machine_args >"$1/machine.args"
    pack_disk "$root" "$1/bare.raw"
    install_docker_in "$root" "$1/build.log"
    pack_disk "$root" "$1/docker.raw"
    rm -rf "$root" "$1/build.log"
}

bootstrap_root() {
    local root=$1 log=$2 inside
    inside=$(IFS=,; echo "${VM_INSIDE[*]}")
    # shellcheck disable=SC2016 # $1 and $MMDEBSTRAP_APT_CONFIG are for the hooks' own shell
    if ! mmdebstrap --variant=minbase --include="$inside" --format=directory \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook="sync-in '$VM_ROOT_FILES' /" \
        --customize-hook='rm -f "$1"/var/cache/apt/archives/*.deb' \
        --customize-hook='APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --no-install-recommends --download-only install '"${VM_DOCKER[*]}" \
        --customize-hook='mkdir "$1/root/debs" && mv "$1"/var/cache/apt/archives/*.deb "$1/root/debs/"' \
        bookworm "$root" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "mmdebstrap could not make a Debian root file system"
    fi
}

# finish_root ROOT DIR: what differs between a root file system and a machine that was installed.
finish_root() {
    local root=$1 unit
    repack_debs "$root/root/debs"
    (cd "$root/root/debs" && dpkg-scanpackages --multiversion . 2>/dev/null >Packages)
    : >"$root/etc/apt/sources.list" # nothing that a machine in QEMU could reach
    rm -f "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root/etc/resolv.conf"
    echo vm >"$root/etc/hostname"
    printf '127.0.0.1 localhost vm\n' >"$root/etc/hosts"
    # Without an id it would be the first boot, which takes long.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    printf 'UUID=%s / ext4 errors=remount-ro 0 1\n' "$VM_ROOT_UUID" >"$root/etc/fstab"
    for unit in "${VM_MASKED[@]}"; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -sf /etc/systemd/system/rig-network.service "$root/etc/systemd/system/multi-user.target.wants/"
    rm -f "$root"/boot/initrd.img-* "$root"/initrd.img*
    echo 'update_initramfs=no' >"$root/etc/initramfs-tools/update-initramfs.conf"
    ssh-keygen -q -t ed25519 -N '' -C rig -f "$2/key"
    rm -f "$root"/etc/ssh/ssh_host_{rsa,ecdsa}_key*
    install -d -m 700 "$root/root/.ssh"
    install -m 600 "$2/key.pub" "$root/root/.ssh/authorized_keys"
}

# repack_debs DIR: the same packages without compression. An emulated processor takes a minute to unpack what is in Docker's.
repack_debs() {
    local deb tree
    tree=$(mktemp -d)
    for deb in "$1"/*.deb; do
        dpkg-deb --raw-extract "$deb" "$tree/deb"
        dpkg-deb -Znone --build "$tree/deb" "$deb" >/dev/null
        rm -rf "$tree/deb"
    done
    rmdir "$tree"
}

# make_initrd ROOT FILE: a busybox and the modules of the root disk.
make_initrd() {
    local root=$1 initrd version module
    initrd=$(mktemp -d)
    mkdir "$initrd"/{bin,dev,root}
    mknod "$initrd/dev/console" c 5 1
    install -m 0755 "$(find_program busybox)" "$initrd/bin/busybox"
    install -m 0755 "$VM_INIT" "$initrd/init"
    version=$(basename "$root"/lib/modules/*)
    for module in virtio_pci virtio_blk; do
        modprobe --dirname "$root" --set-version "$version" --show-depends "$module"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
        cp "$module" "$initrd/"
        basename "$module" >>"$initrd/modules"
    done
    (cd "$initrd" && find . | busybox cpio -o -H newc 2>/dev/null) >"$2"
    rm -rf "$initrd"
}

install_docker_in() {
    printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" # nothing starts in a chroot
    chmod 0755 "$1/usr/sbin/policy-rc.d"
    if ! DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        chroot "$1" sh -c 'dpkg --install /root/debs/*.deb' >>"$2" 2>&1 </dev/null; then
        tail -n 20 "$2" >&2
        die "the packages of Docker cannot be installed in the root file system"
    fi
    rm "$1/usr/sbin/policy-rc.d"
}

# pack_disk ROOT FILE: one ext4 without a partition table. Sparse: what is not used takes no space.
pack_disk() {
    truncate -s 6G "$2"
    mkfs.ext4 -q -F -L root -U "$VM_ROOT_UUID" -d "$1" "$2" || die "mkfs.ext4 could not write $2"
}

# Emulated, because hardware acceleration is not everywhere. What costs an emulated processor most is left out: extensions
# for vectors, copying by string instructions (clearcpuid=112, rep_good), and a second processor, which waits for the
# first by spinning. A reboot ends QEMU, so that whoever started it decides what comes next.
machine_args() {
    printf '%s\n' -accel tcg -cpu Nehalem,+rdrand -M q35 -m 1536 -smp 1 \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel vmlinuz -initrd initrd.img \
        -append 'root=/dev/vda rw console=ttyS0 quiet loglevel=4 mitigations=off nokaslr audit=0 tsc=reliable no_timer_check clearcpuid=112'
}
