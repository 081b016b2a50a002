#!/usr/bin/env bash
# Fuzzes softnet with libFuzzer, guided by coverage; a finding ends it with 1.
#
#     scripts/fuzz.sh [--seconds N] [--jobs N] [TARGET...]    for so long each (20 s), so many at once (one a CPU); default: all
#     scripts/fuzz.sh --minimise [TARGET...]                  rewrites fuzz/corpus: what was found, without what adds nothing (GNU find)
#
# Starts from fuzz/corpus/TARGET, keeps what is new in target/fuzz/corpus/TARGET from run to run, and puts what breaks a target into
# fuzz/artifacts/TARGET. It is built by the stable compiler with what cargo-fuzz asks of LLVM, without a sanitizer: there is no
# unsafe code in what is fuzzed, and overflow and debug assertions are on. Needs a C++ compiler for libFuzzer; nothing of root's.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

seconds=20
jobs=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
minimise=0
targets=()
while (($#)); do
    case $1 in
        --seconds) seconds=${2:?} && shift ;;
        --jobs) jobs=${2:?} && shift ;;
        --minimise) minimise=1 ;;
        -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 2 ;;
        *) targets+=("$1") ;;
    esac
    shift
done
((${#targets[@]})) || for file in fuzz/targets/*.rs; do
    file=${file##*/}
    targets+=("${file%.rs}")
done

triple=$(rustc -vV | sed -n 's/^host: //p')
programs=$PWD/target/fuzz/$triple/release
# --target, so that build scripts and macros are not instrumented. No --cfg fuzzing, under which smoltcp takes all checksums for right.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
    cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target "$triple" --target-dir target/fuzz

# One target: its output goes to a file, whose end is shown where there was a finding.
fuzz() {
    local target=$1 found=target/fuzz/corpus/$1 log=target/fuzz/$1.log
    mkdir -p "$found" "fuzz/corpus/$target" "fuzz/artifacts/$target"
    if ((minimise)); then
        local merged=target/fuzz/merged/$target
        rm -rf "$merged" && mkdir -p "$merged"
        "$programs/$target" -set_cover_merge=1 "$merged" "fuzz/corpus/$target" "$found" >"$log" 2>&1
        # What has a name of its own was put there by hand.
        find "fuzz/corpus/$target" -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
        cp "$merged"/* "fuzz/corpus/$target/"
        printf 'fuzz: %s: %d files, %d bytes\n' "$target" "$(find "fuzz/corpus/$target" -type f | wc -l)" \
            "$(cat "fuzz/corpus/$target"/* | wc -c)"
        return
    fi
    # Once more than -max_total_time: the corpus is run first, whatever that takes.
    if "$programs/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "$found" "fuzz/corpus/$target" >"$log" 2>&1; then
        printf 'fuzz: %-15s no finding: %s runs, %s of them kept as new\n' "$target" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(sed -n 's/^stat::new_units_added: *//p' "$log")"
    else
        tail -n 40 "$log"
        printf '\nfuzz: %s: A FINDING. Again:\n    %s fuzz/artifacts/%s/FILE\n' "$target" "${programs#"$PWD/"}/$target" "$target"
        printf 'fuzz: mend it, then keep it: git mv or cp FILE to fuzz/corpus/%s/WHAT-IT-WAS; tests/fuzz_corpus.rs runs it ever after\n' "$target"
        return 1
    fi
}

failed=0
running=0
for target in "${targets[@]}"; do
    [[ -x $programs/$target ]] || { printf 'fuzz: %s: there is no such target in fuzz/targets\n' "$target" >&2 && exit 2; }
    if ((running == jobs)); then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while ((running)); do
    wait -n || failed=1
    running=$((running - 1))
done
exit "$failed"
