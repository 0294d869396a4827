# shellcheck shell=bash
# Makes root file systems for tests and for the quickstart: no registry is needed. Needs say.sh, packages.sh.
#
#   busybox.tar    one file, /bin/busybox: the hardest case for SSH
#   workspace.tar  busybox with its commands and the user ma-user: made in a second
#   debian.tar     Debian 12 with bash and ma-user, as ModelArts images have: half a minute, kept
#   sshd.tar       the same with OpenSSH's and dropbear's servers: what benches/ssh compares with

IMAGES_RECIPE=${BASH_SOURCE[0]}

# make_image NAME DIR: writes DIR/NAME.tar unless this recipe has already made it.
make_image() {
    local name=$1 tar="$2/$1.tar" recipe
    recipe=$(cksum <"$IMAGES_RECIPE")
    if [ -s "$tar" ] && [ "$(cat "$tar.recipe" 2>/dev/null)" = "$recipe" ]; then
        return
    fi
    say "making the image $name"
    mkdir -p "$2"
    "make_$name" "$tar.part"
    mv -f "$tar.part" "$tar"
    echo "$recipe" >"$tar.recipe"
}

make_busybox() {
    local root
    root=$(mktemp -d)
    copy_busybox "$root"
    pack_root "$root" "$1"
}

make_workspace() {
    local root applet
    root=$(mktemp -d)
    copy_busybox "$root"
    while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done < <("$root/bin/busybox" --list)
    mkdir -p "$root"/{dev,etc,proc,root,sys,usr,home/ma-user}
    mkdir -m 1777 "$root/tmp"
    ln -s ../bin "$root/usr/bin"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'ma-user:x:1000:100::/home/ma-user:/bin/sh' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'users:x:100:' >"$root/etc/group"
    chown 1000:100 "$root/home/ma-user"
    pack_root "$root" "$1"
}

copy_busybox() {
    local busybox
    need_program busybox
    busybox=$(find_program busybox)
    # An image has no dynamic linker to offer.
    if ldd "$busybox" >/dev/null 2>&1; then
        die "$busybox is not static; install a static busybox (Debian: busybox-static)"
    fi
    chmod 0755 "$1"
    mkdir -p "$1/bin"
    install -m 0755 "$busybox" "$1/bin/busybox"
}

# pack_root DIR TAR: the same input makes the same bytes.
pack_root() {
    tar -C "$1" --sort=name --mtime=@0 --numeric-owner -cf "$2" .
    rm -rf "$1"
}

make_debian() {
    pack_debian "$1" bash,procps,rsync
}

make_sshd() {
    pack_debian "$1" bash,procps,socat,openssh-server,dropbear-bin
}

# pack_debian TAR PACKAGES
pack_debian() {
    local log="$1.log"
    need_program mmdebstrap
    # shellcheck disable=SC2016 # $1 is for the hook's own shell
    if ! mmdebstrap --quiet --variant=minbase --include="$2" --format=tar \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='chroot "$1" useradd --create-home --uid 1000 --gid 100 --shell /bin/bash ma-user' \
        bookworm "$1" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "mmdebstrap could not make a Debian root file system; its output: $log"
    fi
    rm -f "$log"
}
