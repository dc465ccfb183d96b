//! Frontends that send without end, come back at once, or leave files that cannot be closed.

use super::*;

/// A message without files.
fn message(request: u32, flags: u32, body: &[u64]) -> Vec<u8> {
    let size = u32::try_from(body.len() * 8).unwrap();
    let header = [request, flags, size].into_iter().flat_map(u32::to_ne_bytes);
    header.chain(body.iter().flat_map(|word| word.to_ne_bytes())).collect()
}

const SET_OWNER: u32 = 3;
const SET_VRING_CALL: u32 = 13;

/// Sends until the control thread does not read for a while; gives the number of messages.
fn send_on(stream: &UnixStream) -> usize {
    let message = message(SET_OWNER, 1, &[]);
    stream.set_write_timeout(Some(Duration::from_millis(30))).unwrap();
    (0..).take_while(|_| (&*stream).write_all(&message).is_ok()).count()
}

/// Uses up all that a port's frontends may send at once, and leaves more.
fn flood(stream: &UnixStream) {
    let message = message(SET_OWNER, 1, &[]);
    for _ in 0..8192 {
        (&*stream).write_all(&message).unwrap();
    }
    send_on(stream);
}

/// Time in ms that the thread with this number has run so far.
fn busy_ms(thread: &Path) -> u64 {
    busy_us(thread) / 1000
}

#[test]
fn a_frontend_that_sent_too_much_and_left_is_not_waited_for() {
    let lab = Lab::start(&["a"]);
    let stream = UnixStream::connect(lab.socket("a")).unwrap();
    flood(&stream);
    let before = busy_ms(&lab.task);
    drop(stream);
    std::thread::sleep(Duration::from_millis(300));
    let spent = busy_ms(&lab.task) - before;
    assert!(spent < 60, "the control thread ran for {spent} ms of 300");
    assert_eq!(lab.port("a").state, PortState::Listening);
}

#[test]
fn a_frontend_that_sent_too_much_was_killed_and_is_back_at_once_is_let_in() {
    let lab = Lab::start(&["a"]);
    let stream = UnixStream::connect(lab.socket("a")).unwrap();
    flood(&stream);
    drop(stream);
    greet(&mut Frontend::connect(lab.socket("a"), 4).unwrap());
    assert_eq!(lab.port("a").connections, 2);
}

#[test]
fn a_frontend_that_sent_too_much_gains_nothing_by_coming_back() {
    let lab = Lab::start(&["a", "b"]);
    let stream = UnixStream::connect(lab.socket("a")).unwrap();
    flood(&stream);
    drop(stream);
    greet(&mut Frontend::connect(lab.socket("b"), 4).unwrap());
    lab.wait_for("a", PortState::Listening);
    // At once 8192, of which nothing is left; what time has brought is a small part of it.
    let sent = send_on(&UnixStream::connect(lab.socket("a")).unwrap());
    assert!(sent < 4096, "{sent} messages were taken at once");
}

#[test]
fn connections_without_end_are_accepted_more_slowly() {
    let lab = Lab::start(&["a", "b"]);
    let start = Instant::now();
    for _ in 0..1300 {
        drop(UnixStream::connect(lab.socket("a")).unwrap());
    }
    greet(&mut Frontend::connect(lab.socket("b"), 4).unwrap());
    let accepted = lab.port("a").connections;
    let allowed = 1024 + 20 * (start.elapsed().as_millis() / 100 + 1);
    assert!(u128::from(accepted) <= allowed, "{accepted} accepted, {allowed} allowed");
    assert!(accepted >= 1024, "{accepted}");
}

/// Connects and sends messages, the last one with a file that lingers and is ours no more when it is read; gives what
/// it lingers for.
fn connect_and_linger(socket: &Path, messages: &[Vec<u8>]) -> (UnixStream, TcpStream) {
    let (writer, reader) = lingering();
    let stream = UnixStream::connect(socket).unwrap();
    let (last, others) = messages.split_last().unwrap();
    for message in others {
        (&stream).write_all(message).unwrap();
    }
    stream.send_with_fds(&[last.as_slice()], &[writer.as_raw_fd()]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (stream, reader)
}

#[test]
fn a_file_that_cannot_be_closed_holds_back_its_own_port_until_it_is() {
    // A file where none may come: the session ends, and the file is closed.
    let wrong = message(SET_OWNER, 1, &[]);
    let sent = vec![wrong.clone()];
    let prepare = move |folder: &Path| connect_and_linger(&folder.join("a.sock"), &sent);
    let (lab, (mut stream, reader)) = Lab::start_with(&["a", "b"], prepare);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    // Now with two dozen files a connection: each is closed by us, so that its files have come.
    let (_end, pipe) = std::io::pipe().unwrap();
    for _ in 0..3 {
        let mut stream = UnixStream::connect(lab.socket("a")).unwrap();
        stream.send_with_fds(&[wrong.as_slice()], &[pipe.as_raw_fd(); 24]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        greet(&mut Frontend::connect(lab.socket("b"), 4).unwrap());
    }
    let detail = lab.port("a").detail.unwrap();
    assert!(detail.contains("files that frontends sent wait to be closed"), "{detail}");
    let mut stream = UnixStream::connect(lab.socket("a")).unwrap();
    stream.write_all(&message(1, 1, &[])).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.read(&mut [0]).unwrap_err();
    drop(reader);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(stream.read(&mut [0; 20]).unwrap() > 0, "the port is there again");
    assert_eq!(lab.port("a").detail, None);
}

#[test]
fn files_in_flight_to_a_connection_that_ends_do_not_hold_up_the_control_thread() {
    // After the first message, which is none, nothing is read.
    let sent = [message(SET_OWNER, 0, &[]), message(SET_VRING_CALL, 1, &[0])];
    let prepare = move |folder: &Path| connect_and_linger(&folder.join("a.sock"), &sent);
    let (lab, (mut stream, _reader)) = Lab::start_with(&["a", "b"], prepare);
    let start = Instant::now();
    // Its end, or "connection reset" once the socket is closed with something unread.
    let end = stream.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    for port in ["b", "a"] {
        greet(&mut Frontend::connect(lab.socket(port), 4).unwrap());
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}
