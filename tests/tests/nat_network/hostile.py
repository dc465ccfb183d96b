"""Sends a gateway what no station should: DHCP, DHCPv6, DNS, ICMP and neighbour discovery cut off at every length, with every length
in every option's length field, contradicting itself, or random (with a fixed seed). Messages that are right are scapy's, and are
taken apart here by readers of this file alone, so that who is wrong is told by somebody else than the switch. Prints which answers
the standards forbid, which that were to come are missing, how many came, and by which name how many must have been counted."""
import collections, json, random, socket, struct, sys, time

NUMBERS = random.Random(20_000)
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 23)  # SO_RCVBUFFORCE
sock.bind(("eth0", 3))
sock.setblocking(False)
OWN = open("/sys/class/net/eth0/address").read().strip()
MAC = bytes.fromhex(OWN.replace(":", ""))
ADDRESS, GATEWAY = socket.inet_aton(sys.argv[1]), socket.inet_aton("10.0.0.1")
ANY, ALL = b"\0" * 4, b"\xff" * 4
V6 = lambda text: socket.inet_pton(socket.AF_INET6, text)
LOCAL, GATEWAY6 = V6("fe80::" + sys.argv[1].split(".")[-1]), V6("fd00:2::1")
# What must not be answered, by what an answer would say: (kind, number) to a sentence. What may be answered only so.
never, only, forbidden, came, expected, sent, paced = {}, {}, set(), collections.Counter(), set(), 0, 0
# The numbers of what was sent, and by which name the switch must have counted how many of that.
numbers, counted = set(), collections.Counter()
# What the answers to certain numbers were, for who needs to know.
answers = {}


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
    p = frame[14:]
    if frame[12:14] == b"\x08\0":
        data = p[20:]
        if p[9] == 17 and data[:4] == b"\0\x43\0\x44": note("dhcp", data[12:16], data[8:])
        elif p[9] == 17 and data[:2] == b"\0\x35": note("dns", data[2:4], data[8:])
        elif p[9] == 1 and data[0] == 0: note("echo", data[4:6], p[20:struct.unpack("!H", p[2:4])[0]])
        elif p[9] == 1 and data[0] in (3, 4, 5, 11, 12): note("error", data[12:14], data)
    elif frame[12:14] == b"\x86\xdd":
        data = p[40:]
        if p[6] == 17 and data[:4] == b"\x02\x23\x02\x22": note("dhcp6", data[9:12], data[8:])
        elif p[6] == 58 and data[0] == 129: note("echo6", data[4:6], p[40:40 + struct.unpack("!H", p[4:6])[0]])
        elif p[6] == 58 and data[0] < 128: note("error6", data[8 + 1:8 + 4], data)
        elif p[6] == 58 and data[0] == 136: note("advertised", p[24:40], data)


def note(kind, number, data):
    key = (kind, bytes(number))
    came[key] += 1
    if key in never: forbidden.add(never[key])
    if key in only and not only[key](data): forbidden.add("%s answered by %s" % (key, data[:40].hex()))
    answers[key] = data


def drain():
    """Judges all that has come; whether the gateway's answer to `ask` is among it."""
    is_answered = False
    while True:
        try: frame, about = sock.recvfrom(65536)
        except BlockingIOError: return is_answered
        if about[2] == 4: continue
        is_answered |= frame[12:14] == b"\x08\x06" and frame[21] == 2 and frame[28:32] == GATEWAY
        judge(frame)


def ask():
    """Asks for the gateway."""
    sock.send(b"\xff" * 6 + MAC + bytes.fromhex("08060001080006040001") + MAC + ADDRESS + b"\0" * 6 + GATEWAY + b"\0" * 18)


batch = 0


def pace():
    """No faster than what a port may ask of its gateway, and no further ahead of it than twenty packets, however busy the machine is."""
    global batch
    ask()
    until = time.time() + 5
    while not drain() and time.time() < until: time.sleep(0.001)
    time.sleep(max(0, batch + 0.024 - time.time()))
    batch = time.time()


def send(packet, to, key=None, passes=False):
    """Sends a packet; one that `passes` is for others as well, or alone, so that nobody refuses it."""
    global sent, paced
    if key: numbers.add(key)
    kind = b"\x86\xdd" if packet and packet[0] >> 4 == 6 else b"\x08\0"
    sock.send((to + MAC + kind + packet).ljust(60, b"\0"))
    sent += not passes
    paced += 1
    if paced % 20 == 0: pace()


def settle(seconds):
    """Waits for what is to come."""
    until = time.time() + seconds
    while time.time() < until and not expected <= came.keys():
        time.sleep(0.01)
        drain()


def find_gateway():
    for _ in range(50):
        ask()
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


def scramble(data, first=0):
    """Up to five bytes of a message are others."""
    data = bytearray(data)
    for _ in range(NUMBERS.randrange(1, 6)): data[NUMBERS.randrange(first, len(data))] = NUMBERS.randrange(256)
    return bytes(data)


# DHCP.

def options4(data):
    """The options of some bytes, those of the same code together (RFC 3396), or None if one goes beyond the end or no end is there
    (RFC 2131, 4.1)."""
    found, at = {}, 0
    while at < len(data) and data[at] != 255:
        if data[at]:
            if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data): return None
            found[data[at]] = found.get(data[at], b"") + data[at + 2:at + 2 + data[at + 1]]
            at += data[at + 1] + 1
        at += 1
    return found if at < len(data) else None


def wrong4(data):
    """By which name a message must be counted, if it must not be answered: RFC 2131 and 2132."""
    if len(data) < 240: return "malformed"
    if data[236:240] != b"\x63\x82\x53\x63": return "bootp"
    if data[0] not in (1, 2) or data[1] != 1 or data[2] != 6 or data[28] & 1 or data[28:34] == b"\0" * 6: return "malformed"
    if (found := options4(data[240:])) is None: return "malformed"
    if (overload := found.get(52)) is not None:
        if len(overload) != 1 or overload[0] not in (1, 2, 3): return "malformed"
        for is_used, field in ((overload[0] & 1, data[108:236]), (overload[0] & 2, data[44:108])):
            if not is_used: continue
            if (more := options4(field)) is None: return "malformed"
            for code in more: found[code] = found.get(code, b"") + more[code]
        if found[52] != overload: return "malformed"
    if data[0] == 2: return "not-a-request"
    if data[24:28] != ANY: return "relayed"
    if 53 not in found: return "bootp"
    if len(found[53]) != 1 or found[53][0] not in range(1, 9): return "malformed"
    if found[53][0] in (2, 5, 6): return "not-a-request"
    if found[53][0] in (4, 7): return ""
    # An address, a time, a length and an identifier have the lengths that they have.
    if 61 in found and len(found[61]) < 2 or 50 in found and len(found[50]) != 4 and found[53][0] != 8: return "malformed"
    return None


def dhcp():
    from scapy.all import BOOTP, DHCP
    common = [("client_id", b"\1" + MAC), ("max_dhcp_size", 576), ("hostname", b"mallory"), ("vendor_class_id", b"PXEClient:Arch:00007"),
              ("lease_time", 600), ("param_req_list", [1, 3, 6, 12, 15, 26, 42, 51, 54, 66, 67, 119, 121]), (77, b"\4user"), (60, b"more"),
              (81, b"\0\0\0mallory"), (93, b"\0\7"), (94, b"\1\2\1"), (97, b"\0" + b"u" * 16), (116, b"\1"), (118, GATEWAY), "end"]
    def whole(kind, *more):
        fields = BOOTP(op=1, chaddr=MAC + b"\0" * 10, flags=0x8000, xid=1)
        return bytes(fields / DHCP(options=[("message-type", kind), *more, *common]))
    wanted = ("requested_addr", "10.0.0.150")
    discover, request = whole("discover", wanted), whole("request", wanted, ("server_id", "10.0.0.1"))
    short = bytes(BOOTP(op=1, chaddr=MAC + b"\0" * 10, flags=0x8000) / DHCP(options=[("message-type", "discover"), (55, bytes([1, 3])), "end"]))
    assert wrong4(discover) is None and wrong4(request) is None and options4(discover[240:])[57] == b"\2\x40"
    def put(data, to=ALL, mac=b"\xff" * 6, expect=False):
        xid = number()
        data = data[:4] + xid[:max(0, len(data) - 4)] + data[8:]
        if (name := wrong4(data)) is not None:
            if len(data) >= 8: never["dhcp", bytes(xid)] = "DHCP: %s: %s" % (name, data.hex())
            if name: counted[name] += 1
        if expect: expected.add(("dhcp", xid))
        send(udp4(ANY, to, (68, 67), data), mac, ("dhcp", bytes(xid)))
    def replaced(data, at, *values):
        return data[:at] + bytes(values) + data[at + len(values):]
    put(discover, expect=True)
    for message in (discover, request):
        for cut in range(len(message)): put(message[:cut])
    # Frames that end before their headers say so.
    frame = udp4(ANY, ALL, (68, 67), discover)
    for cut in range(20, len(frame), 3): send(frame[:cut], b"\xff" * 6, passes=True)
    # Every length in every option's length field.
    for message, only_of in ((discover, None), (request, (50, 53, 54, 61))):
        at = 240
        while message[at] != 255:
            if only_of is None or message[at] in only_of:
                for length in range(256): put(replaced(message, at + 1, length))
            at += 2 + message[at + 1]
    # Every code with lengths of its own, filled or not, with an end or not.
    for code in range(256):
        for length in [0, 1, 2, 4, 5, 255]:
            has = NUMBERS.choice([0, length, length // 2])
            put(short[:-1] + bytes([code, length]) + NUMBERS.randbytes(has) + NUMBERS.choice([b"", b"\xff"]))
    for value in range(256):
        for at in (0, 1, 2, 242): put(replaced(short, at, value))
        # Options in the fields for names (RFC 2131, 4.1).
        for file in ([12, 1, value, 255], [12, value, 97, 255], [12, 1, 97, value], [52, 1, value & 3, 255]):
            held = replaced(replaced(short, 108, *file), 44, 60, 2, 1, 1, 255)
            put(held[:-1] + b"\x34\1" + bytes([value & 7 if file[1] == 1 else 1]) + b"\xff")
    for magic in [b"\0\0\0\0", b"\x63\x82\x53\x64"]: put(replaced(short, 236, *magic))
    for giaddr in [GATEWAY, ALL, ADDRESS]: put(replaced(short, 24, *giaddr))
    put(short[:240] + b"\xff"), put(short[:-1] + b"\0" * 1100 + b"\xff")
    for kind in [1, 3, 4, 7, 8]:
        for field in [ALL, GATEWAY, *map(socket.inet_aton, ["10.0.0.255", "10.0.0.0", "224.0.0.1", "192.168.99.1", "127.0.0.1"])]:
            put(replaced(short, 12, *field)[:240] + bytes([53, 1, kind, 50, 4]) + field + b"\x36\4" + field + b"\xff")
            put(replaced(short, 12, *field)[:240] + bytes([53, 1, kind]) + b"\xff")
    for chaddr in [b"\xff" * 6, b"\1" + MAC[1:], b"\0" * 6]: put(replaced(short, 28, *chaddr))
    for _ in range(600):
        data = scramble(NUMBERS.choice([discover, request, short]))
        put(data[:NUMBERS.randrange(236, len(data) + 1)])
    put(discover, expect=True)


# DHCPv6.

def options6(data):
    """The options of some bytes, or None if one goes beyond the end."""
    found, at = [], 0
    while at < len(data):
        if at + 4 > len(data): return None
        code, length = struct.unpack("!HH", data[at:at + 4])
        if at + 4 + length > len(data): return None
        found.append((code, data[at + 4:at + 4 + length]))
        at += 4 + length
    return found


def wrong6(data):
    """By which name a message to all servers must be counted, if it must not be answered: RFC 8415, 16."""
    if len(data) < 4: return "malformed"
    if data[0] == 12: return None if len(data) < 34 else "relayed"
    if data[0] in (2, 7, 10): return "" if options6(data[4:]) is None else None
    if not 1 <= data[0] <= 13: return "malformed"
    if data[0] == 13: return None
    if (found := options6(data[4:])) is None: return "malformed"
    for code, value in found:
        if code in (3, 25) and (len(value) < 12 or options6(value[12:]) is None): return "malformed"
        if code == 4 and (len(value) < 4 or options6(value[4:]) is None): return "malformed"
    clients = [value for code, value in found if code == 1]
    if data[0] != 11 and not clients: return "invalid-request"
    return None


def dhcp6():
    from scapy.all import (DHCP6_Solicit, DHCP6_Request, DHCP6OptClientId, DHCP6OptServerId, DHCP6OptIA_NA, DHCP6OptIAAddress, DHCP6OptOptReq,
                           DHCP6OptElapsedTime, DHCP6OptUserClass, DHCP6OptVendorClass, DHCP6OptIA_PD, DHCP6OptIA_TA, DHCP6OptClientFQDN,
                           DUID_LL, USER_CLASS_DATA, VENDOR_CLASS_DATA)
    identity = DHCP6OptClientId(duid=DUID_LL(lladdr=OWN))
    wants = DHCP6OptIA_NA(iaid=1, ianaopts=[DHCP6OptIAAddress(addr="fd00:2::77")])
    rest = DHCP6OptOptReq(reqopts=[23, 24, 31, 56, 59]) / DHCP6OptElapsedTime() / DHCP6OptUserClass(userclassdata=[USER_CLASS_DATA(data=b"u")]) \
        / DHCP6OptVendorClass(vcdata=[VENDOR_CLASS_DATA(data=b"v")]) / DHCP6OptIA_TA(iaid=2) / DHCP6OptIA_PD(iaid=3) / DHCP6OptClientFQDN(fqdn="mallory")
    solicit = bytes(DHCP6_Solicit(trid=0) / identity / wants / rest)
    group, group_mac = V6("ff02::1:2"), b"\x33\x33\0\1\0\2"
    def put(data, forbid=None, to=group, expect=False, name=None):
        xid = number()[1:]
        data = data[:1] + xid[:max(0, len(data) - 1)] + data[4:]
        if to == group and (wrong := wrong6(data)) is not None: forbid, name = forbid or wrong or "broken", wrong
        if forbid and len(data) >= 4: never["dhcp6", xid] = "DHCPv6: %s: %s" % (forbid, data.hex())
        if name: counted[name] += 1
        if expect: expected.add(("dhcp6", xid))
        send(udp6(LOCAL, to, (546, 547), data), group_mac if to == group else GATEWAY_MAC, ("dhcp6", xid))
        return ("dhcp6", xid)
    key = put(solicit, expect=True)
    settle(3)
    server = [value for code, value in options6(answers[key][4:]) if code == 2][0]
    assert wrong6(solicit) is None
    server = struct.pack("!HH", 2, len(server)) + server
    request = bytes(DHCP6_Request(trid=0) / identity) + server + bytes(wants / rest)
    for message in (solicit, request):
        for cut in range(len(message)): put(message[:cut])
    frame = udp6(LOCAL, group, (546, 547), solicit)
    for cut in range(40, len(frame), 2): send(frame[:cut], group_mac, passes=True)
    # Every length in every option's length field, those within others too.
    for message in (solicit, request):
        at, places = 4, []
        while at < len(message):
            code, length = struct.unpack("!HH", message[at:at + 4])
            places.append(at + 2)
            if code == 3: places.append(at + 4 + 12 + 2)
            at += 4 + length
        for place in places:
            lengths = list(range(256 if message is solicit else 64)) + [256, 0x7fff, 0xffff]
            for length in lengths: put(message[:place] + struct.pack("!H", length) + message[place + 2:])
    client = bytes(identity)
    put(b"\1\0\0\0" + bytes(wants), "without who asks")
    put(b"\1\0\0\0" + client + bytes(wants), "by unicast", to=GATEWAY6, name="not-for-us")
    put(b"\1\0\0\0" + client + server + bytes(wants), "a Solicit to one server", name="invalid-request")
    put(b"\3\0\0\0" + client + server[:-1] + b"\0" + bytes(wants), "for another server", name="other-server")
    for kind in range(256):
        if kind in (2, 7, 10): put(bytes([kind]) + solicit[1:], "type %d" % kind, name="not-a-request")
        elif not 1 <= kind <= 11: put(bytes([kind]) + solicit[1:], "type %d" % kind)
    for kind in [3, 5, 8, 9]: put(bytes([kind]) + solicit[1:], "without the server that type %d is for" % kind, name="invalid-request")
    for code in range(0, 150):
        for length in [0, 1, 4, 12, 24, 40, 65535]:
            has = NUMBERS.randbytes(NUMBERS.choice([0, min(length, 40)]))
            put(bytes([NUMBERS.choice([1, 4, 6, 11])]) + b"\0\0\0" + client + struct.pack("!HH", code, length) + has)
    for depth in [2, 20, 200]:
        inner = b""
        for _ in range(depth): inner = struct.pack("!HHIII", 3, 12 + len(inner), 1, 0, 0) + inner if len(inner) < 1100 else inner
        put(b"\1\0\0\0" + client + inner)
    for _ in range(600): put(scramble(NUMBERS.choice([solicit, request])))
    put(solicit, expect=True)


# DNS.

def name_end(data, at):
    """Where a question's name ends, or None if it is wrong or no name of a question (RFC 1035, 4.1.4: nothing stands before it to point to)."""
    start = at
    while at < len(data) and data[at]:
        if data[at] > 63: return None
        at += 1 + data[at]
    return at + 1 if at < len(data) and at + 1 - start <= 255 else None


def dns():
    from scapy.all import DNS, DNSQR, DNSRROPT, EDNS0TLV
    ports = iter(range(20000, 60000))
    refused = lambda data: data[3] & 15 == 1 and data[6:8] == b"\0\0"
    empty = lambda data: data[6:8] == b"\0\0"
    def put(data, forbid=None, expect=False, rights=None):
        port = struct.pack("!H", next(ports))
        if len(data) < 12 or data[2] & 0x80: forbid = forbid or "an answer, or too short for a question"
        elif data[2] >> 3 == 0 and data[4:6] == b"\0\1" and ((end := name_end(data, 12)) is None or end + 4 > len(data)):
            # What points elsewhere (to the header, there is nothing else) is nobody's name, which may be told in more than one way.
            is_pointer = any(byte >= 0xc0 for byte in data[12:])
            rights = empty if is_pointer else refused
            counted["dns-format-error"] += not is_pointer
        if forbid:
            never["dns", port] = "DNS: %s: %s" % (forbid, data.hex())
            counted["dns-ignored"] += 1
        if rights: only["dns", port] = rights
        if expect: expected.add(("dns", port))
        send(udp4(ADDRESS, GATEWAY, (struct.unpack("!H", port)[0], 53), data), GATEWAY_MAC, ("dns", port))
    query = bytes(DNS(id=7, rd=1, qd=DNSQR(qname="gateway.home.lan"), ar=DNSRROPT(rclass=1232, rdata=[EDNS0TLV(optcode=3, optdata=b"n")])))
    question = query[12:12 + 18 + 4]
    assert name_end(query, 12) == 30 and query[30:34] == b"\0\1\0\1"
    head = lambda flags=0x100, counts=(1, 0, 0, 0): struct.pack("!HHHHHH", 7, flags, *counts)
    put(head() + question, expect=True)
    for cut in range(len(query)): put(query[:cut])
    for cut in range(12 + len(question)): put(head() + question[:cut])
    # Every length of every label, and of what EDNS says of itself.
    for at in (12, 20, 25, 29):
        for length in range(256): put(query[:at] + bytes([length]) + query[at + 1:]), put(head() + question[:at - 12] + bytes([length]) + question[at - 11:])
    for at in (len(query) - 7, len(query) - 3):
        for length in list(range(256)) + [0x100, 0x7fff, 0xffff]: put(query[:at] + struct.pack("!H", length) + query[at + 2:])
    # Names that point to themselves, to each other, before and behind everything, and that are too long.
    for low in range(256):
        for high in (0xc0, 0xff): put(head() + bytes([high, low]) + b"\0\1\0\1"), put(head() + b"\1a" + bytes([high, low]) + b"\0\1\0\1")
    put(head(counts=(2, 0, 0, 0)) + b"\xc0\x12\0\1\0\1" + b"\xc0\x0c\0\1\0\1")
    for labels in range(1, 40):
        for length in (1, 7, 62, 63):
            if labels * length < 1400: put(head() + (bytes([length]) + b"a" * length) * labels + b"\0\0\1\0\1")
    for code in range(16):
        for low in range(16): put(head(0x8000 | code << 11 | low) + question, "an answer"), put(head(code << 11 | low) + question)
    for counts in [(0, 0, 0, 0), (2, 0, 0, 0), (65535, 0, 0, 0), (1, 65535, 0, 0), (1, 0, 65535, 65535), (0, 1, 1, 1)]: put(head(counts=counts) + question)
    for kind in [*range(256), 65535]:
        for group in [0, 1, 3, 254, 255, 65535]:
            if group == 1 or kind % 16 == 0: put(head() + question[:-4] + struct.pack("!HH", kind, group))
    for _ in range(600):
        data = bytearray(scramble(query + NUMBERS.randbytes(NUMBERS.randrange(30)), 2))
        data[2] &= 0x7f
        put(bytes(data))
    put(query, expect=True)


# ICMP.

def messages():
    ids = iter(range(1, 60000))
    out = socket.inet_aton("192.168.99.1")
    def put(source, to, protocol, data, forbid=None, mac=None, **more):
        id = next(ids)
        if forbid: never["error", struct.pack("!H", id)] = "an ICMP error about " + forbid
        send(ip4(source, to, protocol, data, id=id, **more), mac or GATEWAY_MAC, passes=mac is not None)
    def echo(length, broken=False):
        id = struct.pack("!H", next(ids))
        data = icmp(b"\x08\0\0\0" + id + b"\0\1" + NUMBERS.randbytes(length))
        if broken:
            data = data[:2] + bytes([data[2] ^ 1]) + data[3:]
            never["echo", id] = "a reply to an echo with a wrong checksum"
            counted["gateway-bad-message"] += 1
        else:
            expected.add(("echo", id))
            only["echo", id] = lambda answer: answer[4:] == data[4:] and total(answer) == 0xffff
        send(ip4(ADDRESS, GATEWAY, 1, data), GATEWAY_MAC, ("echo", id))
    # Every length that a packet has room for, and every type cut off at every length of its header.
    for length in range(0, 1473): echo(length)
    for length in range(0, 1473, 50): echo(length, broken=True)
    for kind in range(256):
        for cut in range(0, 9):
            if kind != 8 or cut < 8: put(ADDRESS, GATEWAY, 1, icmp(bytes([kind, NUMBERS.randrange(256), 0, 0, 0, 0, 0, 0])[:cut]), "ICMP of type %d" % kind)
        if kind != 8: put(ADDRESS, GATEWAY, 1, icmp(bytes([kind, NUMBERS.randrange(256), 0, 0]) + NUMBERS.randbytes(NUMBERS.randrange(60))), "ICMP of type %d" % kind)
    # Errors about what was never sent, of every length, about this address, another one and nothing at all.
    inner = udp4(GATEWAY, ADDRESS, (53, 20001), b"i" * 20)
    for kind in [3, 4, 5, 11, 12]:
        for to in [GATEWAY, out]:
            for cut in range(len(inner) + 1): put(ADDRESS, to, 1, icmp(bytes([kind, 4 if kind == 3 else 0, 0, 0, 0, 0, 0, 68]) + inner[:cut]), "an ICMP error")
            for _ in range(60): put(ADDRESS, to, 1, icmp(bytes([kind, NUMBERS.randrange(20), 0, 0]) + scramble(inner)), "an ICMP error")
        put(ADDRESS, out, 1, icmp(bytes([kind, 0, 0, 0, 0, 0, 0, 0]) + inner), "an ICMP error whose hops ended", ttl=1)
    closed = udp(ADDRESS + GATEWAY, (1, 9), b"u" * 8)
    # It waits for the first one.
    put(ADDRESS, GATEWAY, 17, closed, "a later fragment", mac=GATEWAY_MAC, place=3)
    for to in [ALL, socket.inet_aton("10.0.0.255"), socket.inet_aton("224.0.0.1")]:
        put(ADDRESS, to, 17, udp(ADDRESS + to, (1, 9), b"u" * 8), "what was sent to many", mac=b"\xff" * 6)
        put(ADDRESS, to, 1, icmp(b"\x08\0\0\0\xee\xee\0\1to many"), "what was sent to many", mac=b"\xff" * 6)
    for source in [ANY, ALL, *map(socket.inet_aton, ["127.0.0.1", "224.0.0.1", "10.0.0.255", "10.0.0.1", "192.168.99.77"])]:
        put(source, out, 17, udp(source + out, (1, 9), b"u" * 8), "what nobody sent", ttl=1)
        put(source, GATEWAY, 17, udp(source + GATEWAY, (1, 9), b"u" * 8), "what nobody sent")
        put(source, GATEWAY, 1, icmp(b"\x08\0\0\0\xee\xef\0\1nobody"), "what nobody sent")
    never["echo", b"\xee\xef"] = "an echo reply to a station that cannot have asked"
    echo(56)


def messages6():
    flows = iter(range(1, 60000))
    own, out = V6("fd00:2::" + sys.argv[1].split(".")[-1]), V6("2001:db8:99::1")
    def put(to, data, forbid=None, limit=None, source=own, passes=False):
        flow = next(flows)
        # What goes on would be nobody's to count.
        limit = limit or (1 if to == out else 255)
        if forbid: never["error6", struct.pack("!I", flow)[1:]] = "an ICMPv6 error about " + forbid
        send(ip6(source, to, 58, icmp6(source, to, data), limit=limit, flow=flow), GATEWAY_MAC, passes=passes)
    # Neighbour discovery that has come far, is cut off, or has an option of a wrong length (RFC 4861, 6.1 and 7.1). What is no such
    # message is the link's if it is to a group, and refused if it is to the gateway. The gateway has to know where the station is
    # before it answers echoes.
    group, group_mac = V6("ff02::1:ff00:1"), b"\x33\x33\xff\0\0\1"
    option = b"\1\1" + MAC
    def solicit(forbid, data, limit=255, code=0, cut=None, name="unreadable", source=None, broken=False):
        # By their addresses such are for the gateway alone.
        to = group if name == "unreadable" else GATEWAY6
        source = source or V6("fe80::bad:%x" % next(flows))
        message = icmp6(source, to, (bytes([135, code, 0, 0, 0, 0, 0, 0]) + data)[:cut])
        if broken: message = message[:2] + bytes([message[2] ^ 1]) + message[3:]
        packet = ip6(source, to, 58, message, limit=limit)
        if forbid:
            never["advertised", source] = "an advertisement for a solicitation " + forbid
            counted[name] += 1
            send(packet, GATEWAY_MAC)
            if name == "unreadable" and next(flows) % 8 == 0: send(packet, group_mac, passes=True)
        else:
            expected.add(("advertised", source))
            send(packet, group_mac, ("advertised", source))
    solicit(None, GATEWAY6 + option)
    for limit in range(255): solicit("from beyond a router", GATEWAY6 + option, limit=limit)
    for code in range(1, 256): solicit("with a code", GATEWAY6 + option, code=code)
    for cut in range(4, 32):
        if cut != 24: solicit("that is cut off", GATEWAY6 + option, cut=cut)
    for length in [0, *range(2, 256)]: solicit("whose option has a length of %d" % length, GATEWAY6 + b"\1" + bytes([length]) + MAC)
    for _ in range(20):
        solicit("with a wrong checksum", GATEWAY6 + option, broken=True, name="gateway-bad-message")
        solicit("by a group's station", GATEWAY6 + b"\1\1\x33" + MAC[1:], name="gateway-bad-message")
        solicit("by the gateway itself", GATEWAY6 + b"\1\1" + GATEWAY_MAC, name="gateway-bad-message")
        solicit("of a prefix of elsewhere", GATEWAY6 + option, source=V6("2001:db8:66::%x" % next(flows)), name="gateway-bad-message")
        solicit("that knows who it is already", GATEWAY6 + option, source=V6("::"), name="not-routable")
    for kind in [133, 134, 136, 137]:
        for cut in range(0, 64): advertise(kind, cut)
        for at in (17, 25):
            for length in range(0, 256, 3): advertise(kind, at=at, value=length)
        for _ in range(60): advertise(kind, noise=True)
    def echo(length):
        id = struct.pack("!H", next(flows))
        data = b"\x80\0\0\0" + id + b"\0\1" + NUMBERS.randbytes(length)
        expected.add(("echo6", id))
        only["echo6", id] = lambda answer: answer[4:] == data[4:]
        send(ip6(own, GATEWAY6, 58, icmp6(own, GATEWAY6, data)), GATEWAY_MAC, ("echo6", id))
    for length in range(0, 1453): echo(length)
    for kind in range(256):
        for cut in range(0, 9):
            forbid = "ICMPv6 of type %d" % kind if kind < 128 else None
            # One is a right router solicitation.
            if kind != 128 or cut < 8: put(GATEWAY6, bytes([kind, 0, 0, 0, 0, 0, 5, 0])[:cut], forbid, passes=(kind, cut) == (133, 8))
    inner = ip6(GATEWAY6, own, 17, udp(GATEWAY6 + own, (53, 20001), b"i" * 20))
    for kind in range(0, 128):
        put(GATEWAY6, bytes([kind, 0, 0, 0, 0, 0, 5, 0]) + inner[:NUMBERS.randrange(len(inner) + 1)], "an ICMPv6 error")
    for kind in [1, 2, 3, 4]:
        for to in [GATEWAY6, out]:
            for cut in range(len(inner) + 1): put(to, bytes([kind, 0, 0, 0, 0, 0, 5, 0]) + inner[:cut], "an ICMPv6 error")
            for _ in range(60): put(to, bytes([kind, NUMBERS.randrange(8), 0, 0, 0, 0, 5, 0]) + scramble(inner), "an ICMPv6 error")
        put(out, bytes([kind, 0, 0, 0, 0, 0, 5, 0]) + inner, "an ICMPv6 error whose hops ended", limit=1)
    for source in [V6("::"), V6("::1"), V6("ff02::1"), GATEWAY6, V6("2001:db8:99::77")]:
        put(out, udp(source + out, (1, 9), b"u" * 8), "what nobody sent", limit=1, source=source)
    solicit(None, GATEWAY6 + option)
    echo(56)


def advertise(kind, cut=None, at=None, value=0, noise=False, prefix="fd99::"):
    """Says that it is a router, or that another one is nearer."""
    everybody, option = V6("ff02::1"), b"\1\1" + MAC
    data = bytes([kind, 0, 0, 0, 0x40, 0xc0, 7, 8]) + b"\0" * 8 + b"\3\4\x40\xc0" + b"\xff" * 8 + ANY + V6(prefix) + option
    if at: data = data[:at] + bytes([value]) + data[at + 1:]
    if noise: data = bytes([kind]) + scramble(data[1:])
    send(ip6(LOCAL, everybody, 58, icmp6(LOCAL, everybody, data[:cut])), b"\x33\x33\0\0\0\1", passes=True)


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
PARTS = {"dhcp": dhcp, "dhcp6": dhcp6, "dns": dns, "icmp": messages, "icmp6": messages6, "router": lambda: advertise(134, prefix="fd0b:ad::")}
PARTS[sys.argv[2]]()
settle(3)
# What nobody waits for may come as well, to be counted.
until = time.time() + 0.5
while time.time() < until: time.sleep(0.01), drain()
print(json.dumps({
    "sent": sent,
    "forbidden": sorted(forbidden),
    "missing": sorted(kind + " " + number.hex() for kind, number in expected - came.keys()),
    "answered": sum(came[key] for key in numbers),
    "counted": counted,
}))
