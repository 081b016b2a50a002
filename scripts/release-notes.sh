#!/usr/bin/env bash
# The notes of a release: its section of CHANGELOG.md, without the heading.
#
#     scripts/release-notes.sh VERSION
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

(($# == 1)) || { printf 'usage: scripts/release-notes.sh VERSION\n' >&2 && exit 2; }
notes=$(awk -v heading="## [$1]" '
    index($0, heading) == 1 { inside = 1; next }
    /^## / { inside = 0 }
    inside' CHANGELOG.md)
[[ $notes == *[![:space:]]* ]] || { printf 'release-notes: CHANGELOG.md has nothing under "## [%s]"\n' "$1" >&2 && exit 1; }
# Links that lead into the repository do so from the release's page as well.
base=${GITHUB_SERVER_URL:-}${GITHUB_SERVER_URL:+/$GITHUB_REPOSITORY/blob/v$1/}
sed -E "s#\]\((docs/[^)]*)\)#](${base}\1)#g" <<<"$notes" | sed '/./,$!d'
