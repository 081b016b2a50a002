#!/usr/bin/env bash
# Makes a Debian package of a program that is built:
#
#     packaging/debian/build.sh PROGRAM MANUAL VERSION ARCHITECTURE DIRECTORY
#
# MANUAL is what softnet-manual wrote. By dpkg-deb, which comes with every Debian and makes the same bytes of the same files when
# SOURCE_DATE_EPOCH is set. The program is static, so there is one package for all releases of Debian and Ubuntu.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/../.."

(($# == 5)) || { printf 'usage: packaging/debian/build.sh PROGRAM MANUAL VERSION ARCHITECTURE DIRECTORY\n' >&2 && exit 2; }
readonly program=$1 manual=$2 version=$3 architecture=$4 out=$5
: "${SOURCE_DATE_EPOCH:?the time of the files in the package}"
export SOURCE_DATE_EPOCH LC_ALL=C
umask 022

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
readonly doc=$tree/usr/share/doc/softnet

# No setuid bit: that is the administrator's to give (dpkg-statoverride), and stays given when the package is replaced.
install -D -m 755 "$program" "$tree/usr/bin/softnet"
install -d "$tree/usr/share/man/man1" "$doc"
for page in "$manual"/*.1; do gzip --no-name -9 <"$page" >"$tree/usr/share/man/man1/${page##*/}.gz"; done
install -D -m 644 "$manual/softnet.bash" "$tree/usr/share/bash-completion/completions/softnet"
install -D -m 644 "$manual/_softnet" "$tree/usr/share/zsh/vendor-completions/_softnet"
install -D -m 644 "$manual/softnet.fish" "$tree/usr/share/fish/vendor_completions.d/softnet.fish"
install -d "$tree/usr/lib/systemd/system"
install -m 644 -t "$tree/usr/lib/systemd/system" packaging/systemd/*.service
install -m 644 packaging/debian/copyright "$doc/copyright"
gzip --no-name -9 <CHANGELOG.md >"$doc/changelog.gz"
install -m 644 README.md SECURITY.md "$doc/"
install -D -m 644 -t "$doc/docs" docs/*.md

install -D -m 755 -t "$tree/DEBIAN" packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm
size=$(find "$tree" -path "$tree/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ k += int(($1 + 1023) / 1024) } END { print k }')
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" packaging/debian/control >"$tree/DEBIAN/control"
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"

mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/softnet_${version}_$architecture.deb" >/dev/null
