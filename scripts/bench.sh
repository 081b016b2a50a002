#!/usr/bin/env bash
# Runs the benchmarks and prints their numbers as one table:
#
#     scripts/bench.sh [--markdown] [BENCH...]      engine relay network scale; on a Mac engine and network
#
# The build is yours, the programs run as root. What each said is kept in target/bench, and the table in target/bench/table.txt
# and table.md.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

markdown=no
benches=()
for argument in "$@"; do
    if [[ $argument == --markdown ]]; then markdown=yes; else benches+=("$argument"); fi
done
if ((${#benches[@]} == 0)); then
    case $(uname -s) in
        Linux) benches=(engine relay network scale) ;;
        *) benches=(engine network) ;;
    esac
fi

readonly out=target/bench
mkdir -p "$out"
rm -f "$out"/*.log

say() { printf 'bench: %s\n' "$*" >&2; }

# Sets `program`: the executable of a bench, built by the caller, who has cargo where root may have none.
build() {
    cargo bench --locked --bench "$1" --no-run
    program=$(cargo bench --locked --bench "$1" --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
    [[ -x $program ]] || {
        say "cargo names no executable of the bench $1"
        exit 1
    }
}

programs=()
for bench in "${benches[@]}"; do
    build "$bench"
    programs+=("$program")
done

for index in "${!benches[@]}"; do
    bench=${benches[index]}
    say "$bench ($((index + 1)) of ${#benches[@]})"
    case $bench in
        # Many samples: one is but some microseconds long.
        engine) run=("${programs[index]}" --bench --sample-count 2000 --color never) ;;
        *) run=(scripts/as-root.sh "${programs[index]}") ;;
    esac
    began=$SECONDS
    "${run[@]}" | tee "$out/$bench.log" >&2
    say "$bench: $((SECONDS - began)) s"
done

scripts/bench-table.py "$out" >"$out/table.txt"
scripts/bench-table.py --markdown "$out" >"$out/table.md"
printf '\n'
if [[ $markdown == yes ]]; then cat "$out/table.md"; else cat "$out/table.txt"; fi
