#!/usr/bin/env bash
# Runs the tests; the arguments go to cargo nextest, or to cargo test where there is no nextest:
#
#     scripts/test.sh                        everything
#     scripts/test.sh --test NAME [FILTER]   one file, one test
#
# The tests need root, the build does not: cargo runs as whoever called this, and the test programs as root.
#
# On a Mac, those that use vmnet take turns on the machine's one; what cannot be shown there is listed at the end. With
# SOFTNET_TESTBED_OWN_MAC=1, for a Mac that belongs to the tests, they put addresses on lo0 for a while and show more.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

if ((EUID)); then
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${triple}_RUNNER=$PWD/scripts/as-root.sh"

    # What the tests wrote as root would be in the way of the next build.
    give_back() {
        sudo find . -xdev -user 0 -exec chown -h "$(id -u):$(id -g)" {} +
    }
else
    give_back() { :; }
    unset SUDO_COMMAND SUDO_GID SUDO_UID SUDO_USER SUDO_HOME # what as-root.sh does
fi

# What the tests say that they cannot show on this machine, a line each.
SOFTNET_TESTBED_NOTES=$(mktemp)
export SOFTNET_TESTBED_NOTES
at_end() {
    local count
    count=$(wc -l <"$SOFTNET_TESTBED_NOTES")
    if ((count)); then
        printf '\ntest.sh: %d times, a test could not show something on this machine, and showed another thing instead:\n' "$count"
        sort "$SOFTNET_TESTBED_NOTES" | uniq -c
    fi
    rm -f "$SOFTNET_TESTBED_NOTES"
    give_back
}
trap at_end EXIT

# Benches are left out here: unoptimised they are slow and prove nothing. `make bench` runs them, and clippy compiles them.
everything=(--workspace --exclude softnet-engine-alone --lib --bins --tests --examples) # that one is the engine once more

if cargo nextest --version >/dev/null 2>&1; then
    if (($#)); then
        cargo nextest run --locked "$@"
    else
        cargo nextest run --locked --no-fail-fast "${everything[@]}"
        cargo test --locked --quiet --workspace --doc # nextest does not know them
    fi
elif (($#)); then
    cargo test --locked "$@"
else
    cargo test --locked --no-fail-fast "${everything[@]}"
    cargo test --locked --quiet --workspace --doc
fi
