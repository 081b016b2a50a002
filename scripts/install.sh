#!/usr/bin/env bash
# Installs the release binary, root-owned; with SETUID=1 so that anyone may start it as root.
#
#     [PREFIX=/usr/local] [DESTDIR=] [SETUID=1] scripts/install.sh
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

readonly binary=target/release/softnet
readonly dir=${DESTDIR:-}${PREFIX:-/usr/local}/bin
readonly setuid=${SETUID:-0}

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

[[ -x $binary ]] || fail "$binary is not built: run 'make build' as yourself first"

as_root=(scripts/as-root.sh)
mode=0755 owner=(-o 0 -g 0)
if [[ $setuid == 1 ]]; then mode=4755; fi
if [[ -n ${DESTDIR:-} ]]; then
    as_root=()
    ((EUID == 0)) || owner=() # a package's build sets the owner itself
fi
# Whoever can write to a directory above a setuid program can put another in its place.
if [[ $setuid == 1 && -z ${DESTDIR:-} ]]; then
    above=$dir
    while [[ ! -d $above ]]; do above=${above%/*}; done
    above=$(cd "${above:-/}" && pwd -P)
    while :; do
        # shellcheck disable=SC2012  # stat's options differ between Linux and macOS, ls -ldn is the same
        read -r perms _ uid gid _ < <(ls -ldn "$above")
        [[ $uid == 0 && ${perms:8:1} != w ]] ||
            fail "$above may be changed by others than root: no place for a setuid program; choose another PREFIX"
        [[ $gid == 0 || ${perms:5:1} != w ]] ||
            printf 'install: WARNING: whoever is in group %s may replace what is in %s\n' "$gid" "$above" >&2
        [[ $above != / ]] || break
        above=${above%/*}
        above=${above:-/}
    done
fi

"${as_root[@]}" mkdir -p "$dir"

# A new file under another name first: an open or running softnet is never half written, nor seen with a wrong mode.
"${as_root[@]}" install ${owner[@]+"${owner[@]}"} -m "$mode" "$binary" "$dir/.softnet.new"
"${as_root[@]}" mv -f "$dir/.softnet.new" "$dir/softnet"
printf 'installed %s (mode %s)\n' "$dir/softnet" "$mode"
