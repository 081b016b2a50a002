#!/usr/bin/env bash
# What a release consists of, as far as Linux can make it:
#
#     scripts/dist.sh             into target/dist: for x86_64 and aarch64 a static program with manual and completions, as .tar.gz and
#                                 as .deb; SHA256SUMS; a list of parts (SBOM) where cargo-cyclonedx is installed
#     scripts/dist.sh --check     the same, made a second time from another directory: each file has to be the same, bit for bit
#
# The programs are linked with musl, and nothing else: they run on any Linux. What is made depends on the commit, on the compiler and
# on zig (macos/requirements.txt), and not on where, when and by whom: times are the commit's, files are root's.
# scripts/cross.sh installs what is missing.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

[[ $(uname -s) == Linux ]] || { printf 'dist: Linux makes these; on a Mac: make macos\n' >&2 && exit 1; }
case ${1:-} in
    '') check=no ;;
    --check) check=yes ;;
    *) printf 'dist: usage: scripts/dist.sh [--check]\n' >&2 && exit 2 ;;
esac

readonly purpose=dist targets=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl) check
readonly std=std,panic_abort std_flags=-Cembed-bitcode=yes # for link-time optimization through it
readonly began=$SECONDS
# shellcheck source=scripts/cross.sh
. scripts/cross.sh

release=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
date=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%F)
readonly release date out=$PWD/target/dist work=$PWD/target/dist.work
umask 022

# --- The pieces ------------------------------------------------------------------------------------------------------

# What the programs do not differ in: made once, by the compiler of the machine.
manual() {
    rm -rf "$work/manual"
    nice cargo run --quiet --locked -p softnet-manual -- "$work/manual" "$date"
}

# copy_source DIRECTORY: what git knows, as it is now.
copy_source() {
    rm -rf "$1/source"
    mkdir -p "$1/source"
    git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --directory="$1/source"
}

# build DIRECTORY: the programs, from a copy of the sources there.
build() {
    local dir=$1
    copy_source "$dir" || return 1
    (
        cd "$dir/source"
        export CARGO_TARGET_DIR=$dir/target
        # zig has musl's start-up files; Debian's compiler has none. Paths of this machine would be in panics' messages.
        RUSTFLAGS="${RUSTFLAGS:-} -Clink-self-contained=no --remap-path-prefix=$dir/source=/softnet"
        RUSTFLAGS+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        export RUSTFLAGS
        "$tools/bin/cargo-zigbuild" zigbuild --quiet --locked --release "${platforms[@]}" --bin softnet
    )
}

# is_static PROGRAM: it asks for no library and no interpreter.
is_static() { ! readelf --program-headers --dynamic "$1" | grep -E 'INTERP|NEEDED'; }

# tarball TARGET FROM TO
tarball() {
    local target=$1 from=$2 to=$3 tree name=softnet-$release-${1%%-*}-linux
    tree=$from/tree
    rm -rf "$tree"
    install -D -m 755 "$from/target/$target/release/softnet" "$tree/$name/softnet"
    install -m 755 scripts/install.sh "$tree/$name/"
    install -m 644 LICENSE README.md CHANGELOG.md "$tree/$name/"
    install -D -m 644 -t "$tree/$name/man" "$work"/manual/*.1
    install -D -m 644 -t "$tree/$name/completions" "$work"/manual/{softnet.bash,_softnet,softnet.fish}
    if compgen -G 'packaging/systemd/*' >/dev/null; then
        install -D -m 644 -t "$tree/$name/systemd" packaging/systemd/*
    fi
    tar --create --directory="$tree" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" "$name" |
        gzip --no-name -9 >"$to/$name.tar.gz"
}

# package TARGET ARCHITECTURE FROM TO
package() { packaging/debian/build.sh "$3/target/$1/release/softnet" "$work/manual" "$release" "$2" "$4"; }

# CycloneDX, of what is in the programs: no tests, no other systems. docs/dependencies.md says what each crate is for. Where it was
# made is nobody's business, and another place each time.
sbom() {
    local target=$1 from=$2 to=$3 name=softnet-$release-${1%%-*}-linux.cdx
    (cd "$from/source" && cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps \
        --override-filename "$name") || return 1
    sed "s|$from/source|/softnet|g" "$from/source/$name.json" >"$to/$name.json"
}

# make_all FROM TO
make_all() {
    local from=$1 to=$2 target
    rm -rf "$from" "$to" # nothing of another compiler, or of an earlier commit
    mkdir -p "$to" "$from"
    step "programs" build "$from"
    for target in "${targets[@]}"; do
        step "$target: static" is_static "$from/target/$target/release/softnet"
        step "$target: archive" tarball "$target" "$from" "$to"
        if [[ $has_sbom == yes ]]; then step "$target: parts" sbom "$target" "$from" "$to"; fi
    done
    step "amd64: package" package x86_64-unknown-linux-musl amd64 "$from" "$to"
    step "arm64: package" package aarch64-unknown-linux-musl arm64 "$from" "$to"
    (cd "$to" && sha256sum -- * >SHA256SUMS)
}

# --- What it is worth ------------------------------------------------------------------------------------------------

# The other architecture's runs as far as an emulator of programs can carry it: there are no TAP devices in it.
runs() {
    local program=$work/a/target/$1/release/softnet
    shift
    [[ $("$@" "$program" --version) == "softnet $release" ]] || return 1
    "$@" "$program" --help | grep -q -- --vm-mac-address || return 1
    # Up to the first look at what it inherited, past the arguments, the environment and the descriptors.
    local said status=0
    said=$("$@" "$program" --vm-fd 0 --vm-mac-address 5a:94:ef:e4:0c:ee 2>&1 </dev/null) || status=$?
    [[ $status == 1 && $said == *"--vm-fd"* ]] || { say "it said: $said" && return 1; }
}

same() {
    local file differ=0
    for file in "$work/dist.b"/*; do
        cmp "$file" "$out/${file##*/}" || differ=1
    done
    [[ $(ls "$out") == "$(ls "$work/dist.b")" ]] && return "$differ"
}

# ---------------------------------------------------------------------------------------------------------------------

missing=()
command -v dpkg-deb >/dev/null || missing+=(dpkg)
command -v readelf >/dev/null || missing+=(binutils)
emulator=
if [[ $(uname -m) != aarch64 ]]; then
    emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || missing+=(qemu-user-static)
fi
has_sbom=yes
if ! command -v cargo-cyclonedx >/dev/null; then
    has_sbom=no
    say "NOT MADE: the list of parts (SBOM): there is no cargo-cyclonedx ('cargo install --locked cargo-cyclonedx')"
fi
find_toolchain ""
install_packages
install_zig
emulator=${emulator:-$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)}
step "manual" manual
prepare_toolchain
make_all "$work/a" "$out"
if [[ $(uname -m) == x86_64 ]]; then step "x86_64 runs" runs x86_64-unknown-linux-musl; fi
[[ -n $emulator || $(uname -m) == aarch64 ]] || fail "no qemu-aarch64 to run the program of aarch64 with"
step "aarch64 runs" runs aarch64-unknown-linux-musl ${emulator:+"$emulator"}
if [[ $check == yes ]]; then
    make_all "$work/elsewhere/b" "$work/dist.b"
    step "bit for bit the same, twice" same
fi
cat "$out/SHA256SUMS"
say "target/dist: all ok, $((SECONDS - began)) s"
