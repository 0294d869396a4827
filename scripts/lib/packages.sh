# shellcheck shell=bash
# Installs what is missing, from the distribution's own packages, and nothing else. Needs say.sh.

package_manager() {
    local name
    for name in apt-get dnf yum; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

has_package() {
    if command -v dpkg-query >/dev/null; then
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
    else
        rpm -q --quiet "$1"
    fi
}

# need_packages NAME...: installs those that are not there.
need_packages() {
    local missing=() name
    for name in "$@"; do
        has_package "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# need_program PROGRAM: installs its package when the program is not there, wherever it came from.
need_program() {
    local found packages
    found=$(find_program "$1") && [ -n "$found" ] && return
    read -ra packages <<<"$(packages_of "$1")"
    [ ${#packages[@]} -gt 0 ] || die "$1 is missing, and no package of this distribution has it; install it and run this again"
    install_packages "${packages[@]}"
    find_program "$1" >/dev/null || die "$1 is still missing after installing ${packages[*]}"
}

# A C compiler, and the static C library that the static binary is linked with.
need_compiler() {
    need_program cc
    if [ "$(cc -print-file-name=libc.a)" = libc.a ]; then
        local packages
        read -ra packages <<<"$(packages_of cc)"
        install_packages "${packages[@]}"
    fi
}

# Administrators' directories are not on everybody's PATH.
find_program() {
    PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1"
}

# packages_of PROGRAM: what it is called here.
packages_of() {
    local manager
    manager=$(package_manager) || return 0
    case "$1:$manager" in
    dockerd:apt-get) echo docker.io ;;
    dockerd:*) first_available "$manager" docker-engine moby-engine docker docker-ce ;;
    busybox:apt-get) echo busybox-static ;;
    ssh:apt-get | ssh-keygen:apt-get) echo openssh-client ;;
    ssh:* | ssh-keygen:*) echo openssh-clients ;;
    cc:apt-get) echo gcc libc6-dev ;;
    cc:*) echo gcc glibc-devel glibc-static ;; # the binary is linked statically
    setsid:*) echo util-linux ;;
    node:*) echo nodejs ;;
    *) echo "$1" ;;
    esac
}

first_available() {
    local manager=$1 name
    shift
    for name in "$@"; do
        if "$manager" -q list "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
}

install_packages() {
    local manager log
    manager=$(package_manager) || die "install $* by hand: this machine has none of apt-get, dnf, yum"
    is_root || die "$* is missing; run this as root (sudo), or install it and run this again"
    say "installing $*"
    log=$(mktemp)
    if ! run_installer "$manager" "$@" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "$manager could not install $*"
    fi
    rm -f "$log"
}

run_installer() {
    local manager=$1
    shift
    if [ "$manager" != apt-get ]; then
        "$manager" install -y "$@"
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    local options=(-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)
    # Lists may be absent (a fresh machine) or name versions that the mirror no longer has.
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install -y --no-install-recommends "$@"
}
