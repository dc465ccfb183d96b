//! Sizes: long names, many ports, files that are large, cut or no text at all.

use super::*;

/// For how long this thread has been run so far: how long it had to wait for a processor is no matter of ours.
fn time_run() -> Duration {
    // The kernel notes it when it may run somebody else.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn socket_paths_end_at_106_bytes() {
    let with = |length: usize| {
        let directory = format!("/{}", "d".repeat(length - "/".len() - "/takeover.sock".len()));
        format!("[network.lab]\n[switch]\nruntime_dir = '{directory}'\n[port.vm1]\nnetwork = 'lab'\n")
    };
    right(&with(106));
    assert_eq!(wrong(&with(107))[0].field, "switch.runtime_dir");
    let long_name = format!(
        "{LAB}[switch]\nruntime_dir = '/{}'\n[port.a-longer-name]\nnetwork = 'lab'\n",
        "d".repeat(91)
    );
    let problem = &wrong(&long_name)[0];
    assert_eq!((problem.field.as_str(), problem.found.as_str()), ("port.a-longer-name.socket", "111 bytes"));
}

#[test]
fn ten_thousand_ports_are_refused_at_once_with_one_sentence() {
    let mut text = LAB.to_owned();
    for number in 0..10_000 {
        writeln!(text, "[port.p{number}]\nnetwork = 'lab'").unwrap();
    }
    let start = time_run();
    let problems = wrong(&text);
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].field.as_str(), problems[0].found.as_str()), ("port", "10000 tables"));
    let took = time_run() - start;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn as_many_ports_as_a_switch_can_have_are_read_quickly() {
    let mut text = LAB.to_owned();
    for number in 0..4096 {
        writeln!(
            text,
            "[port.p{number}]\nnetwork = 'lab'\nmac = '52:54:00:01:{:02x}:{:02x}'",
            number >> 8,
            number & 255
        )
        .unwrap();
    }
    let start = time_run();
    assert_eq!(right(&text).ports.len(), 4096);
    let took = time_run() - start;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_file_full_of_mistakes_gives_a_list_that_can_be_read() {
    let mut text = LAB.to_owned();
    for number in 0..4000 {
        writeln!(text, "[port.p{number}]\nnetwork = 'lub'\nmtu = 'x'\ncolour = 2").unwrap();
    }
    let start = time_run();
    let ConfigError::Wrong(error) = parse(text.as_bytes(), "x", &TestHost).unwrap_err() else { panic!() };
    assert_eq!((error.problems.len(), error.left_out > 10_000), (100, true));
    let took = time_run() - start;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_file_cut_anywhere_is_refused_or_right_and_never_a_panic() {
    let text = include_str!("../../../../examples/full.toml");
    for end in 0..text.len() {
        let _ = parse(&text.as_bytes()[..end], "x", &TestHost);
    }
}

#[test]
fn bytes_that_are_no_text_are_located() {
    let problems = parse(b"[network.lab]\n# \xff\n", "x", &TestHost).unwrap_err().problems().to_vec();
    assert_eq!((problems[0].line, problems[0].column, problems[0].found.as_str()), (2, 3, "the byte 0xff"));
}

#[test]
fn deep_nesting_and_huge_files_are_refused() {
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(!wrong(&deep).is_empty());
    let huge = vec![b'#'; FILE_SIZE_MAX + 1];
    assert!(matches!(parse(&huge, "x", &TestHost), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let missing = load(&directory.path().join("none.toml"), &TestHost).unwrap_err().to_string();
    assert!(missing.contains("none.toml: there is no such file; write one"), "{missing}");
    let unreadable = load(directory.path(), &TestHost).unwrap_err().to_string();
    assert!(unreadable.contains("cannot be read"), "{unreadable}");
}
