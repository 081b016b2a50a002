#!/usr/bin/env bash
# The documents as a book, target/book/html, with every link in it that does not leave it looked at:
#
#     scripts/book.sh
#
# By mdBook: the one in PATH, else one that PyPI has built (unofficially; pinned by its hash, and used for nothing else).
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

readonly out=$PWD/target/book tools=$PWD/target/tools/book
fail() { printf 'book: FAILED: %s\n' "$*" >&2 && exit 1; }

mdbook=$(command -v mdbook || true)
if [[ -z $mdbook ]]; then
    mdbook=$tools/bin/mdbook
    if ! "$mdbook" --version >/dev/null 2>&1; then
        printf 'book: installing mdBook from PyPI into target/tools/book (5 MB)\n' >&2
        rm -rf "$tools"
        python3 -m venv "$tools" || fail "no venv: apt-get install python3-venv, or 'cargo install --locked mdbook'"
        "$tools/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --only-binary :all: \
            --require-hashes -r docs/book-requirements.txt || fail "pip could not install mdBook: 'cargo install --locked mdbook'"
    fi
fi

# A book is one folder: what stands above docs/ comes beside it, and links go along. What is no document is named, not linked.
rm -rf "$out"
mkdir -p "$out/src"
cp docs/book.toml "$out/"
cp docs/*.md docs/*.svg README.md CHANGELOG.md SECURITY.md "$out/src/"
# shellcheck disable=SC2016  # backquotes of Markdown
sed -i -E -e 's#\]\((\.\./|docs/)?([a-zA-Z0-9_-]+\.(md|svg))#](\2#g' -e 's#\[([^]]*)\]\((\.\./)?(scripts/[^)]*|LICENSE)\)#`\1`#g' "$out"/src/*.md
"$mdbook" build --dest-dir "$out/html" "$out" || fail "mdbook"
python3 scripts/check-links.py "$out/html"
