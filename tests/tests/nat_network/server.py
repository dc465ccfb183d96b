import os, random, select, socket, sys, threading
folder = sys.argv[1]
def datagrams(family, level, option):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(41, socket.IPV6_V6ONLY, 1)
    s.setsockopt(level, option, 1)
    s.bind(("", 17000))
    while True:
        try:
            data, peer = s.recvfrom(65536)
        except OSError:
            while True:
                try: data, _, _, peer = s.recvmsg(2048, 512, 0x2000 | 0x40)
                except OSError: break
                print("refused", peer[0], peer[1], data[:16].hex(), flush=True)
            continue
        for _ in range(3):
            try: s.sendto(data, peer[:2])
            except OSError: continue
            break
def stream(listener):
    while True:
        s, peer = listener.accept()
        name, data = "%s-%d" % (peer[0], peer[1]), b""
        while True:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            more = s.recv(65536)
            if not more: break
            data += more
        with open(os.path.join(folder, name), "wb") as file: file.write(data)
        print("stream", name, flush=True)
        s.close()
for family, level, option in [(socket.AF_INET, 0, 11), (socket.AF_INET6, 41, 25)]:
    threading.Thread(target=datagrams, args=(family, level, option), daemon=True).start()
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6: listener.setsockopt(41, socket.IPV6_V6ONLY, 1)
    listener.bind(("", 17001))
    listener.listen(16)
    threading.Thread(target=stream, args=(listener,), daemon=True).start()
print("listening", flush=True)
threading.Event().wait()
