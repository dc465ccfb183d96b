//! Programs that send many flows, and hear which way they take.

/// Sends datagrams of 64 flows for four seconds, each flow one in 64 ms.
pub(super) const SENDER: &str = "import socket, time
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
for number, one in enumerate(socks): one.bind(('10.0.9.1', 6000 + number))
start = time.monotonic()
for number in range(4000):
    socks[number % 64].sendto(bytes(40), ('10.0.9.9', 9))
    if number == 500: print('sending', flush=True)
    time.sleep(max(0, start + (number + 1) / 1000 - time.monotonic()))
";

/// Hears what comes from the host and what leaves by the bond's links for five seconds from the first
/// datagram on; tells how long a flow of which
/// datagrams came had none leave at the longest, and how many flows left by another link in the end.
pub(super) const WATCHER: &str = "import json, socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
s.settimeout(0.1)
print('watching', flush=True)
waits, first, last, longest = {}, {}, {}, 0
end = None
while end is None or time.monotonic() < end:
    try: data, (name, _, kind, _, _) = s.recvfrom(2000)
    except TimeoutError: continue
    if data[12:14] != b'\\x08\\x00' or data[23] != 17 or data[36:38] != b'\\x00\\x09': continue
    flow, now = data[34:36], time.monotonic()
    end = end or now + 5
    if name == 'host' and kind != 4: waits.setdefault(flow, now)
    if name in ('eth4', 'eth5') and kind == 4:
        longest = max(longest, now - waits.pop(flow, now))
        first.setdefault(flow, name)
        last[flow] = name
longest = max([longest] + [time.monotonic() - since for since in waits.values()])
moved = sum(first[flow] != last[flow] for flow in first)
print(json.dumps({'longest_ms': round(longest * 1000), 'flows': len(first), 'moved': moved}))
";
