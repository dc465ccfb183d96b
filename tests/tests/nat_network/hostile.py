"""Sends a gateway what no station should: DHCP, DHCPv6, DNS, ICMP and neighbour discovery of every length, cut off, contradicting
itself, or random. Prints which of its answers the standards forbid, and how many that were to come came."""
import json, random, socket, struct, sys, time

NUMBERS = random.Random(20_000)
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 3))
sock.setblocking(False)
OWN = open("/sys/class/net/eth0/address").read().strip()
MAC = bytes.fromhex(OWN.replace(":", ""))
ADDRESS, GATEWAY = socket.inet_aton(sys.argv[1]), socket.inet_aton("10.0.0.1")
ANY, ALL = b"\0" * 4, b"\xff" * 4
V6 = lambda text: socket.inet_pton(socket.AF_INET6, text)
LOCAL, GATEWAY6 = V6("fe80::66"), V6("fd00:2::1")
# What must not be answered, by what an answer would say: (kind, number) to a sentence.
never, forbidden, came, expected, sent = {}, set(), set(), set(), 0


def total(data):
    if len(data) % 2: data += b"\0"
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s > 0xffff: s = (s & 0xffff) + (s >> 16)
    return s


def ip4(source, to, protocol, data, ttl=64, id=0, place=0):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), id, place, ttl, protocol, 0, source, to)
    return head[:10] + struct.pack("!H", 0xffff - total(head)) + head[12:] + data


def udp(pseudo, ports, data):
    head = struct.pack("!HHHH", *ports, 8 + len(data), 0)
    s = 0xffff - total(pseudo + struct.pack("!HH", 17, 8 + len(data)) + head + data)
    return head[:6] + struct.pack("!H", s or 0xffff) + data


def udp4(source, to, ports, data, **more):
    return ip4(source, to, 17, udp(source + to, ports, data), **more)


def ip6(source, to, protocol, data, limit=255, flow=0):
    return struct.pack("!IHBB", 0x60000000 | flow, len(data), protocol, limit) + source + to + data


def udp6(source, to, ports, data):
    return ip6(source, to, 17, udp(source + to, ports, data))


def icmp(data):
    return data[:2] + struct.pack("!H", 0xffff - total(data[:2] + b"\0\0" + data[4:])) + data[4:] if len(data) > 3 else data


def icmp6(source, to, data):
    if len(data) < 4: return data
    pseudo = source + to + struct.pack("!IHH", len(data), 0, 58)
    return data[:2] + struct.pack("!H", 0xffff - total(pseudo + data[:2] + b"\0\0" + data[4:])) + data[4:]


def judge(frame):
    if frame[:6] == MAC and frame[12:14] == b"\x08\0" or frame[12:14] == b"\x08\0" and frame[:6] == b"\xff" * 6:
        p = frame[14:]
        data = p[20:]
        if p[9] == 17 and data[:4] == b"\0\x43\0\x44": note("dhcp", data[12:16])
        elif p[9] == 17 and data[:2] == b"\0\x35": note("dns", data[2:4])
        elif p[9] == 1 and data[0] == 0: note("echo", data[4:6])
        elif p[9] == 1 and data[0] in (3, 4, 5, 11, 12): note("error", data[12:14])
    elif frame[12:14] == b"\x86\xdd":
        p = frame[14:]
        data = p[40:]
        if p[6] == 17 and data[:4] == b"\x02\x23\x02\x22": note("dhcp6", data[9:12])
        elif p[6] == 58 and data[0] == 129: note("echo6", data[4:6])
        elif p[6] == 58 and data[0] < 128: note("error6", data[8 + 1:8 + 4])
        elif p[6] == 58 and data[0] == 136: note("advertised", p[24:40])


def note(kind, number):
    key = (kind, bytes(number))
    came.add(key)
    if key in never: forbidden.add(never[key])


def drain():
    while True:
        try: frame, about = sock.recvfrom(65536)
        except BlockingIOError: return
        if about[2] != 4: judge(frame)


def send(packet, to):
    global sent
    kind = b"\x86\xdd" if packet and packet[0] >> 4 == 6 else b"\x08\0"
    try: sock.send((to + MAC + kind + packet).ljust(60, b"\0"))
    except OSError: pass
    sent += 1
    # No faster than what a port may ask of its gateway.
    if sent % 20 == 0:
        time.sleep(0.025)
        drain()


def find_gateway():
    for _ in range(50):
        sock.send(b"\xff" * 6 + MAC + bytes.fromhex("08060001080006040001") + MAC + ADDRESS + b"\0" * 6 + GATEWAY + b"\0" * 18)
        until = time.time() + 0.2
        while time.time() < until:
            try: frame = sock.recv(2000)
            except BlockingIOError: time.sleep(0.005); continue
            if frame[12:14] == b"\x08\x06" and frame[28:32] == GATEWAY and frame[21] == 2: return frame[22:28]
    sys.exit("the gateway does not answer")


count = 0


def number():
    global count
    count += 1
    return struct.pack("!I", 0x66000000 + count)


def dhcp():
    def message(xid, op=1, htype=1, hlen=6, giaddr=ANY, ciaddr=ANY, magic=b"\x63\x82\x53\x63", options=b"\x35\1\1\x37\2\1\3\xff", chaddr=MAC):
        return struct.pack("!BBBB4sHH4s4s4s4s16s64s128s", op, htype, hlen, 0, xid, 0, 0x8000, ciaddr, ANY, ANY, giaddr, chaddr, b"", b"") + magic + options
    def put(data, forbid=None, xid=None):
        if forbid: never["dhcp", xid] = "DHCP: " + forbid
        send(udp4(ANY, ALL, (68, 67), data), b"\xff" * 6)
    def one(forbid, **fields):
        xid = number()
        put(message(xid, **fields), forbid, xid)
    whole = len(message(ANY))
    for cut in range(whole):
        xid = number()
        put(message(xid)[:cut], "cut off after %d bytes" % cut if cut < 243 else None, xid)
    for op in [0, 2, 3, 255]: one("op %d" % op, op=op)
    for hlen in [7, 16, 17, 128, 255]: one("hlen %d" % hlen, hlen=hlen)
    for magic in [b"\0\0\0\0", b"\x63\x82\x53\x64"]: one("another cookie", magic=magic)
    for giaddr in [GATEWAY, ALL, ADDRESS]: one("relayed", giaddr=giaddr)
    for kind in [0, 2, 4, 5, 6, 7, *range(9, 256)]: one("type %d" % kind, options=bytes([53, 1, kind, 255]))
    one("without a type", options=b"\xff")
    for code in range(256):
        for length in [0, 1, 2, 3, 4, 5, 255]:
            if (code + length) % 3 and code not in (50, 52, 53, 54, 55, 57, 61, 119, 121): continue
            has = NUMBERS.choice([0, length, length // 2])
            one(None, options=b"\x35\1\1" + bytes([code, length]) + NUMBERS.randbytes(has) + NUMBERS.choice([b"", b"\xff"]))
    for overload in range(5): one(None, options=b"\x35\1\1\x34\1" + bytes([overload]) + b"\xff")
    for kind in [1, 3, 8]:
        for field in [ALL, GATEWAY, socket.inet_aton("10.0.0.255"), socket.inet_aton("224.0.0.1")]:
            one(None, ciaddr=field, options=bytes([53, 1, kind, 50, 4]) + field + b"\x36\4" + field + b"\xff")
    one(None, chaddr=b"\xff" * 6), one(None, chaddr=b"\1" + MAC[1:])
    for _ in range(500):
        data = bytearray(message(number()))
        for _ in range(NUMBERS.randrange(1, 6)): data[NUMBERS.randrange(len(data))] = NUMBERS.randrange(256)
        put(bytes(data[:NUMBERS.randrange(236, len(data) + 1)]))
    xid = number()
    expected.add(("dhcp", xid))
    put(message(xid))


def dhcp6():
    client = struct.pack("!HHHH", 1, 10, 3, 1) + MAC
    wants = struct.pack("!HHIII", 3, 12, 1, 0, 0)
    group = V6("ff02::1:2")
    def put(kind, options, forbid=None, to=group, cut=None, expect=False):
        xid = number()[1:]
        if forbid: never["dhcp6", xid] = "DHCPv6: " + forbid
        if expect: expected.add(("dhcp6", xid))
        send(udp6(LOCAL, to, (546, 547), (bytes([kind]) + xid + options)[:cut]), b"\x33\x33\0\1\0\2" if to == group else GATEWAY_MAC)
    for cut in range(4 + len(client + wants)): put(1, client + wants, "cut off after %d bytes" % cut if cut < 18 else None, cut=cut)
    put(1, wants, "without who asks")
    put(1, client + wants, "by unicast", to=GATEWAY6)
    put(1, client + wants + struct.pack("!HHHH", 2, 10, 3, 1) + MAC, "a Solicit to one server")
    for kind in [0, 2, 7, 10, 12, 13, *range(14, 256)]: put(kind, client + wants, "type %d" % kind)
    for kind in [3, 5, 8, 9]: put(kind, client + wants, "without the server that type %d is for" % kind)
    for code in range(0, 90):
        for length in [0, 1, 4, 12, 24, 40, 65535]:
            put(NUMBERS.choice([1, 4, 6, 11]), client + struct.pack("!HH", code, length) + NUMBERS.randbytes(NUMBERS.choice([0, min(length, 40)])))
    for depth in [2, 20, 200]:
        inner = b""
        for _ in range(depth): inner = struct.pack("!HHIII", 3, 12 + len(inner), 1, 0, 0) + inner if len(inner) < 1100 else inner
        put(1, client + inner)
    for _ in range(300):
        data = bytearray(client + wants + NUMBERS.randbytes(20))
        for _ in range(NUMBERS.randrange(1, 6)): data[NUMBERS.randrange(len(data))] = NUMBERS.randrange(256)
        put(NUMBERS.randrange(1, 14), bytes(data))
    put(1, client + wants, expect=True)


def dns():
    ports = iter(range(20000, 60000))
    def put(data, forbid=None, expect=False):
        port = next(ports)
        if forbid: never["dns", struct.pack("!H", port)] = "DNS: " + forbid
        if expect: expected.add(("dns", struct.pack("!H", port)))
        send(udp4(ADDRESS, GATEWAY, (port, 53), data), GATEWAY_MAC)
    question = b"\7gateway\4home\3lan\0\0\1\0\1"
    query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + question
    for cut in range(len(query)): put(query[:cut], "shorter than a header" if cut < 12 else None)
    for code in range(16):
        put(struct.pack("!HHHHHH", 7, 0x8000 | code << 11, 1, 0, 0, 0) + question, "an answer")
        put(struct.pack("!HHHHHH", 7, code << 11, 1, 0, 0, 0) + question)
    for counts in [(0, 0, 0, 0), (2, 0, 0, 0), (65535, 0, 0, 0), (1, 65535, 0, 0), (1, 0, 65535, 65535), (0, 1, 1, 1)]:
        put(struct.pack("!HHHHHH", 7, 0x100, *counts) + question)
    for name in [b"\xc0\x0c", b"\xc0\x0d", b"\xc0\xff", b"\xff" * 8, b"\x40" + b"a" * 64 + b"\0", b"\x3f" + b"a" * 63] + [bytes([n]) for n in range(256)]:
        put(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + b"\0\1\0\1")
    put(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 20 + b"\0\0\1\0\1")
    for kind in [0, 41, 250, 251, 252, 255, 65535]:
        for group in [0, 1, 3, 254, 255, 65535]: put(query[:-4] + struct.pack("!HH", kind, group))
    for length in range(0, 40): put(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 1) + question + (b"\0\0\x29\x10\0\0\1\0\0" + struct.pack("!H", length) + NUMBERS.randbytes(20))[:length])
    for _ in range(300):
        data = bytearray(query + NUMBERS.randbytes(NUMBERS.randrange(30)))
        for _ in range(NUMBERS.randrange(1, 6)): data[NUMBERS.randrange(2, len(data))] = NUMBERS.randrange(256)
        data[2] &= 0x7f
        put(bytes(data))
    put(query, expect=True)


def messages():
    ids = iter(range(1, 60000))
    out = socket.inet_aton("192.168.99.1")
    def put(source, to, protocol, data, forbid=None, mac=None, **more):
        id = next(ids)
        if forbid: never["error", struct.pack("!H", id)] = "an ICMP error about " + forbid
        send(ip4(source, to, protocol, data, id=id, **more), mac or GATEWAY_MAC)
    def echo(expect, broken=False, length=20, to=GATEWAY, forbid=None):
        id = struct.pack("!H", next(ids))
        data = icmp(b"\x08\0\0\0" + id + b"\0\1" + b"e" * length)
        if broken: data = data[:2] + bytes([data[2] ^ 1]) + data[3:]
        if forbid: never["echo", id] = "a reply to " + forbid
        if expect: expected.add(("echo", id))
        send(ip4(ADDRESS, to, 1, data), GATEWAY_MAC if to == GATEWAY else b"\xff" * 6)
    echo(False, broken=True, forbid="an echo with a wrong checksum")
    for kind in range(256):
        if kind != 8: put(ADDRESS, GATEWAY, 1, icmp(bytes([kind, NUMBERS.randrange(256), 0, 0]) + NUMBERS.randbytes(NUMBERS.randrange(60))), "an ICMP error" if kind in (3, 4, 5, 11, 12) else None)
    # Errors about what was never sent, of every length, about this address, another one and nothing at all.
    inner = udp4(GATEWAY, ADDRESS, (53, 20001), b"i" * 20)
    for kind in [3, 4, 5, 11, 12]:
        for to in [GATEWAY, out]:
            for cut in range(0, len(inner) + 1, 3): put(ADDRESS, to, 1, icmp(bytes([kind, 4 if kind == 3 else 0, 0, 0, 0, 0, 0, 68]) + inner[:cut]), "an ICMP error")
            for _ in range(40): put(ADDRESS, to, 1, icmp(bytes([kind, NUMBERS.randrange(20), 0, 0]) + NUMBERS.randbytes(NUMBERS.randrange(80))), "an ICMP error")
        put(ADDRESS, out, 1, icmp(bytes([kind, 0, 0, 0, 0, 0, 0, 0]) + inner), "an ICMP error whose hops ended", ttl=1)
    closed = udp(ADDRESS + GATEWAY, (1, 9), b"u" * 8)
    put(ADDRESS, GATEWAY, 17, closed, "a later fragment", place=3)
    for to in [ALL, socket.inet_aton("10.0.0.255"), socket.inet_aton("224.0.0.1")]:
        put(ADDRESS, to, 17, udp(ADDRESS + to, (1, 9), b"u" * 8), "what was sent to many", mac=b"\xff" * 6)
    for source in [ANY, ALL, socket.inet_aton("127.0.0.1"), socket.inet_aton("224.0.0.1"), socket.inet_aton("10.0.0.255")]:
        put(source, out, 17, udp(source + out, (1, 9), b"u" * 8), "what nobody sent", ttl=1)
        put(source, GATEWAY, 17, udp(source + GATEWAY, (1, 9), b"u" * 8), "what nobody sent")
    for length in [0, 1, 56, 1400]: echo(True, length=length)


def messages6():
    flows = iter(range(1, 60000))
    own, out = V6("fd00:2::66"), V6("2001:db8:99::1")
    def put(to, data, forbid=None, limit=255, source=own):
        flow = next(flows)
        if forbid: never["error6", struct.pack("!I", flow)[1:]] = "an ICMPv6 error about " + forbid
        send(ip6(source, to, 58, icmp6(source, to, data), limit=limit, flow=flow), GATEWAY_MAC)
    inner = ip6(GATEWAY6, own, 17, udp(GATEWAY6 + own, (53, 20001), b"i" * 20))
    for kind in range(0, 128):
        put(GATEWAY6, bytes([kind, 0, 0, 0, 0, 0, 5, 0]) + inner[:NUMBERS.randrange(len(inner) + 1)], "an ICMPv6 error")
    for kind in [1, 2, 3, 4]:
        for to in [GATEWAY6, out]:
            for cut in range(0, len(inner) + 1, 5): put(to, bytes([kind, 0, 0, 0, 0, 0, 5, 0]) + inner[:cut], "an ICMPv6 error")
        put(out, bytes([kind, 0, 0, 0, 0, 0, 5, 0]) + inner, "an ICMPv6 error whose hops ended", limit=1)
    # Neighbour discovery that has come far, is cut off, or has an option without a length (RFC 4861, 6.1 and 7.1).
    group, group_mac = V6("ff02::1:ff00:1"), b"\x33\x33\xff\0\0\1"
    option = b"\1\1" + MAC
    def solicit(forbid, data, limit=255, code=0):
        source = V6("fe80::bad:%x" % next(flows))
        if forbid: never["advertised", source] = "an advertisement for a solicitation " + forbid
        else: expected.add(("advertised", source))
        send(ip6(source, group, 58, icmp6(source, group, bytes([135, code, 0, 0, 0, 0, 0, 0]) + data), limit=limit), group_mac)
    solicit("from beyond a router", GATEWAY6 + option, limit=64)
    solicit("with a code", GATEWAY6 + option, code=1)
    solicit("about a group", V6("ff02::1") + option)
    solicit("with an empty option", GATEWAY6 + b"\1\0" + MAC)
    for cut in range(0, 16): solicit("that is cut off", GATEWAY6[:cut])
    for cut in range(1, 8): solicit("whose option is cut off", GATEWAY6 + option[:cut])
    for kind in [133, 134, 136, 137]:
        for cut in range(0, 12, 3): advertise(kind, cut)
    solicit(None, GATEWAY6 + option)
    id = struct.pack("!H", 0x6666)
    expected.add(("echo6", id))
    put(GATEWAY6, b"\x80\0\0\0" + id + b"\0\1", source=own)


def advertise(kind, cut=None):
    """Says that it is a router, or that another one is nearer."""
    everybody, option = V6("ff02::1"), b"\1\1" + MAC
    data = bytes([kind, 0, 0, 0, 0x40, 0xc0, 7, 8]) + b"\0" * 8 + b"\3\4\x40\xc0" + b"\xff" * 8 + ANY + V6("fd99::") + option
    send(ip6(LOCAL, everybody, 58, icmp6(LOCAL, everybody, data[:cut])), b"\x33\x33\0\0\0\1")


def flood(seconds):
    """Stations that nobody ever heard of, as fast as it goes."""
    sock.setblocking(True)
    until, done = time.time() + seconds, 0
    while time.time() < until:
        for _ in range(50):
            low = NUMBERS.randbytes(8)
            source, mac = V6("fd00:2::")[:8] + low, b"\2" + low[:5]
            to = V6("ff02::1:ff00:1")
            data = bytes([135, 0, 0, 0, 0, 0, 0, 0]) + GATEWAY6 + b"\1\1" + mac
            sock.send(b"\x33\x33\xff\0\0\1" + mac + b"\x86\xdd" + ip6(source, to, 58, icmp6(source, to, data)))
            claim = socket.inet_aton("10.0.0.%d" % NUMBERS.randrange(30, 250))
            sock.send(b"\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + claim + b"\0" * 6 + GATEWAY + b"\0" * 18)
            done += 2
    return done


GATEWAY_MAC = find_gateway()
if sys.argv[2] == "flood":
    print(json.dumps({"sent": flood(float(sys.argv[3]))}))
    sys.exit()
PARTS = {"dhcp": dhcp, "dhcp6": dhcp6, "dns": dns, "icmp": messages, "icmp6": messages6, "router": lambda: advertise(134)}
PARTS[sys.argv[2]]()
until = time.time() + 3
while time.time() < until and not expected <= came:
    time.sleep(0.01)
    drain()
print(json.dumps({
    "sent": sent,
    "forbidden": sorted(forbidden),
    "missing": sorted(kind + " " + number.hex() for kind, number in expected - came),
}))
