#!/usr/bin/env bash
# Installs a release on a clean root file system and uses it, by its Debian package and by its archive (tests/e2e_package.rs), and
# under systemd (tests/e2e_systemd.rs). Then what its program does beside the relay, in companions under lists of system calls: it has
# musl, and all other tests have glibc's:
#
#     scripts/test-package.sh [PACKAGE]      # default: this architecture's of target/dist, which scripts/dist.sh makes
#                                            # the archive is the one beside it
#
# The file system is Debian's smallest, made once by mmdebstrap from the sources that this machine's apt has, into
# target/package/base, with what the package depends on, and systemd. Nothing on the machine is changed but that mmdebstrap is installed.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

readonly base=$PWD/target/package/base
say() { printf 'test-package: %s\n' "$*" >&2; }
fail() { say "FAILED: $*" && exit 1; }

command -v dpkg >/dev/null || fail "no dpkg here: this test is for Debian and its kin"
package=${1:-}
if [[ -z $package ]]; then
    package=$(find target/dist -name "softnet_*_$(dpkg --print-architecture).deb" 2>/dev/null | sort | tail -n 1)
    [[ -n $package ]] || fail "no package in target/dist: 'make dist' makes it"
fi
package=$(realpath "$package")

archive=$(find "${package%/*}" -name "softnet-*-$(uname -m)-linux.tar.gz" | sort | tail -n 1)
[[ -n $archive ]] || fail "no archive for $(uname -m) beside $package: 'make dist' makes it"

if ! command -v mmdebstrap >/dev/null; then
    say "installing mmdebstrap (makes the clean file system)"
    scripts/as-root.sh env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
        install --yes --no-install-recommends mmdebstrap </dev/null >&2 || fail "apt-get could not install mmdebstrap"
fi

# sources: one file with what this machine's apt installs from.
sources() {
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources; do
        if [[ -s $file ]]; then printf '%s\n' "$file" && return; fi
    done
    fail "apt's sources are in no file that this script knows (/etc/apt/sources.list, sources.list.d/debian.sources)"
}

if [[ ! -e $base/etc/debian_version || ! -e $base/lib/systemd/systemd ]]; then
    say "making a clean file system in target/package/base"
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    from=$(sources)
    scripts/as-root.sh rm -rf "$base" "$base.new"
    mkdir -p "${base%/*}"
    scripts/as-root.sh mmdebstrap --quiet --variant=essential --include=adduser,dnsmasq-base,nftables,systemd \
        --aptopt='APT::Sandbox::User "root"' "$suite" "$base.new" "$from" || fail "mmdebstrap: see its message above"
    scripts/as-root.sh mv "$base.new" "$base"
fi

export SOFTNET_PACKAGE_BASE=$base SOFTNET_PACKAGE=$package SOFTNET_ARCHIVE=$archive
say "testing $package and $archive"
only=(-- --ignored)
if cargo nextest --version >/dev/null 2>&1; then only=(--run-ignored only); fi
scripts/test.sh --test e2e_package --test e2e_systemd "${only[@]}"

say "testing its program"
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
chmod 755 "$unpacked" # a plain user starts it too
tar -xf "$archive" -C "$unpacked" --strip-components=1
export SOFTNET_RELEASED=$unpacked/softnet
scripts/test.sh --test e2e_forwards
scripts/test.sh --test e2e_watch metrics::the_metrics_file
scripts/test.sh --test e2e_socket the_name_goes
