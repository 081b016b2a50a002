#!/usr/bin/env bash
# Shows that no frame, and no passing of time, can make the engine panic or allocate: in the machine code of a release build, no
# function that does either is called from what a frame reaches.
#
#     scripts/engine-panics.sh
#
# tests/engine-alone has a door to each function of the engine's that a frame or the clock calls. From the doors this follows
# every name in the assembly, calls, jumps and pointers to functions, and fails, with the way there, where it meets a name of
# core's panics, of slice indices that fail, or of the allocator; and where it meets a call that it cannot follow. Release means
# without overflow checks: what wraps there is looked for by the fuzzer, whose build has them.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

cargo rustc --quiet --locked --release --package softnet-engine-alone --lib --target-dir target/engine-alone -- --emit asm

awk '
    # The first pass names the functions, the second their edges.
    /^[A-Za-z_$][A-Za-z0-9_.$]*:/ {
        name = substr($1, 1, length($1) - 1)
        if (NR == FNR) { known[name] = 1 } else { in_function = name }
        next
    }
    NR == FNR { next }
    /^\t[a-z]/ {
        # A name that a register holds is called by it; a jump through a register is a table, but for a last call.
        if ($1 == "movq" && $2 ~ /@GOTPCREL/) held[in_function, $3] = 1
        if ($1 ~ /^call/ && $2 ~ /^\*%/ && !((in_function, substr($2, 2)) in held)) blind[in_function] = 1
        if ($1 ~ /^jmp/ && $2 ~ /^\*%/ && /TAILCALL/ && !((in_function, substr($2, 2)) in held)) blind[in_function] = 1
        operands = $0
        sub(/^\t[a-z0-9.]+[ \t]*/, "", operands)
        while (match(operands, /[A-Za-z_$][A-Za-z0-9_.$]*/)) {
            word = substr(operands, RSTART, RLENGTH)
            operands = substr(operands, RSTART + RLENGTH)
            if (word in known || word ~ bad) edges[in_function] = edges[in_function] " " word
        }
    }
    END {
        for (name in known) if (name ~ /^_?door_/) { from[name] = "-"; queue[last++] = name }
        if (last < 4) { print "engine-panics: the doors are not in the assembly"; exit 1 }
        for (first = 0; first < last; first++) {
            name = queue[first]
            reached++
            if (name ~ bad || name in blind) {
                failed = 1
                printf "engine-panics: %s is reached:\n", name ~ bad ? name : "a call through a register, in " name
                for (step = name; step != "-"; step = from[step]) printf "    %s\n", step
                continue
            }
            count = split(edges[name], next_ones, " ")
            for (i = 1; i <= count; i++) if (!(next_ones[i] in from)) { from[next_ones[i]] = name; queue[last++] = next_ones[i] }
        }
        if (!failed) printf "engine-panics: %d functions behind the doors, and none panics or allocates\n", reached
        exit failed
    }
' bad='panic|unwrap_failed|expect_failed|_fail[^a-z]|fail$|capacity_overflow|handle_error|handle_alloc_error|___rust_alloc|__rust_realloc|rust_begin_unwind|grow_one' \
    target/engine-alone/release/deps/softnet_engine_alone.s target/engine-alone/release/deps/softnet_engine_alone.s
