#!/bin/busybox sh
# The whole system of the tests' VM: gets a lease, fetches a page, then misbehaves, and says what came of it. With the word
# softnet.shell on the kernel's command line: gets a lease and hands over to whoever sits at the console.
#
# Every finding is one line `RESULT <what> <outcome>` on the serial console; the test on the host reads them. The kernel's
# command line carries the targets as softnet.<name>=<value>: web, name, private, metadata, and what the operator allowed
# and blocked.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null

result() { echo "RESULT $*"; }
target() { tr ' ' '\n' </proc/cmdline | sed -n "s/^softnet\.$1=//p"; }
answers() { ping -c 1 -W 3 "$@" >/dev/null 2>&1 && echo answered || echo silent; }
# wget -T of Debian 12's busybox crashes.
page() { timeout "$2" wget -q -O - "http://$1/" 2>/dev/null || echo unreachable; }

while read -r module; do
    insmod "/modules/$module.ko" || result insmod "$module failed"
done </modules/order

ip link set lo up
ip link set eth0 up

if grep -qw 'softnet\.shell' /proc/cmdline; then
    # It stays and renews the lease.
    udhcpc -i eth0 -s /udhcpc.sh -b -t 5 -T 1 >/dev/null 2>&1
    if [ -s /etc/lease ]; then
        . /etc/lease
        echo "This guest has $ip for $lease s; its gateway is $router. Try: ping -c 1 $router"
    else
        echo "No lease: is softnet there? udhcpc goes on asking."
    fi
    echo "'exit' switches it off."
    # A terminal with job control, so that Ctrl-C ends a ping and not the guest.
    setsid cttyhack sh
    sync
    poweroff -f
fi

if udhcpc -i eth0 -s /udhcpc.sh -n -q -t 10 -T 1 >/dev/null 2>&1; then
    . /etc/lease
    result dhcp "$ip"
    result lease "$lease"
else
    result dhcp none
fi

result gateway "$(answers "$router")"
result page "$(page "$(target web)" 10 | head -n 1)"
result dns "$(nslookup "$(target name)" "$router" 2>/dev/null | awk '/^Address/ { last = $NF } END { print last }')"
result private "$(page "$(target private)" 2 | head -n 1)"
result metadata "$(page "$(target metadata)" 2 | head -n 1)"

result allowed "$(page "$(target allowed)" 5 | head -n 1)"
result blocked "$(page "$(target blocked)" 2 | head -n 1)"

# Another address than the leased one.
other=${ip%.*}.200
ip addr add "$other/$mask" dev eth0
result other-address "$(answers -I "$other" "$router")"
ip addr del "$other/$mask" dev eth0

# The gateway's address as our own, announced to everyone.
ip addr add "$router/32" dev eth0
arping -U -c 2 -I eth0 -s "$router" "$router" >/dev/null 2>&1
ip addr del "$router/32" dev eth0
result arp-claim sent
result after-claim "$(answers "$router")"

# Another MAC.
mac=$(cat /sys/class/net/eth0/address)
readdress() {
    ip link set eth0 down
    ip link set eth0 address "$1"
    ip link set eth0 up
    ip route replace default via "$router"
}
readdress 02:00:00:66:66:66
result other-mac "$(answers "$router")"
readdress "$mac"
result own-mac-again "$(answers "$router")"

result done yes
sync
poweroff -f
