# shellcheck shell=bash
# Builds berth, as the person who called sudo where there is one. Needs say.sh, packages.sh, patched.sh.

# build_berth ROOT [PROFILE]: sets BERTH_BUILT to the program. "release" is what goes to a node, "dev" has the
# checks of a debug build.
build_berth() {
    if [ -n "${BERTH_BIN:-}" ]; then
        [ -x "$BERTH_BIN" ] || die "BERTH_BIN is $BERTH_BIN, which cannot be run"
        BERTH_BUILT=$BERTH_BIN
        return
    fi
    local host profile=${2:-release}
    find_cargo
    need_compiler
    patch_russh "$1"
    say "building berth (the first time takes some minutes)"
    local quiet=(--quiet) # a progress bar where somebody looks, nothing elsewhere
    [ ! -t 2 ] || quiet=()
    (cd "$1" && as_caller cargo build --profile "$profile" --locked "${quiet[@]}") || die "berth does not build; see above"
    host=$(cd "$1" && as_caller rustc -vV | sed -n 's/^host: //p')
    [ "$profile" != dev ] || profile=debug # cargo's name for its directory
    BERTH_BUILT="${CARGO_TARGET_DIR:-$1/target}/$host/$profile/berth"
    [ -x "$BERTH_BUILT" ] || die "cargo built no $BERTH_BUILT"
}

# sudo gives root's PATH, while rustup installs into the caller's home.
find_cargo() {
    local home
    home=$(getent passwd "${SUDO_USER:-$(id -un)}" | cut -d: -f6)
    export PATH="$PATH:$home/.cargo/bin"
    command -v cargo >/dev/null ||
        die "cargo is missing; install Rust 1.95 or newer with rustup and run this again, or set BERTH_BIN to a built berth"
}

# Files in target/ and in the cargo cache stay the caller's own.
as_caller() {
    if is_root && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        sudo -u "$SUDO_USER" -H env PATH="$PATH" ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"} "$@"
    else
        "$@"
    fi
}
