#!/usr/bin/env python3
"""Starts a QEMU guest behind softnet:

    scripts/qemu.py [SOFTNET OPTION...] -- [QEMU OPTION...]

    scripts/qemu.py -- -nographic -accel kvm -drive file=disk.qcow2
    scripts/qemu.py --block 0.0.0.0/0 --allow 192.0.2.0/24 -- -nographic -drive file=disk.qcow2
"""

import os
import shutil
import socket
import subprocess
import sys
import time

if "--" not in sys.argv:
    sys.exit(__doc__)
cut = sys.argv.index("--")
softnet_options, qemu_options = sys.argv[1:cut], sys.argv[cut + 1 :]
built = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/release/softnet")
program = shutil.which("softnet") or shutil.which(built)
emulator = shutil.which("qemu-system-x86_64")
if not program:
    sys.exit("qemu.py: no softnet in PATH, and none is built: make build install SETUID=1")
if not emulator:
    sys.exit("qemu.py: qemu-system-x86_64 is missing: scripts/setup.sh vm, or apt-get install qemu-system-x86")
mac = "52:54:00:" + os.urandom(3).hex(":")

# One end for softnet, as its standard input: sudo would close any descriptor above 2. The other end for QEMU.
guest, wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
softnet = subprocess.Popen([program, "--vm-fd", "0", "--vm-mac-address", mac, *softnet_options], stdin=wire)
qemu = subprocess.Popen(
    [emulator, "-m", "512"]
    + ["-netdev", f"dgram,id=n0,local.type=fd,local.str={guest.fileno()}"]
    + ["-device", f"virtio-net-pci,netdev=n0,mac={mac}", *qemu_options],
    pass_fds=[guest.fileno()],
)
# Theirs alone: softnet ends when QEMU's end is closed, and would wait for ours.
guest.close()
wire.close()

try:
    while qemu.poll() is None and softnet.poll() is None:
        time.sleep(0.1)
except KeyboardInterrupt:  # they got it too
    pass
first = qemu if softnet.poll() is None else softnet
if qemu.poll() is None:  # softnet has said why it cannot go on
    qemu.terminate()
codes = {process: process.wait() for process in (qemu, softnet)}
sys.exit(codes[first] or codes[softnet])
