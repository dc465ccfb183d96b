//! The metadata address, and other addresses of the gateway to which TCP may be: who is served, and by whom.

use super::*;

/// A metadata server that answers each request with the PROXY header that came before it, in hexadecimal, and `size` bytes more.
fn metadata_server(path: &Path, size: usize) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.ends_with(b"\r\n\r\n") || request.len() < 100 {
                    match stream.read(&mut buffer) {
                        Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
                        _ => return,
                    }
                }
                let end = 16 + usize::from(u16::from_be_bytes([request[14], request[15]]));
                let mut body: Vec<u8> =
                    request[..end].iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
                body.resize(body.len() + size, b'.');
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            });
        }
    });
}

#[test]
fn curl_gets_metadata_and_the_server_knows_from_which_port() {
    let lab = Lab::new();
    metadata_server(&lab.folder.path().join("metadata"), 3 << 20);
    let fetch = |guest: usize, url: &str| {
        lab.guests[guest].run(&format!("curl -gsS --max-time 20 -H 'X-Padding: {}' {url}", "p".repeat(80)))
    };
    for (guest, name) in [(0, "766d30"), (1, "766d31")] {
        for (url, family) in
            [("http://169.254.169.254/latest", "2111"), ("http://[fd00:ec2::254]/latest", "2121")]
        {
            let body = fetch(guest, url);
            let (header, rest) = body.split_once('.').unwrap();
            assert_eq!(rest.len() + 1, 3 << 20, "{url}");
            // Signature, version and family; the port's name and the network's at the end.
            assert!(header.starts_with(&format!("0d0a0d0a000d0a515549540a{family}")), "{header}");
            assert!(header.ends_with(&format!("e00003{name}e10004686f6d65")), "{header}");
        }
    }
    // A connection is counted when both ends have closed it, which a client does not wait for.
    wait_until("all four are counted as served", LIMIT, || lab.count(Event::MetadataServed) == 4);
    assert_eq!(lab.guests[0].checksum_errors(), 0);
}

#[test]
fn a_server_that_is_not_there_resets_the_connection_and_one_at_an_address_serves_as_well() {
    let lab = Lab::new();
    let url = "curl -sS --max-time 5 http://169.254.169.254/";
    assert!(!lab.guests[0].succeeds(url));
    wait_until("it is counted as failed", LIMIT, || lab.count(Event::MetadataFailed) == 1);
    let mut wanted = settings(Target::Address("127.0.0.1:8080".parse().unwrap()));
    wanted.metadata.as_mut().unwrap().announces_port = false;
    std::fs::write(lab.folder.path().join("index.html"), "hello from the host\n").unwrap();
    let folder = lab.folder.path().display();
    let line = format!(
        "netns exec {} python3 -m http.server --bind 127.0.0.1 --directory {folder} 8080",
        lab.outside.name()
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let server = Process::start("server", "ip", &words, lab.folder.path());
    lab.services.handle().configure(vec![wanted]);
    wait_until("the server answers", LIMIT, || {
        lab.guests[0].succeeds(&format!("{url} | grep -q 'from the host'"))
    });
    drop(server);
}

#[test]
fn a_flood_of_syns_from_one_port_leaves_places_and_nobody_speaks_for_another() {
    let lab = Lab::new();
    metadata_server(&lab.folder.path().join("metadata"), 0);
    let handle = lab.services.handle();
    // Nobody is there to reset what he did not begin.
    let tcp = |source_port: u16, sequence| {
        PacketBuilder::ipv4([10, 0, 0, 77], [169, 254, 169, 254], 64).tcp(source_port, 80, sequence, 1000)
    };
    let pass = |index, builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>| {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[]).unwrap();
        handle.packet(port(index), network(), bytes);
    };
    for source_port in 1000..5000 {
        pass(1, tcp(source_port, 1).syn());
    }
    // The same ends, from the other port: neither a reset nor data count.
    pass(0, tcp(1000, 2).rst());
    wait_until("the stranger is noticed", LIMIT, || lab.count(Event::TcpOtherPort) == 1);
    let curl = format!("curl -sS --max-time 5 -H 'X: {}' http://169.254.169.254/", "p".repeat(90));
    for _ in 0..20 {
        let body = lab.guests[0].run(&curl);
        assert!(body.ends_with("e00003766d30e10004686f6d65"), "{body}");
    }
    assert!(
        lab.count(Event::TcpNoPlace) > 0 && lab.count(Event::TcpNoPlace) + lab.count(Event::InboxFull) > 3000
    );
    // Half-open connections go, and the port that flooded is served again.
    wait_until("the flooder gets places again", LIMIT, || lab.guests[1].succeeds(&curl));
    assert!(lab.count(Event::TcpNotEstablished) > 0);
}
