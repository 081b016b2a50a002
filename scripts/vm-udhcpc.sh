#!/bin/busybox sh
# What udhcpc calls inside the VM: takes over the lease and writes it down for /init.
case $1 in
deconfig) ip addr flush dev "$interface" ;;
bound | renew)
    ip addr replace "$ip/${mask:-24}" dev "$interface"
    # shellcheck disable=SC2086 # a list
    for hop in $router; do ip route replace default via "$hop"; done
    : >/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    printf 'ip=%s\nmask=%s\nrouter=%s\nlease=%s\n' "$ip" "${mask:-24}" "$router" "$lease" >/etc/lease
    ;;
esac
