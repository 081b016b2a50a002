#!/usr/bin/env bash
# Runs a command as root: as it is for root, by way of sudo for everyone else.
#
# The environment stays, PATH too, but for what sudo says of its caller: a program that is started here sees what it would
# see if root had started it.
set -euo pipefail

clean=(env -u SUDO_COMMAND -u SUDO_GID -u SUDO_UID -u SUDO_USER -u SUDO_HOME)
((EUID)) || exec "${clean[@]}" "$@"
exec sudo -E "${clean[@]}" "PATH=$PATH" "$@"
