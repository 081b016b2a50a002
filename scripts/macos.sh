#!/usr/bin/env bash
# Type-checks, lints and links the macOS build on Linux, for both architectures, without a Mac and without Apple's SDK:
#
#     scripts/macos.sh        leaves target/{aarch64,x86_64}-apple-darwin/release/softnet
#
# zig links against macos/sdk, stubs of our own that name each API that we use, so that a name that no Mac has fails here. What
# this cannot show: that it works. That takes a Mac. scripts/cross.sh installs what is missing.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

[[ $(uname -s) != Darwin ]] || exec scripts/macos-universal.sh

readonly purpose=macos targets=(aarch64-apple-darwin x86_64-apple-darwin)
readonly std=std,panic_abort,test std_flags=
readonly began=$SECONDS
# shellcheck source=scripts/cross.sh
. scripts/cross.sh

# The oldest macOS that the result starts on: Tart's own.
export MACOSX_DEPLOYMENT_TARGET=13.0

prepare() {
    missing=()
    command -v llvm-objdump >/dev/null || missing+=(llvm)
    find_toolchain rust-web-clippy
    install_packages
    install_zig
    # A target directory of its own: another compiler's artifacts next to those of `make build` would only be in the way.
    export CARGO_TARGET_DIR=$PWD/target/macos
    # strip would need Apple's or LLVM's tool; link-time optimization costs minutes and finds nothing that is looked for here.
    export CARGO_PROFILE_RELEASE_STRIP=false CARGO_PROFILE_RELEASE_LTO=off
    export SDKROOT=$PWD/macos/sdk
    prepare_toolchain
}

# --- The checks ------------------------------------------------------------------------------------------------------

# In release mode, as the link is: both share the build scripts and macros of the dependencies.
lint() { cargo clippy --locked --release "${platforms[@]}" --lib --bins -- -D warnings; }

# What the workflow runs on a Mac, tests, demo and benches, must compile there: one architecture is enough for that.
# Without the engine by itself, as in scripts/test.sh: it is the engine once more.
lint_tests() {
    cargo clippy --locked --release --target "${targets[0]}" --workspace --exclude softnet-engine-alone --tests --examples --benches \
        -- -D warnings
}

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

prepare
step clippy lint
step "clippy of tests" lint_tests
step "the stubs refuse a misspelt API" refuses_a_misspelt_api
step link link
for target in "${targets[@]}"; do step "$target" verify "$target"; done
say "all ok, $((SECONDS - began)) s"
