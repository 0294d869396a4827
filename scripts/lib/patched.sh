# shellcheck shell=bash
# Puts a copy of russh with our changes where cargo takes it from, in every later build. Needs say.sh, packages.sh, build.sh.
#
# .cargo/config.toml includes target/patched/config.toml where that is. It overrides the crate by path, which leaves Cargo.lock
# as it is. Cargo keeps what it built with and without it apart, so that going back and forth builds nothing twice.

# patch_russh ROOT: nothing happens where it is done already.
patch_russh() {
    local root=$1 version changes made="$1/target/patched"
    version=$(sed -n '/^name = "russh"$/{n;s/^version = "\(.*\)"$/\1/p}' "$root/Cargo.lock")
    changes="$root/scripts/lib/russh-$version.diff"
    if [ ! -e "$changes" ]; then
        rm -rf "$made" # else cargo would go on with the old version
        die "Cargo.lock has russh $version, and $(cd "$root" && echo scripts/lib/russh-*.diff) is not for it: make the changes anew, or remove the file and this step"
    fi
    ! cmp -s "$changes" "$made/changes.diff" || return 0
    find_cargo
    need_program patch
    say "changing russh $version: $(sed -n 's/^- //p' "$changes" | wc -l) mendings of scripts/lib/russh-$version.diff"
    as_caller rm -rf "$made"
    (cd "$root" && as_caller bash -euo pipefail -c "$MAKE_PATCHED" patched "$version" "$changes" "$made") ||
        die "russh cannot be changed; see above"
}

# The registry's crate is wherever this cargo keeps it; a mirror has a directory of its own. Made aside and moved, so that
# a run that was stopped leaves nothing half done.
# shellcheck disable=SC2016 # for the shell that runs as the caller
MAKE_PATCHED='
version=$1 changes=$2 made=$3
manifest=$(cargo metadata --locked --format-version 1 --filter-platform "$(rustc -vV | sed -n "s/^host: //p")" |
    tr "," "\n" | sed -n "/^\"id\":\".*#russh@$version\"/,/^\"manifest_path\":/s/^\"manifest_path\":\"\(.*\)\"\$/\1/p")
[ -n "$manifest" ] || { echo "cargo names no directory of russh $version" >&2; exit 1; }
mkdir -p "${made%/*}"
new=$(mktemp -d "$made.XXXXXX")
trap "rm -rf \"$new\"" EXIT
cp -R "${manifest%/*}" "$new/russh-$version"
chmod -R u+w,go+rX "$new"
patch --quiet --directory "$new/russh-$version" --strip 1 <"$changes"
cp "$changes" "$new/changes.diff"
printf "paths = [\"patched/russh-%s\"]\n\n[env]\nBERTH_RUSSH = \"changed\" # tests ask for it\n" "$version" >"$new/config.toml"
mv "$new" "$made"
'
