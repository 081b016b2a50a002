#!/usr/bin/env bash
# Looks for what a purpose needs on this machine, and installs what is missing where that can be done.
#
#     scripts/setup.sh build|demo|vm|fuzz|test|bench|ci...
#
# Debian and Ubuntu: by apt-get, as root or by way of sudo, after a line that says what and why. Elsewhere what is missing
# is named and nothing is done. Says nothing and takes a blink when all is there; on a Mac, why sudo will be asked for.
#
# A Mac's bash is 3.2, and its tools are BSD's.
set -euo pipefail

readonly root=${BASH_SOURCE[0]%/*}/..
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin # a plain user's PATH may lack sbin

say() { printf 'setup: %s\n' "$*" >&2; }

# What is wrong with the machine and how to mend it. All of it is told, and told last: below what apt-get says it would be missed.
problems=0
told=()
problem() {
    problems=1
    told+=("$(printf 'setup: MISSING: %s' "$1")")
    shift
    told+=("$(printf 'setup:    mend: %s\n' "$@")")
}
trap '((problems == 0)) || printf "%s\n" "${told[@]}" >&2' EXIT

usage() {
    say "usage: scripts/setup.sh build|demo|vm|fuzz|test|bench|ci..."
    exit 2
}

# --- What the purposes need ------------------------------------------------------------------------------------------

missing=() # packages, each once
reasons=() # the same, with what each is for

# need PROGRAM PACKAGE REASON: one program, the Debian package that has it, and what it is for
need() {
    command -v "$1" >/dev/null || want "$2" "$3"
}

want() {
    local known
    for known in ${missing[@]+"${missing[@]}"}; do [[ $known != "$1" ]] || return 0; done
    missing+=("$1")
    reasons+=("$1 ($2)")
}

need_build() {
    need cc gcc "links the program"
    # gcc alone, without recommended packages, has no C library to link with.
    [[ ! -e /etc/debian_version ]] || compgen -G '/usr/lib/*/crt1.o' >/dev/null || want libc6-dev "the C library to link with"
}

need_demo() {
    need_build
    need ip iproute2 "sets up the demo's namespaces"
    need nft nftables "softnet's NAT"
    need dnsmasq dnsmasq-base "softnet's DHCP and DNS"
    need unshare util-linux "keeps the demo off this machine's own network"
    need busybox busybox-static "the DHCP client of the demo's guest with a kernel"
    need curl curl "what that guest tries"
}

need_vm() {
    need_demo
    need qemu-system-x86_64 qemu-system-x86 "runs a real guest"
    need cpio cpio "packs the guest's file system"
    need xz xz-utils "unpacks the guest's drivers"
    # The guest has no libraries: a busybox that asks for one is no use there.
    if ! busybox=$(command -v busybox) || ldd "$busybox" >/dev/null 2>&1; then
        want busybox-static "the guest's programs"
    fi
}

need_fuzz() {
    need_build
    need c++ g++ "compiles libFuzzer"
}

need_test() {
    need_vm
    need ping iputils-ping "a test's guest"
    need arping iputils-arping "a test's attacker"
    need arpspoof dsniff "a test's attacker: ARP in others' names"
    need hping3 hping3 "a test's attacker: datagrams from others' addresses"
    need nmap nmap "a test's attacker: scans, decoys, fragments"
    need dhcpstarv dhcpstarv "a test's attacker: all addresses of a DHCP server"
    need scapy3 python3-scapy "a test's attacker: frames that no other tool makes"
    need dhclient isc-dhcp-client "a test's attacker: one guest by many names"
    need udhcpc udhcpc "a test's guest"
    need curl curl "a test's guest"
    need iperf3 iperf3 "a test's guest"
    need ethtool ethtool "a test's far end, which is to see each segment"
    need tshark tshark "reads a capture"
    need sudo sudo "tests how softnet becomes root"
    need ps procps "tests what is left running"
    need python3 python3-minimal "runs the control protocol's client in Python"
    need virsh libvirt-clients "runs the domain of docs/linux.md"
    need libvirtd libvirt-daemon "runs the domain of docs/linux.md"
    # Its own driver for QEMU is a package of its own.
    ! command -v libvirtd >/dev/null || compgen -G '/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so' >/dev/null ||
        want libvirt-daemon-driver-qemu "runs the domain of docs/linux.md"
    need socat socat "runs the control protocol's client in shell"
    need mandoc mandoc "looks for faults in the manual"
    need groff groff-base "looks for faults in the manual"
}

need_bench() {
    need_demo
    need busybox busybox-static "a measured guest"
    need udhcpc udhcpc "a measured guest"
    need passt passt "what softnet is measured beside"
    need qemu-system-x86_64 qemu-system-x86 "what softnet is measured beside"
    need python3 python3-minimal "makes the table"
}

need_ci() {
    need_test
    need_fuzz
    need shellcheck shellcheck "lints the scripts"
    python3 -c 'import ensurepip, venv' 2>/dev/null || want python3-venv "has mdBook and zig, for the book and for other systems"
    need mmdebstrap mmdebstrap "makes the clean system that the package is tried on"
    command -v go >/dev/null || need gccgo gccgo "runs the control protocol's client in Go"
}

# Fills `missing` and `reasons`.
look() {
    local purpose
    missing=() reasons=()
    for purpose in "$@"; do
        case $purpose in
            build) need_build ;;
            demo) need_demo ;;
            vm) need_vm ;;
            fuzz) need_fuzz ;;
            test) need_test ;;
            bench) need_bench ;;
            ci) need_ci ;;
            *) usage ;;
        esac
    done
}

# --- Checks that no package mends ------------------------------------------------------------------------------------

# Sets `system`.
check_system() {
    system=$(uname -s)
    case $system in
        Linux) ;;
        Darwin) [[ " $* " != *" vm "* ]] ||
            problem "Linux: the VM of VM=1 is one under QEMU on Linux" \
                "leave VM=1 out; a real VM on a Mac is 'tart run --net-softnet', see README.md" ;;
        *)
            problem "Linux or macOS: softnet runs on those, this is $system" "'cargo test --lib' runs anywhere"
            exit 1
            ;;
    esac
}

# version_is_at_least HAVE WANTED: each up to three numbers with dots. Not every sort(1) has -V.
version_is_at_least() {
    local have wanted part
    IFS=. read -r -a have <<<"$1"
    IFS=. read -r -a wanted <<<"$2"
    for part in 0 1 2; do
        ((10#${have[part]:-0} == 10#${wanted[part]:-0})) || break
    done
    ((10#${have[part]:-0} >= 10#${wanted[part]:-0}))
}

check_rust() {
    local wanted have
    if ! command -v cargo >/dev/null || ! have=$(rustc --version 2>&1); then
        if [[ -n ${SUDO_USER:-} ]]; then
            problem "cargo: root has none" "run make as yourself, without sudo: it asks for sudo where it needs root"
        elif [[ -x ~/.cargo/bin/cargo ]]; then
            problem "cargo: it is not in your PATH" "'. ~/.cargo/env', or a new login"
        else
            problem "cargo, or a toolchain for it" "rustup: https://rustup.rs, then 'rustup default stable'" \
                "on Debian 13 and Ubuntu 24.04 also 'apt-get install rustup'; on a Mac also 'brew install rustup'"
        fi
        return
    fi
    have=${have#rustc }
    have=${have%%[ -]*}
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! version_is_at_least "$have" "$wanted"; then
        problem "Rust $wanted or newer: $(command -v rustc) is $have" \
            "'rustup update stable', or install rustup in place of the distribution's: https://rustup.rs"
    fi
}

check_lints() {
    local tool
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 ||
            problem "cargo $tool" "'rustup component add rustfmt clippy', or 'apt-get install rustfmt rust-clippy'"
    done
}

# check_root WHY: sets `as_root`, the words before a command that needs root; where there is no way to it, a problem.
check_root() {
    as_root=()
    ((EUID)) || return 0
    if ! command -v sudo >/dev/null; then
        problem "root, to $1: you are $(id -un), and there is no sudo" "become root ('su -') and run make again, or have sudo set up for you"
    elif ! sudo -n true 2>/dev/null && [[ ! -t 0 ]]; then
        problem "root, to $1: sudo asks for a password, and there is no terminal to ask on" "run 'sudo -v' first, or run as root"
    else
        as_root=(sudo)
    fi
}

check_kernel() {
    ((EUID == 0 || ${#as_root[@]})) || return 0 # told already
    [[ -c /dev/net/tun ]] || ${as_root[@]+"${as_root[@]}"} modprobe tun 2>/dev/null || true
    [[ -c /dev/net/tun ]] ||
        problem "/dev/net/tun: a TAP device is the guest's wire" \
            "'modprobe tun'; in a container: start it with '--device /dev/net/tun --cap-add NET_ADMIN'"
    ${as_root[@]+"${as_root[@]}"} unshare --net --mount --pid --fork true 2>/dev/null ||
        problem "namespaces: 'unshare --net --mount --pid --fork true' fails even as root" \
            "in a container: start it with '--privileged'; else enable CONFIG_NET_NS, CONFIG_PID_NS in the kernel"
}

# --- Installing ------------------------------------------------------------------------------------------------------

apt() {
    # No terminal for dpkg, no line for each package that it unpacks, no questions, and patience with another apt that runs.
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null
}

# scripts/vm-image.sh takes the guest's kernel out of a package, as a plain user: apt must know the package by then.
check_kernel_package() {
    [[ ! -s $root/target/vm/vmlinuz && -z ${SOFTNET_VM_KERNEL_PACKAGE:-} ]] || return 0
    command -v apt-get >/dev/null || return 0 # vm-image.sh says what it takes
    ! apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1 || return 0
    say "updating apt's lists (the VM's kernel comes from the package linux-image-cloud-amd64)"
    apt update || true
}

known_to_apt() {
    local package
    for package in "${missing[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 || return 1
    done
}

install_missing() {
    local list
    list=$(printf ', %s' "${reasons[@]}")
    list=${list:2}
    if ! command -v apt-get >/dev/null; then
        problem "$list" "those are Debian's names: install what this system calls them, and run this again"
        return 0
    fi
    if ((EUID != 0 && ${#as_root[@]} == 0)); then
        problem "$list" "as root: apt-get install --no-install-recommends ${missing[*]}"
        return 0
    fi
    say "installing $list"
    local updated=no
    if ! known_to_apt; then
        apt update || true
        updated=yes
    fi
    apt install --yes --no-install-recommends "${missing[@]}" && return
    # A list of last month names files that are gone.
    if [[ $updated == no ]] && apt update && apt install --yes --no-install-recommends "${missing[@]}"; then
        return
    fi
    problem "${missing[*]}: apt-get could not install this" "see its message above; then run this again"
}

# cargo-deny for .ci/run: in PATH, or built once into the checkout.
check_cargo_deny() {
    local tools=$root/target/tools version
    PATH=$PATH:$tools/bin
    if version=$(cargo-deny --version 2>/dev/null) && version_is_at_least "${version##* }" 0.18.0; then
        return
    fi
    # Unoptimised: it runs once here, for a second, and optimising it takes longer than all else in a CI run.
    say "building cargo-deny into target/tools (checks licences and sources of dependencies): takes some minutes, once"
    cargo install --quiet --debug --locked --version 0.20.2 --root "$tools" cargo-deny ||
        problem "cargo-deny" "see cargo's message above, or install it yourself: cargo install --locked cargo-deny"
    rm -f "$tools/.crates.toml" "$tools/.crates2.json"
}

# On a Mac nothing is installed: what softnet needs belongs to macOS, and the linker comes by Apple's own way.
check_mac() {
    # cc, without them, would open a window; xcode-select comes first, since xcrun may as well.
    if ! xcode-select -p >/dev/null 2>&1 || ! xcrun --find ld >/dev/null 2>&1; then
        problem "the Xcode command line tools: rustc links by them" "'xcode-select --install', and wait for it to end"
    fi
    case " $* " in
        *" ci "*) problem "Linux: .ci/run is for Linux" "on a Mac: 'make test' and 'make lint', which is what .github/workflows/macos.yml does" ;;
        *" demo "* | *" test "* | *" bench "*) ;;
        *) return 0 ;;
    esac
    check_root "use vmnet as guests' hosts do"
    ((${#as_root[@]})) || return 0
    say "sudo will be asked for, and may ask for your password: only root sets the DHCP lease time of guests, may make the setuid"
    say "copy of softnet that is tried, and may look at what passes between guests; before macOS 26 also to use vmnet at all"
}

# ---------------------------------------------------------------------------------------------------------------------

(($#)) || usage
check_system "$@"
check_rust
if [[ $system == Darwin ]]; then
    look "$@" # an unknown purpose is one here too
    check_mac "$@"
    exit "$problems"
fi
look "$@"
as_root=()
if ((${#missing[@]})); then
    check_root "install packages"
elif [[ $* != build ]]; then
    check_root "make networks apart from this machine's own"
fi
if ((${#missing[@]})); then
    install_missing
    look "$@"
    ((problems || ${#missing[@]} == 0)) ||
        problem "${missing[*]}: installed, and its program is still not found" "apt-get install --reinstall ${missing[*]}"
fi
[[ $* == build || $* == fuzz ]] || check_kernel
[[ ! " $* " =~ " vm "|" test "|" ci " ]] || check_kernel_package
if [[ " $* " == *" ci "* ]]; then
    check_lints
    ((problems)) || check_cargo_deny
fi
exit "$problems"
