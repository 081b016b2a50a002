#!/usr/bin/env bash
# Installs softnet, root-owned; with SETUID=1 so that anyone may start it as root.
#
#     [PREFIX=/usr/local] [DESTDIR=] [SETUID=1] scripts/install.sh             what `make build` built
#     [PREFIX=/usr/local] [DESTDIR=] [SETUID=1] scripts/install.sh ARCHIVE     a release's, if SHA256SUMS beside it has it as it is
#     [PREFIX=/usr/local] [DESTDIR=] [SETUID=1] ./install.sh                   in a release's archive, unpacked
#     [PREFIX=/usr/local] [DESTDIR=] scripts/install.sh --remove               removes what any of these put there
#
# Manual pages and completions come along: a release's, or those that `make manual` made. SHA256SUMS says that the archive is whole,
# not who made it: for that, `gh attestation verify ARCHIVE`.
set -euo pipefail
umask 022 # what is made is for every user, whatever root's own files are
readonly dir=${DESTDIR:-}${PREFIX:-/usr/local}/bin share=${DESTDIR:-}${PREFIX:-/usr/local}/share
readonly setuid=${SETUID:-0}

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

as_root=()
((EUID == 0)) || [[ -n ${DESTDIR:-} ]] || as_root=(sudo)
as_root() { ${as_root[@]+"${as_root[@]}"} "$@"; }

# What the installation of this prefix consists of, and the folders that were perhaps made for it.
remove() {
    local folder file
    # Afterwards there is nothing to take it down with.
    [[ -n ${DESTDIR:-} || ! -d /run/softnet ]] || fail "softnet's network is up: 'sudo $dir/softnet network down' first, then this again"
    as_root rm -f "$dir/softnet" "$share"/man/man1/softnet.1 "$share"/man/man1/softnet-*.1 "$share/zsh/site-functions/_softnet" \
        "$share/fish/vendor_completions.d/softnet.fish" "$share/bash-completion/completions/softnet"
    for folder in man/man1 zsh/site-functions zsh fish/vendor_completions.d fish bash-completion/completions bash-completion; do
        as_root rmdir "$share/$folder" 2>/dev/null || true # others' files are in it, or it is not there
    done
    printf 'removed %s, its manual and completions\n' "$dir/softnet"
    for file in /etc/sudoers.d/softnet /etc/softnet.toml; do
        [[ -n ${DESTDIR:-} || ! -e $file ]] || printf 'install: %s is yours, and stays\n' "$file" >&2
    done
}

# checked ARCHIVE: unpacks it into a directory that only this user may write to, and says which.
checked() {
    local archive=${1##*/} folder=${1%/*} wanted sum=(sha256sum)
    [[ $1 == */* ]] || folder=.
    [[ -f $1 ]] || fail "$1: no such file"
    command -v sha256sum >/dev/null || sum=(shasum -a 256)
    wanted=$(awk -v name="$archive" '$2 == name || $2 == "*" name { print $1 }' "$folder/SHA256SUMS" 2>/dev/null) || true
    [[ -n $wanted ]] || fail "$folder/SHA256SUMS does not have $archive: download it from the same release"
    # What is checked is what is unpacked: a copy that nobody else can change meanwhile.
    cp "$1" "$unpacked/$archive"
    [[ $("${sum[@]}" <"$unpacked/$archive") == "$wanted "* ]] || fail "$archive is not what SHA256SUMS says: download it again"
    tar -xzf "$unpacked/$archive" -C "$unpacked" --strip-components=1 || fail "$archive cannot be unpacked"
}

if [[ ${1:-} == --remove ]]; then
    remove
    exit
fi
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
release='' unpacked=''
if (($#)); then
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    checked "$1"
    release=$unpacked
elif [[ -x $here/softnet && -d $here/man ]]; then
    release=$here
else
    cd "$here/.."
fi
if [[ -n $release ]]; then
    binary=$release/softnet manual=$release/man completions=$release/completions
else
    binary=target/release/softnet manual=target/manual completions=target/manual
fi
[[ -x $binary ]] || fail "$binary is not built: run 'make build' as yourself first"

mode=0755 owner=(-o 0 -g 0)
if [[ $setuid == 1 ]]; then mode=4755; fi
[[ -z ${DESTDIR:-} ]] || ((EUID == 0)) || owner=() # a package's build sets the owner itself
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

as_root mkdir -p "$dir"
if [[ $setuid != 1 && -u $dir/softnet ]]; then
    printf 'install: WARNING: the setuid bit of the softnet before is gone with it: SETUID=1 gives it to this one\n' >&2
fi

# A new file under another name first: an open or running softnet is never half written, nor seen with a wrong mode.
as_root install ${owner[@]+"${owner[@]}"} -m "$mode" "$binary" "$dir/.softnet.new"
as_root mv -f "$dir/.softnet.new" "$dir/softnet"
if [[ -d $manual ]]; then
    put() { # FOLDER FILE...
        local folder=$share/$1 file
        shift
        as_root mkdir -p "$folder"
        for file in "$@"; do as_root install ${owner[@]+"${owner[@]}"} -m 0644 "$file" "$folder/"; done
    }
    put man/man1 "$manual"/*.1
    put zsh/site-functions "$completions/_softnet"
    put fish/vendor_completions.d "$completions/softnet.fish"
    put bash-completion/completions "$completions/softnet.bash"
    as_root mv -f "$share/bash-completion/completions/softnet.bash" "$share/bash-completion/completions/softnet"
fi
printf 'installed %s (mode %s)\n' "$dir/softnet" "$mode"
