//! What hosts send one another by sockets of the kernel, and get as it was sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::lab::{Lab, at};

/// Bytes that tell their place.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 251) % 251).unwrap()).collect()
}

/// Receives a datagram: one of the other tests' signals, or a machine that stood still, may interrupt a call that waits with
/// a time-out.
pub(super) fn receive(socket: &UdpSocket, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A stream of so many bytes from host 1 to host 0, then one back.
pub(super) fn stream_both_ways(lab: &Lab, bytes: usize) {
    let listener = lab.hosts[1].within(|| TcpListener::bind(at(1, 5000)).unwrap());
    let mut stream = lab.hosts[0].within(|| TcpStream::connect(at(1, 5000)).unwrap());
    let (mut other, _) = listener.accept().unwrap();
    let data = pattern(bytes);
    for _ in 0..2 {
        thread::scope(|scope| {
            scope.spawn(|| other.write_all(&data).unwrap());
            let mut room = vec![0; bytes];
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.read_exact(&mut room).unwrap_or_else(|error| panic!("{error}: {:?}", lab.all_drops()));
            assert!(room == data, "other bytes");
        });
        std::mem::swap(&mut stream, &mut other);
    }
}

/// Datagrams of these lengths from host 0 to host 1, and each of them back.
pub(super) fn datagrams_come_back(lab: &Lab, lengths: impl Iterator<Item = usize>) {
    let a = lab.hosts[0].within(|| UdpSocket::bind(at(0, 5000)).unwrap());
    let b = lab.hosts[1].within(|| UdpSocket::bind(at(1, 5000)).unwrap());
    for socket in [&a, &b] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let (data, mut room) = (pattern(65_507), vec![0; 65_536]);
    for len in lengths {
        a.send_to(&data[..len], at(1, 5000)).unwrap();
        let (got, from) = receive(&b, &mut room).unwrap_or_else(|error| panic!("{len}: {error}"));
        assert!(room[..got] == data[..len], "{len} bytes");
        b.send_to(&room[..got], from).unwrap();
        let (got, _) = receive(&a, &mut room).unwrap_or_else(|error| panic!("{len}: {error}"));
        assert!(room[..got] == data[..len], "{len} bytes, on their way back");
    }
}
