#!/usr/bin/env bash
# Signs Mach-O executables ad hoc, with the entitlements that macOS 26 asks for to run softnet without root. On a Mac:
#
#     [IDENTITY=-] [ENTITLEMENTS=macos/softnet.entitlements] scripts/macos-sign.sh FILE...
#
# IDENTITY is a certificate of the keychain for who has one; `-` is ad hoc. The hardened runtime keeps libraries of the caller
# (DYLD_INSERT_LIBRARIES) and debuggers out of a process that vmnet trusts, also where it is not setuid.
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
entitlements=${ENTITLEMENTS:-$here/../macos/softnet.entitlements}

(($#)) || {
    echo 'usage: scripts/macos-sign.sh FILE...' >&2
    exit 2
}
plutil -lint -s "$entitlements"
for file in "$@"; do
    codesign --force --sign "${IDENTITY:--}" --identifier softnet --options runtime --entitlements "$entitlements" "$file"
    codesign --verify --strict "$file"
done
