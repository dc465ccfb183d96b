//! Cables' ends in a namespace: frames that come by them are lines of text, and so are frames to be sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;

use viaduct_tests::namespace::Namespace;

/// Reads frames of IP from each interface, and sends frames; answers ARP requests for the address in the first argument
/// with the station in the second.
const WIRE: &str = r#"
import socket, sys, threading
address, mac = socket.inet_aton(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", ""))
socks = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for _ in sys.argv[3:]]
for sock, name in zip(socks, sys.argv[3:]):
    sock.bind((name, 3))
def listen(number, sock):
    while True:
        frame, about = sock.recvfrom(65536)
        if about[2] == 4: continue
        if frame[12:22] == bytes([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]) and frame[38:42] == address:
            sock.send(frame[6:12] + mac + frame[12:21] + b"\2" + mac + address + frame[22:32])
        elif frame[12:14] == b"\x08\x00":
            print(number, frame.hex(), flush=True)
for number, sock in enumerate(socks):
    threading.Thread(target=listen, args=(number, sock), daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    number, frame = line.split()
    socks[int(number)].send(bytes.fromhex(frame))
"#;

/// The cables' ends.
pub(crate) struct Wire {
    program: Child,
    to: ChildStdin,
    frames: Receiver<(usize, Vec<u8>)>,
}

impl Wire {
    /// The ends `names` in `namespace`, at which a station has this address.
    pub(crate) fn new(namespace: &Namespace, (address, mac): (&str, &str), names: &[&str]) -> Self {
        let mut command = namespace.command("/usr/bin/python3");
        command.args(["-c", WIRE, address, mac]).args(names);
        let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        let mut lines = BufReader::new(from).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        let (sender, frames) = channel();
        spawn(move || {
            for line in lines {
                let (number, hex) = line.split_once(' ').unwrap();
                let _ = sender.send((number.parse().unwrap(), bytes(hex)));
            }
        });
        Self { program, to, frames }
    }

    /// Frames as they come, each with the number of the end that it came by.
    pub(crate) fn frames(&self) -> &Receiver<(usize, Vec<u8>)> {
        &self.frames
    }

    /// Sends a frame by an end.
    pub(crate) fn send(&mut self, number: usize, frame: &[u8]) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.to, "{number} {hex}").unwrap();
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
