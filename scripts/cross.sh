# shellcheck shell=bash disable=SC2154
# What scripts/macos.sh and scripts/dist.sh share: a compiler and a linker for other systems. Sourced, not run, from the root of
# the checkout. The caller sets `purpose` (what messages begin with), `targets`, `std` (crates of the standard library), `std_flags`
# (how they are compiled besides), and `missing` to Debian packages of its own.
#
# rustc knows the targets, but not every toolchain has their standard library: one that has it is used as it is, else
# Debian's compiler builds it, once, from Debian's source. The linker is zig. Debian packages are installed by apt-get, after a
# line that says which; the rest goes into target/tools/cross.

readonly tools=$PWD/target/tools/cross
readonly sysroot=$tools/sysroot/$purpose

say() { printf '%s: %s\n' "$purpose" "$*" >&2; }

fail() {
    say "FAILED: $1"
    shift
    (($# == 0)) || printf "$purpose:    mend: %s\n" "$@" >&2
    exit 1
}

step() {
    local what=$1 at=$SECONDS
    shift
    "$@" || fail "$what"
    say "$what: ok, $((SECONDS - at)) s"
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
}

# is_at_least HAVE WANTED
is_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

has_targets() {
    local target
    for target in "${targets[@]}"; do
        compgen -G "$(rustc --print target-libdir --target "$target" 2>/dev/null)/libstd-*.rlib" >/dev/null || return 1
    done
}

# The version of Debian's rustc-web that is there or can be had; nothing where there is none.
debian_rust() {
    apt-cache policy rustc-web 2>/dev/null | sed -n 's/^ *Candidate: \([0-9][^+~-]*\).*/\1/p'
}

# find_toolchain "PACKAGE ...": sets `toolchain` (ready or debian), and adds to `missing`. The packages are Debian's, to go with its compiler.
find_toolchain() {
    local wanted package have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)

    toolchain=ready
    if command -v cargo rustc >/dev/null && has_targets; then return; fi
    have=$(debian_rust)
    if [[ -z $have ]] && command -v apt-get >/dev/null && ! command -v rustup >/dev/null; then
        say "updating apt's lists (looking for rustc-web)"
        apt update || true
        have=$(debian_rust)
    fi
    if [[ -n $have ]] && is_at_least "$have" "$wanted"; then
        toolchain=debian
        for package in rustc-web cargo-web rust-web-src $1; do
            dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
        done
    elif command -v rustup >/dev/null; then
        say "adding the standard library for ${targets[*]} to the Rust toolchain in use (rustup target add)"
        { rustup target add "${targets[@]}" && has_targets; } ||
            fail "rustup cannot add ${targets[*]}" "see its message above"
    else
        fail "no Rust here can compile for ${targets[*]}, and apt has no rustc-web $wanted or newer" \
            "on Debian: apt-get update" "elsewhere: install rustup (https://rustup.rs), which has the targets"
    fi
}

install_packages() {
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        fail "not here: ${missing[*]}" "those are Debian's names: install what this system calls them"
    ((EUID == 0)) || command -v sudo >/dev/null || fail "not here: ${missing[*]}" "as root: apt-get install ${missing[*]}"
    say "installing by apt-get: ${missing[*]}"
    apt install --yes --no-install-recommends "${missing[@]}" ||
        { apt update && apt install --yes --no-install-recommends "${missing[@]}"; } ||
        fail "apt-get could not install ${missing[*]}" "see its message above"
}

# A virtual environment knows its own path: one that was moved, or lost its Python, is made again.
install_zig() {
    if cmp -s macos/requirements.txt "$tools/requirements.txt" && "$tools/bin/python" -m ziglang version >/dev/null 2>&1; then
        return
    fi
    say "installing from PyPI into target/tools/cross: ziglang, cargo-zigbuild (440 MB)"
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes -r macos/requirements.txt || fail "pip could not install zig" "see its message above"
    cp macos/requirements.txt "$tools/"
}

# Debian's rust-web-src is the source of the standard library, and cargo can build it for one crate. Built that way for an empty
# crate and laid out as in a toolchain, it serves clippy and the link alike, and our own code needs no unstable cargo.
build_std() {
    local dir=$tools/std.$purpose target version
    version=$(dpkg-query -W -f '${Package} ${Version}\n' rustc-web rust-web-src && printf '%s\n' "$std $std_flags")
    [[ $version != "$(cat "$sysroot/version" 2>/dev/null)" ]] || return 0

    say "building the standard library for ${targets[*]} into target/tools/cross"
    rm -rf "$dir" "$sysroot"
    mkdir -p "$dir/src"
    printf '[package]\nname = "empty"\nedition = "2024"\n[workspace]\n' >"$dir/Cargo.toml"
    : >"$dir/src/lib.rs"
    # Both panic strategies, as in a toolchain: each crate of the two must be compiled for its own.
    printf '#!/bin/sh\ncase "$*" in *"--crate-name panic_abort "*) set -- "$@" -Cpanic=abort ;; esac\nexec /usr/bin/rustc "$@" %s\n' \
        "$std_flags" >"$dir/rustc"
    chmod +x "$dir/rustc"
    (cd "$dir" && RUSTC=$dir/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$dir/target \
        cargo build --quiet --release "-Zbuild-std=$std" "${platforms[@]}") || return 1
    for target in "${targets[@]}"; do
        mkdir -p "$sysroot/lib/rustlib/$target/lib"
        rm "$dir/target/$target/release/deps"/libempty-*
        mv "$dir/target/$target/release/deps"/*.rlib "$sysroot/lib/rustlib/$target/lib/" || return 1
    done
    rm -rf "$dir"
    printf '%s\n' "$version" >"$sysroot/version"
}

# Sets `platforms` and the environment of the builds: what the caller's shell sets is for the caller's own.
prepare_toolchain() {
    local target
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
    export CARGO_INCREMENTAL=0
    export CARGO_ZIGBUILD_PYTHON_PATH=$tools/bin/python CARGO_ZIGBUILD_CACHE_DIR=$tools/cache
    export ZIG_GLOBAL_CACHE_DIR=$tools/cache/zig ZIG_LOCAL_CACHE_DIR=$tools/cache/zig

    platforms=()
    for target in "${targets[@]}"; do platforms+=(--target "$target"); done
    if [[ $toolchain == debian ]]; then
        export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc
        step "standard library" build_std
        export RUSTFLAGS=--sysroot=$sysroot
    fi
    say "$(rustc --version), zig $("$tools/bin/python" -m ziglang version)"
}
