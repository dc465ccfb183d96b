//! Stations that exchange bytes whose every one is checked: a stream of TCP, and datagrams of many sizes that come back.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::iperf_above;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;

use super::underlay::{LIMIT, Underlay};

const SERVER: &str = r"
import hashlib, socket, threading
def streams(listener):
    while True:
        peer, _ = listener.accept()
        digest = hashlib.sha256()
        while data := peer.recv(65536):
            digest.update(data)
        peer.sendall(digest.digest())
        peer.close()
listener = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)
echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
echo.bind(('::', 7000))
threading.Thread(target=streams, args=(listener,), daemon=True).start()
while True:
    echo.sendto(*echo.recvfrom(65536))
";

const CLIENT: &str = r"
import hashlib, random, socket, sys
address, length = sys.argv[1], int(sys.argv[2])
data = random.Random(length).randbytes(length)
with socket.create_connection((address, 7000), timeout=10) as peer:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
    told = b''
    while part := peer.recv(64):
        told += part
assert told == hashlib.sha256(data).digest(), 'other bytes came than were sent'
version = socket.AF_INET6 if ':' in address else socket.AF_INET
for size in map(int, sys.argv[3:]):
    sent = random.Random(size).randbytes(size)
    with socket.socket(version, socket.SOCK_DGRAM) as peer:
        peer.settimeout(2)
        peer.connect((address, 7000))
        for attempt in range(3):
            peer.send(sent)
            try:
                came = peer.recv(65536)
                break
            except TimeoutError:
                came = None
    assert came == sent, 'a datagram of %d bytes came as %s' % (size, came and len(came))
";

/// Sizes of datagrams: the least, odd ones, the longest that pass whole, and such that go in fragments.
const SIZES: &str = "1 63 999 1401 1402 1422 1423 4000 9001";

/// The server at a station.
#[must_use]
pub(super) fn serve(underlay: &Underlay, place: &Namespace) -> Process {
    let mut command = place.command("python3");
    command.args(["-c", SERVER]);
    let name = format!("exchange-{}", place.name());
    let server = Process::spawn(&name, &command, underlay.folder.path());
    wait_until("a server to listen", LIMIT, || place.succeeds("ss -Hltun 'sport = :7000' | grep -q udp"));
    server
}

/// Sends `bytes` in a stream to the server at `address`, and datagrams of all sizes.
pub(super) fn exchange(place: &Namespace, address: &str, bytes: u32) {
    let mut command = place.command("timeout");
    command.args(["25", "python3", "-c", CLIENT, address, &bytes.to_string()]).args(SIZES.split(' '));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{} with {address}: {} {}",
        place.name(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Has iperf3 send TCP and UDP between two stations, both ways; so slowly that all of it can be looked at afterwards.
pub(super) fn measure(underlay: &Underlay, from: &Namespace, (to, address): (&Namespace, &str)) {
    let mut command = to.command("iperf3");
    command.arg("--server");
    let _server = Process::spawn(&format!("iperf3-{}", to.name()), &command, underlay.folder.path());
    wait_until("iperf3 to listen", LIMIT, || to.succeeds("ss -Hltn 'sport = :5201' | grep -q ."));
    for options in ["-b 20M", "-b 20M -R", "-u -b 10M -l 1200"] {
        let rate = iperf_above(5e6, address, 1, options, |line| from.run(line));
        assert!(rate > 5e6, "iperf3 {options} to {address}: {rate} bit/s");
    }
}

/// Waits until `address` answers, which may take questions of who is where.
pub(super) fn reach(place: &Namespace, address: &str) {
    wait_until(&format!("{} to reach {address}", place.name()), LIMIT, || {
        place.succeeds(&format!("busybox ping -q -c 1 -W 1 {address}"))
    });
}
