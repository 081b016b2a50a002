#!/usr/bin/env bash
# Boots the tests' VM (scripts/vm-image.sh) behind the softnet that is installed or built here, on this machine's real network,
# and judges what the guest reports. Where the end-to-end tests with a VM do not run: on a Mac with QEMU.
#
#     scripts/judge-vm.sh WEB       WEB: the address of a web server that the guest is to reach
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

web=${1:?usage: scripts/judge-vm.sh WEB}
report=$(mktemp)
trap 'rm -f "$report"' EXIT

scripts/qemu.py -- -nographic -no-reboot -kernel target/vm/vmlinuz -initrd target/vm/initramfs.gz \
    -append "console=ttyS0 quiet panic=-1 softnet.web=$web softnet.name=www.example.com softnet.private=10.255.255.1 \
softnet.metadata=169.254.169.254 softnet.allowed=$web softnet.blocked=10.255.255.1" </dev/null | tr -d '\r' | tee "$report"

failed=0
# expect WHAT PATTERN: the outcome that the guest reports, as an extended regular expression for the whole of it
expect() {
    local outcome
    outcome=$(sed -n "s/.*RESULT $1 //p" "$report" | head -n 1)
    if printf '%s\n' "$outcome" | grep -Eqx "$2"; then
        printf 'ok      %-14s %s\n' "$1" "$outcome"
    else
        printf 'FAILED  %-14s "%s", not %s\n' "$1" "$outcome" "$2"
        failed=1
    fi
}
expect dhcp '[0-9.]+'
expect lease '[0-9]{1,2}|[1-5][0-9]{2}|600'
expect gateway answered
expect page '.*<.*'
expect private unreachable
expect metadata unreachable
expect other-address silent
expect arp-claim sent
expect after-claim answered
expect other-mac silent
expect own-mac-again answered
expect 'done' yes
exit "$failed"
