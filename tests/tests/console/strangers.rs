//! Clients that are no browser: without a token, from elsewhere, for what is not there, slow.

use super::*;

#[test]
fn strangers_get_nothing_and_bad_clients_keep_nobody_out() {
    let daemon = Daemon::start(CONFIG);
    let folder = tempfile::tempdir().unwrap();
    let console = Console::start(&api(&daemon), &[], folder.path());
    let (status, page) = console.ask("GET /", &[&format!("Host: {}", console.host())]);
    assert_eq!(status, 200);
    for line in
        ["content-security-policy: default-src 'none'; script-src 'self'", "x-content-type-options: nosniff"]
    {
        assert!(page.contains(line), "{page}");
    }
    assert!(!page.contains(console.token()), "the page is the same for everybody");
    assert_eq!(console.ask_known("GET /v1/status", &[]).0, 200);
    who_is_refused(&console);
    what_is_refused(&console);
    slow_clients(&console);
    refuses_to_be_reached(&daemon);
    let mut process = console.process;
    process.signal(libc::SIGINT);
    assert!(process.wait(LIMIT).success(), "Ctrl-C ends it well");
}

fn who_is_refused(console: &Console) {
    let host = format!("Host: {}", console.host());
    let token = format!("Authorization: Bearer {}", console.token());
    let other = format!("Authorization: Bearer {}", console.token().replace(|_: char| true, "0"));
    for (expected, lines) in [
        (401, &[host.as_str()][..]),
        (401, &[&host, &other]),
        (401, &[&host, "Cookie: token=1"]),
        (421, &["Host: evil.example", &token]),
        (421, &["Host: 127.0.0.1", &token]),
        (421, &[&token]),
        (421, &[&host, &token, "Origin: http://evil.example"]),
        (421, &[&host, &token, "Origin: null"]),
    ] {
        for request in
            ["GET /v1/status", "GET /about.json", "PATCH /v1/ports/web", "POST /v1/trace", "POST /v1/watch"]
        {
            let (status, answer) = console.ask(request, lines);
            // A request without a Host is none (RFC 9112, 3.2).
            assert!(
                status == expected || (lines == [token.as_str()] && status == 400),
                "{request} {lines:?}: {answer}"
            );
            assert!(!answer.contains("uptime_s"), "{answer}");
        }
    }
}

/// What the page does not need is not there, and what only shows changes nothing.
fn what_is_refused(console: &Console) {
    for (expected, request, body) in [
        (404, "GET /v1/leases", ""),
        (404, "POST /v1/capture", "{}"),
        (404, "DELETE /v1/connections?all=true", ""),
        (405, "DELETE /v1/ports/web", ""),
        (405, "PUT /v1/ports/web", "network = \"office\""),
        (404, "GET /../../etc/passwd", ""),
        (400, "GET /v1/config", ""),
        (400, "GET /v1/config?table=switch.x", ""),
        (400, "GET /v1/config?table=qos.gold&table=port.web", ""),
        (200, "GET /v1/config?table=qos.gold", ""),
        (403, "PUT /v1/config?table=qos.gold", ""),
        (403, "PUT /v1/config", "[network.lab]"),
        (403, "PATCH /v1/ports/web", r#"{"groups":["database"]}"#),
    ] {
        let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let (status, answer) = console.ask_known(request, &[&length]);
        assert_eq!(status, expected, "{request}: {answer}");
    }
    let (status, answer) =
        console.ask_known("POST /v1/trace", &["Content-Length: 1000000", "", &"x".repeat(1_000_000)]);
    assert!(status == 413 || status == 0, "{answer}");
}

fn slow_clients(console: &Console) {
    let silent: Vec<TcpStream> = (0..60).map(|_| console.connect()).collect();
    let mut half = console.connect();
    half.write_all(b"GET /v1/status HTTP/1.1\r\nHost:").unwrap();
    let start = Instant::now();
    let (status, _) = console.ask_known("GET /v1/status", &[]);
    println!("an answer beside 61 silent clients took {:?}", start.elapsed());
    // The first of them, who have all 32 places, are cut off after five seconds, and then it is its turn.
    assert!(
        status == 200 && start.elapsed() < Duration::from_secs(8),
        "{status} after {:?}",
        start.elapsed()
    );
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest);
    assert!(start.elapsed() < LIMIT + Duration::from_secs(2), "half a head after {:?}", start.elapsed());
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"), "a head that never ends is cut off");
    drop(silent);
    wait_for("an answer after them", LIMIT, || {
        (console.ask_known("GET /v1/status", &[]).0 == 200).then_some(())
    });
}

fn refuses_to_be_reached(daemon: &Daemon) {
    for address in ["0.0.0.0:0", "192.0.2.1:9180", "[::]:9180"] {
        let refused = daemon.command(&["console", "--listen", address]);
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && errors.contains("no loopback address"), "{errors}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = daemon.command(&["console", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ss -ltnp"));
}
