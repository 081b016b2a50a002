#!/usr/bin/env bash
# On a Mac: target/universal-apple-darwin/release/softnet, one executable for Apple silicon and Intel, signed ad hoc.
#
# The Rust toolchain gets the standard library of the other architecture by rustup, if it lacks it.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

readonly targets=(aarch64-apple-darwin x86_64-apple-darwin)
readonly result=target/universal-apple-darwin/release/softnet
export MACOSX_DEPLOYMENT_TARGET=13.0 # as scripts/macos.sh

fail() {
    printf 'macos: FAILED: %s\n' "$*" >&2
    exit 1
}

[[ $(uname -s) == Darwin ]] || fail "lipo and codesign are on a Mac; scripts/macos.sh checks what can be checked elsewhere"

thin=() options=(--locked --release --bin softnet)
for target in "${targets[@]}"; do
    [[ -d $(rustc --print target-libdir --target "$target") ]] || rustup target add "$target"
    options+=(--target "$target")
    thin+=("target/$target/release/softnet")
done
cargo build "${options[@]}"

mkdir -p "${result%/*}"
lipo -create -output "$result" "${thin[@]}"
lipo "$result" -verify_arch arm64 x86_64 || fail "$result lacks an architecture"
scripts/macos-sign.sh "$result"

for arch in arm64 x86_64; do
    diff <(grep -v '^#' macos/libraries.txt | LC_ALL=C sort) \
        <(otool -arch "$arch" -L "$result" | sed -n 's/^[[:space:]]*\(.*\) (compatibility version.*/\1/p' | LC_ALL=C sort) ||
        fail "$arch: loads other libraries than macos/libraries.txt lists ('<': listed and not loaded, '>': loaded and not listed)"
done
# Killed here: an entitlement that only Apple gives.
"$result" --version >/dev/null || fail "$result --version: exit status $?"
printf '%s: %s, macOS %s or newer\n' "$result" "$(lipo -archs "$result")" "$MACOSX_DEPLOYMENT_TARGET"
