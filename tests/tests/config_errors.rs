//! A wrong configuration is told with its place and its remedy, and changes nothing in a running switch.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::lab::network;
use viaduct_tests::snapshot::settled;

const PAIR: [&str; 2] = ["a", "b"];

/// A text that is wrong in one place: its lines are appended to a right configuration of seven lines, and `line`
/// counts from the first of them.
struct Wrong {
    lines: &'static str,
    line: usize,
    /// The field, as in `port.c.mtu`.
    field: &'static str,
    /// A part of what would be right.
    remedy: &'static str,
}

const fn wrong(lines: &'static str, line: usize, field: &'static str, remedy: &'static str) -> Wrong {
    Wrong { lines, line, field, remedy }
}

/// Each field of networks and ports wrong once, and each rule among them.
const EVERY_FIELD: &[Wrong] = &[
    wrong("[network.new]\nmode = \"bridge\"", 2, "network.new.mode", "isolated"),
    wrong("[network.new]\nmode = \"nat\"", 1, "network.new.uplink", "address"),
    wrong("[network.new]\nageing = 300", 2, "network.new.ageing", "unit"),
    wrong("[network.new]\nageing = \"1s\"", 2, "network.new.ageing", "10s"),
    wrong("[network.new]\nagein = \"20s\"", 2, "network.new.agein", "ageing"),
    wrong("[network.new]\nvlan = 4095", 2, "network.new.vlan", "4094"),
    wrong("[network.'a b']", 1, "network.a b", "letters"),
    wrong("[port.c]", 1, "port.c.network", "lab"),
    wrong("[port.c]\nnetwork = \"lob\"", 2, "port.c.network", "lab"),
    wrong("[port.c]\nnetwork = \"lab\"\ntype = \"tun\"", 3, "port.c.type", "tap"),
    wrong("[port.c]\nnetwork = \"lab\"\nsocket = \"c.sock\"", 3, "port.c.socket", "absolute"),
    wrong("[port.c]\nnetwork = \"lab\"\nrole = \"clinet\"", 3, "port.c.role", "client"),
    wrong("[port.c]\nnetwork = \"lab\"\nmac = \"52:54:00\"", 3, "port.c.mac", "52:54:00"),
    wrong("[port.c]\nnetwork = \"lab\"\nmac = \"01:00:5e:00:00:01\"", 3, "port.c.mac", "one station"),
    wrong("[port.c]\nnetwork = \"lab\"\nmac = \"00:00:00:00:00:00\"", 3, "port.c.mac", "52:54:00"),
    wrong("[port.c]\nnetwork = \"lab\"\nqueues = 0", 3, "port.c.queues", "1"),
    wrong("[port.c]\nnetwork = \"lab\"\nqueues = 129", 3, "port.c.queues", "128"),
    wrong("[port.c]\nnetwork = \"lab\"\nqueues = \"four\"", 3, "port.c.queues", "number"),
    wrong("[port.c]\nnetwork = \"lab\"\nmtu = 67", 3, "port.c.mtu", "68"),
    wrong("[port.c]\nnetwork = \"lab\"\nmtu = 65536", 3, "port.c.mtu", "65535"),
    wrong("[port.c]\nnetwork = \"lab\"\nmtuu = 1500", 3, "port.c.mtuu", "mtu"),
    wrong("[port.c]\nnetwork = \"lab\"\naddresses = [\"10.0.0.1/8\"]", 3, "port.c.addresses[0]", "station"),
    wrong("[port.c]\nnetwork = \"lab\"\ntrusted = true", 3, "port.c.trusted", "port_security"),
    wrong(
        "[port.c]\nnetwork = \"lab\"\nallowed_address_pairs = [{ address = \"::/0\" }]",
        3,
        "port.c.allowed_address_pairs[0].address",
        "port_security = false",
    ),
    wrong("[port.c]\nnetwork = \"lab\"\ngroups = [\"web\"]", 3, "port.c.groups[0]", "[group.NAME]"),
    wrong("[ports.c]\nnetwork = \"lab\"", 1, "ports", "port"),
    wrong("[uplink.wan]", 1, "uplink.wan.interface", "eth1"),
    wrong("[uplink.wan]\ninterface = \"eth1\"\ndriver = \"dpdk\"", 3, "uplink.wan.driver", "af-packet"),
    wrong("[network.new]\nmode = \"bridged\"", 1, "network.new.uplink", "uplink"),
    wrong("[network.new]\nmode = \"bridged\"\nuplink = \"wan\"", 3, "network.new.uplink", "[uplink.NAME]"),
    wrong("[port.c]\nnetwork = \"lab\"\ntype = \"veth\"", 1, "port.c.interface", "eth1"),
    wrong(
        "[port.c]\nnetwork = \"lab\"\nmac = \"02:00:00:00:00:99\"\n[port.d]\nnetwork = \"lab\"\nmac = \"02:00:00:00:00:99\"",
        6,
        "port.d.mac",
        "port.c",
    ),
    wrong(
        "[port.c]\nnetwork = \"lab\"\nsocket = \"/tmp/x.sock\"\n[port.d]\nnetwork = \"lab\"\nsocket = \"/tmp/x.sock\"",
        6,
        "port.d.socket",
        "port.c",
    ),
    wrong("[port.c\nnetwork = \"lab\"", 1, "", ""),
    wrong("[port.c]\nnetwork = \"lab\nmtu = 1500", 2, "", ""),
];

/// Lines of the `[switch]` table, each wrong.
const SWITCH: &[Wrong] = &[
    wrong("cpus = [4096]", 1, "switch.cpus", "processor"),
    wrong("cpus = []", 1, "switch.cpus", "0"),
    wrong("polling = \"sometimes\"", 1, "switch.polling", "adaptive"),
    wrong("socket_mode = 660", 1, "switch.socket_mode", "quotes"),
    wrong("socket_mode = \"0999\"", 1, "switch.socket_mode", "octal"),
    wrong("socket_group = \"no-such-group\"", 1, "switch.socket_group", "group"),
    wrong("socket_grup = \"kvm\"", 1, "switch.socket_grup", "socket_group"),
    wrong("api_mode = 600", 1, "switch.api_mode", "quotes"),
    wrong("api_mode = \"0660\"", 1, "switch.api_mode", "api_group"),
    wrong("api_group = \"no-such-group\"", 1, "switch.api_group", "group"),
    wrong("state_dir2 = \"/tmp\"", 1, "switch.state_dir2", "state_dir"),
];

fn right() -> String {
    network("lab", &PAIR, "")
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The error names file, line, field and remedy, and the exit status says that it failed.
fn assert_told(output: &Output, file: &str, line: usize, case: &Wrong) {
    let said = text_of(output);
    assert_eq!(output.status.code(), Some(1), "{}: {said}", case.lines);
    let place = format!("{file}:{line}:");
    assert!(said.contains(&place), "{:?} is told with its place {place}: {said}", case.lines);
    for part in [case.field, case.remedy] {
        assert!(said.contains(part), "{:?} is told with {part:?}: {said}", case.lines);
    }
}

fn lines_of(text: &str) -> usize {
    text.lines().count()
}

#[test]
fn every_field_wrong_once_is_told_by_check_and_by_apply_and_changes_nothing() {
    let daemon = Daemon::start(&right());
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    let before = settled(daemon.show_json());
    let file = daemon.directory().join("wrong.toml");
    let name = file.to_str().unwrap();
    for case in EVERY_FIELD {
        std::fs::write(&file, daemon.whole_config(&format!("{}{}\n", right(), case.lines))).unwrap();
        let line = lines_of(&right()) + case.line;
        assert_told(&daemon.command(&["check", name]), name, line, case);
        assert_told(&daemon.command(&["apply", name]), name, line, case);
        assert_eq!(settled(daemon.show_json()), before, "{:?} changed the running state", case.lines);
    }
    bystander.wait_for_rounds(3);
    bystander.finish();
}

#[test]
fn every_field_of_the_switch_table_wrong_once_is_told_and_changes_nothing() {
    let daemon = Daemon::start(&right());
    let before = settled(daemon.show_json());
    let file = daemon.directory().join("wrong.toml");
    let name = file.to_str().unwrap();
    for case in SWITCH {
        let whole = daemon.whole_config(&right());
        std::fs::write(&file, format!("{}\n{}\n", whole.trim_end(), case.lines)).unwrap();
        let line = lines_of(whole.trim_end()) + case.line;
        assert_told(&daemon.command(&["check", name]), name, line, case);
        assert_told(&daemon.command(&["apply", name]), name, line, case);
        assert_eq!(settled(daemon.show_json()), before, "{:?} changed the running state", case.lines);
    }
}

#[test]
fn a_reload_of_a_wrong_file_is_told_in_the_log_and_changes_nothing() {
    let daemon = Daemon::start(&right());
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    let before = settled(daemon.show_json());
    for case in EVERY_FIELD {
        std::fs::write(daemon.config_path(), daemon.whole_config(&format!("{}{}\n", right(), case.lines)))
            .unwrap();
        let place = format!("viaduct.toml:{}:", lines_of(&right()) + case.line);
        let told = || daemon.log().matches(&place).count();
        let seen = told();
        daemon.signal(libc::SIGHUP);
        wait_until(&format!("{place} in the log"), Duration::from_secs(3), || told() > seen);
        assert_eq!(settled(daemon.show_json()), before, "{:?} changed the running state", case.lines);
    }
    bystander.finish();
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let daemon = Daemon::start(&right());
    let file = daemon.directory().join("wrong.toml");
    let name = file.to_str().unwrap();
    let lines = "[port.c]\nnetwork = \"lob\"\nmtu = 1\nqueues = 0\nrole = \"x\"\n";
    std::fs::write(&file, daemon.whole_config(&(right() + lines))).unwrap();
    let said = text_of(&daemon.command(&["check", name]));
    for line in 2..=5 {
        let place = format!("{name}:{}:", lines_of(&right()) + line);
        assert!(said.contains(&place), "{place} in {said}");
    }
}

#[test]
fn a_file_cut_in_half_anywhere_changes_nothing_or_is_right_by_itself() {
    let daemon = Daemon::start(&right());
    let whole = daemon.whole_config(&network("lab", &["a", "b", "c"], "mtu = 1400"));
    let file = daemon.directory().join("cut.toml");
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(&file, &whole[..length]).unwrap();
        let output = daemon.command(&["check", file.to_str().unwrap()]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1)), "cut at {length}: {code:?} {}", text_of(&output));
        assert!(
            code == Some(0) || text_of(&output).contains("cut.toml:"),
            "cut at {length}: {}",
            text_of(&output)
        );
    }
}

#[test]
fn a_file_of_ten_thousand_ports_is_refused_in_one_sentence_and_quickly() {
    let daemon = Daemon::start(&right());
    let before = settled(daemon.show_json());
    let names: Vec<String> = (0..10_000).map(|index| format!("p{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = Instant::now();
    let output = daemon.try_apply(&network("lab", &names, ""));
    assert!(!output.status.success());
    assert!(text_of(&output).contains("4096"), "{}", text_of(&output));
    assert!(text_of(&output).lines().count() <= 3, "{}", text_of(&output));
    println!("refused after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(settled(daemon.show_json()), before);
}

#[test]
fn what_cannot_be_done_half_way_is_put_back() {
    let daemon = Daemon::start(&right());
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    let before = settled(daemon.show_json());
    // The file is right, but the socket's place is taken by something that is not ours to remove.
    let taken = daemon.directory().join("taken");
    std::fs::write(&taken, "somebody's file").unwrap();
    let config = network("lab", &["a", "b", "c"], "")
        + &format!("[port.d]\nnetwork = \"lab\"\nsocket = \"{}\"\n", taken.display());
    let output = daemon.try_apply(&config);
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output).contains("taken"), "{}", text_of(&output));
    assert_eq!(settled(daemon.show_json()), before);
    assert!(!daemon.socket("c").exists(), "what was begun is taken back");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "somebody's file");
    bystander.wait_for_rounds(3);
    bystander.finish();
}

#[test]
fn the_wrong_use_of_the_command_line_has_its_own_exit_status() {
    let daemon = Daemon::start(&right());
    for arguments in [&["frobnicate"][..], &["check"], &["show", "nonsense"], &["run", "--confg", "x"]] {
        assert_eq!(daemon.command(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let missing = daemon.command(&["check", "/nonexistent/viaduct.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text_of(&missing).contains("/nonexistent/viaduct.toml"));
}

/// What `words` say where the process may have so many files open.
fn with_files(count: u32, words: &[&str]) -> String {
    let limit = format!("--nofile={count}:{count}");
    // Without that capability nobody raises a limit. One that starts nevertheless is ended.
    let mut command = Command::new("timeout");
    command.args(["5", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]);
    text_of(
        &command.args(["prlimit", &limit]).arg(binary()).args(words).output().expect("prlimit is installed"),
    )
}

#[test]
fn who_may_not_have_enough_open_is_told_what_to_raise() {
    let folder = tempfile::tempdir().unwrap();
    let (place, file) = (folder.path().display(), folder.path().join("viaduct.toml"));
    let switch = format!("[switch]\nruntime_dir = \"{place}/run\"\nstate_dir = \"{place}/state\"\n");
    std::fs::write(&file, switch + "[network.lab]\n").unwrap();
    let run = ["run", "--config", file.to_str().unwrap()];
    // From the fewest by which the program starts to those by which all but the API does.
    let said: Vec<String> = (5..18).map(|count| with_files(count, &run)).collect();
    for words in [
        "Too many open files (os error 24); raise the limit of",
        "start the data path: ",
        "start the worker for processor ",
    ] {
        assert!(said.iter().any(|told| told.contains(words)), "nobody was told `{words}`: {said:#?}");
    }
    assert!(said.iter().all(|told| !told.contains("this is a bug")), "{said:#?}");
}
