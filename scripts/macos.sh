#!/usr/bin/env bash
# Type-checks, lints and links the macOS build on Linux, for both architectures, without a Mac and without Apple's SDK:
#
#     scripts/macos.sh        leaves target/{aarch64,x86_64}-apple-darwin/release/softnet
#
# rustc knows the targets, but not every toolchain has their standard library: one that has it is used as it is, else
# Debian's compiler builds it, once, from Debian's source. zig links against macos/sdk, stubs of our own that name each API
# that we use, so that a name that no Mac has fails here. What this cannot show: that it works. That takes a Mac.
#
# Installs what is missing: Debian packages by apt-get, after a line that says which; the rest into target/tools/macos.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

readonly targets=(aarch64-apple-darwin x86_64-apple-darwin)
readonly tools=$PWD/target/tools/macos
readonly began=$SECONDS

# The oldest macOS that the result starts on: Tart's own.
export MACOSX_DEPLOYMENT_TARGET=13.0

say() { printf 'macos: %s\n' "$*" >&2; }

fail() {
    say "FAILED: $1"
    shift
    (($# == 0)) || printf 'macos:    mend: %s\n' "$@" >&2
    exit 1
}

step() {
    local name=$1 at=$SECONDS
    shift
    "$@" || fail "$name"
    say "$name: ok, $((SECONDS - at)) s"
}

# --- The tools -------------------------------------------------------------------------------------------------------

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

# Sets `toolchain` (ready or debian) and `missing`, the Debian packages to install.
look() {
    local wanted package have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    missing=()
    command -v llvm-objdump >/dev/null || missing+=(llvm)
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
        for package in rustc-web cargo-web rust-web-src rust-web-clippy; do
            dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
        done
    elif command -v rustup >/dev/null; then
        say "adding the standard library for ${targets[*]} to the Rust toolchain in use (rustup target add)"
        { rustup target add "${targets[@]}" && has_targets; } ||
            fail "rustup cannot add ${targets[*]}" "see its message above"
    else
        fail "no Rust here can compile for macOS, and apt has no rustc-web $wanted or newer" \
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
    say "installing from PyPI into target/tools/macos: ziglang, cargo-zigbuild (440 MB)"
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes -r macos/requirements.txt || fail "pip could not install zig" "see its message above"
    cp macos/requirements.txt "$tools/"
}

# --- The environment of the build ------------------------------------------------------------------------------------

# Debian's rust-web-src is the source of the standard library, and cargo can build it for one crate. Built that way for an empty
# crate and laid out as in a toolchain, it serves clippy and the link alike, and our own code needs no unstable cargo.
build_std() {
    local dir=$tools/std target version
    version=$(dpkg-query -W -f '${Package} ${Version}\n' rustc-web rust-web-src)
    sysroot=$tools/sysroot
    [[ $version != "$(cat "$sysroot/version" 2>/dev/null)" ]] || return 0

    say "building the standard library for ${targets[*]} into target/tools/macos"
    rm -rf "$dir" "$sysroot"
    mkdir -p "$dir/src"
    printf '[package]\nname = "empty"\nedition = "2024"\n[workspace]\n' >"$dir/Cargo.toml"
    : >"$dir/src/lib.rs"
    # Both panic strategies, as in a toolchain: each crate of the two must be compiled for its own.
    printf '#!/bin/sh\ncase "$*" in *"--crate-name panic_abort "*) set -- "$@" -Cpanic=abort ;; esac\nexec /usr/bin/rustc "$@"\n' \
        >"$dir/rustc"
    chmod +x "$dir/rustc"
    (cd "$dir" && RUSTC=$dir/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$dir/target \
        cargo build --quiet --release "-Zbuild-std=std,panic_abort,test" "${platforms[@]}") || return 1
    for target in "${targets[@]}"; do
        mkdir -p "$sysroot/lib/rustlib/$target/lib"
        rm "$dir/target/$target/release/deps"/libempty-*
        mv "$dir/target/$target/release/deps"/*.rlib "$sysroot/lib/rustlib/$target/lib/" || return 1
    done
    rm -rf "$dir"
    printf '%s\n' "$version" >"$sysroot/version"
}

prepare() {
    local target
    # What the caller's shell sets is for the caller's own builds.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
    # A target directory of its own: another compiler's artifacts next to those of `make build` would only be in the way.
    export CARGO_TARGET_DIR=$PWD/target/macos CARGO_INCREMENTAL=0
    # strip would need Apple's or LLVM's tool; link-time optimization costs minutes and finds nothing that is looked for here.
    export CARGO_PROFILE_RELEASE_STRIP=false CARGO_PROFILE_RELEASE_LTO=off
    export SDKROOT=$PWD/macos/sdk
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

# --- The checks ------------------------------------------------------------------------------------------------------

# In release mode, as the link is: both share the build scripts and macros of the dependencies.
lint() { cargo clippy --locked --release "${platforms[@]}" --lib --bins -- -D warnings; }

# What the workflow runs on a Mac, tests, demo and benches, must compile there: one architecture is enough for that.
lint_tests() { cargo clippy --locked --release --target "${targets[0]}" --workspace --tests --examples --benches -- -D warnings; }

link() { "$tools/bin/cargo-zigbuild" zigbuild --locked --release "${platforms[@]}" --bin softnet; }

# A stub that exports everything, or a linker that leaves undefined names for later, would let any name pass.
refuses_a_misspelt_api() {
    local dir=$tools/cache/misspelt name
    mkdir -p "$dir"
    for name in vmnet_start_interface vmnet_start_interfaec; do
        printf 'extern void *%s(void); int main(void) { return %s() != 0; }\n' "$name" "$name" >"$dir/$name.c"
    done
    link_c() {
        "$tools/bin/python" -m ziglang cc -target aarch64-macos -F "$SDKROOT/System/Library/Frameworks" -framework vmnet \
            -o "$dir/out" "$dir/$1.c" 2>"$dir/$1.log"
    }
    link_c vmnet_start_interface || { cat "$dir/vmnet_start_interface.log" >&2 && return 1; }
    ! link_c vmnet_start_interfaec && grep -q 'undefined symbol: _vmnet_start_interfaec' "$dir/vmnet_start_interfaec.log"
}

# The libraries that a Mac loads with it. Not libcharset: it is part of libiconv, and cargo-zigbuild's stub alone names it.
loaded() {
    llvm-objdump --macho --dylibs-used "$1" | sed -n 's/^\t\(.*\) (compatibility version.*/\1/p' |
        grep -vx /usr/lib/libcharset.1.dylib | LC_ALL=C sort
}

# Of LC_BUILD_VERSION.
oldest_macos() { llvm-objdump --macho --private-headers "$1" | sed -n 's/^ *minos //p'; }

verify() {
    local target=$1 binary=$CARGO_TARGET_DIR/$1/release/softnet oldest
    oldest=$(oldest_macos "$binary")
    [[ $oldest == "$MACOSX_DEPLOYMENT_TARGET" ]] || {
        say "$target: made for macOS '$oldest', not $MACOSX_DEPLOYMENT_TARGET"
        return 1
    }
    diff <(grep -v '^#' macos/libraries.txt | LC_ALL=C sort) <(loaded "$binary") >&2 || {
        say "$target: loads other libraries than macos/libraries.txt lists ('<': listed and not loaded, '>': loaded and not listed)"
        return 1
    }
    install -D -m 0755 "$binary" "target/$target/release/softnet" || return 1
    printf 'target/%s/release/softnet: macOS %s or newer, loads\n' "$target" "$oldest"
    loaded "$binary" | sed 's/^/    /'
}

# ---------------------------------------------------------------------------------------------------------------------

[[ $(uname -s) != Darwin ]] || exec scripts/macos-universal.sh

look
install_packages
install_zig
prepare
step clippy lint
step "clippy of tests" lint_tests
step "the stubs refuse a misspelt API" refuses_a_misspelt_api
step link link
for target in "${targets[@]}"; do step "$target" verify "$target"; done
say "all ok, $((SECONDS - began)) s"
