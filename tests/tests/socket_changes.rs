//! What is changed at run time outlives the process, apart from the file.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct_tests::control_plane::ask;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::disk::Disk;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::session;
use viaduct_tests::lab::pair;
use viaduct_tests::stream::{frame, mac, number_of};

/// How many changes are made.
const CHANGES: u64 = 200;

const LIMIT: Duration = Duration::from_secs(5);

/// Two guests, a port whose groups and QoS change together, and as much in the text as `number` says.
fn text(number: u64) -> String {
    format!(
        "# text {number}\n[network.lab]\n[port.a]\nnetwork = 'lab'\n[port.b]\nnetwork = 'lab'\n\
         [group.g0]\n[group.g1]\n[group.g2]\n\
         [qos.q0]\ningress = {{ police = '1gbit' }}\n[qos.q1]\ningress = {{ police = '2gbit' }}\n\
         [qos.q2]\ningress = {{ police = '3gbit' }}\n\
         [network.n{number}]\n[port.p]   # the one that changes\nnetwork = 'n{number}'\naddresses = ['10.0.0.1']\n\
         groups = ['g0']\nqos = 'q0'\nmtu = {}\n",
        1400 + number
    )
}

/// What of a configuration the changes change: the number of its text, the groups and the QoS of its port.
type State = (u64, u64, u64);

/// What runs, by the objects that there are.
fn running(daemon: &Daemon) -> State {
    let status = daemon.show_json();
    let port = status["ports"].as_array().unwrap().iter().find(|port| port["name"] == "p").unwrap();
    let number = |text: &Value| text.as_str().unwrap()[1..].parse::<u64>().unwrap();
    let document = number(&port["network"]);
    assert_eq!(port["mtu"], 1400 + document, "between two texts");
    let networks = status["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 2, "between two texts: {networks:?}");
    let groups = port["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1);
    let meters = status["qos"]["meters"].as_array().unwrap();
    let meter = meters.iter().find(|meter| meter["ports"][0] == "p").unwrap();
    (document, number(&groups[0]), number(&meter["qos"]))
}

/// What is asked for to come from one state to the next, and the next one.
fn change(daemon: &Daemon, number: u64, (document, _, _): State) -> (String, &'static str, String, State) {
    if number.is_multiple_of(5) {
        let body = daemon.whole_config(&text(number));
        return ("/v1/config".to_owned(), "PUT", body, (number, 0, 0));
    }
    let group = number % 3;
    let body = format!("{{\"groups\": [\"g{group}\"], \"qos\": \"q{group}\"}}");
    ("/v1/ports/p".to_owned(), "PATCH", body, (document, group, group))
}

/// As [`ask`] without an answer in the end: `None`, if the daemon died before.
fn try_ask(socket: &Path, (method, path): (&str, &str), body: &str) -> Option<u16> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.get(9..12)?.parse().ok()
}

/// A frame goes from one guest to the other.
fn greet([a, b]: &mut [Nic; 2], number: u64) {
    wait_until("a frame between the guests", LIMIT, || {
        let _ = a.transmit[0].try_put(NetHeader::default(), &frame(mac(2), mac(1), number, 200));
        a.transmit[0].ring.publish();
        while let Some(received) = b.take() {
            if number_of(&received.bytes) == Some(number) {
                return true;
            }
        }
        false
    });
    a.transmit[0].drain();
}

#[test]
fn killed_at_any_moment_of_200_changes_the_state_is_the_one_before_or_after() {
    let mut daemon = Daemon::start(&text(0));
    let socket = daemon.directory().join("run/api.sock");
    let mut guests = pair(&daemon, &NicOptions::default());
    let (mut state, mut kills, mut after, mut longest) = ((0, 0, 0), 0, 0, Duration::ZERO);
    // What a change takes: of a port, and of the text.
    let mut took = [Duration::from_millis(2); 2];
    for number in 1..=CHANGES {
        let (path, method, body, next) = change(&daemon, number, state);
        let dies = number % 4 == 1;
        let took = &mut took[usize::from(method == "PUT")];
        if dies {
            // The moments wander over what a change takes, and as long again.
            daemon.kill_after(*took * u32::try_from(number / 4 * 7 % 20).unwrap() / 10);
        }
        let asked = Instant::now();
        let status = try_ask(&socket, (method, &path), &body);
        if !dies {
            *took = asked.elapsed();
            assert_eq!((status, running(&daemon)), (Some(200), next), "change {number}");
            state = next;
            continue;
        }
        daemon.reap_killed();
        let started = Instant::now();
        daemon.restart_without_waiting();
        for (guest, port) in guests.iter_mut().zip(["a", "b"]) {
            guest.resume(session::connect(&daemon.socket(port)));
        }
        greet(&mut guests, number);
        longest = longest.max(started.elapsed());
        let found = running(&daemon);
        assert!(
            found == next || (found == state && status.is_none()),
            "{number}: {state:?} {next:?} {found:?}"
        );
        kills += 1;
        after += u64::from(found == next);
        state = found;
    }
    println!("{kills} kills, {after} after the change; guests were served again within {longest:?}");
    assert!(
        kills == CHANGES / 4 && after > 0 && after < kills,
        "kills hit both sides of changes: {after} of {kills}"
    );
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    assert!(text.starts_with("# text 0\n"), "the file stays untouched");
}

fn words(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn edit_file(daemon: &Daemon, from: &str, to: &str) {
    let path = daemon.config_path();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn what_runs_is_compared_with_the_file_saved_and_discarded() {
    let mut daemon = Daemon::start(&text(0));
    let file = daemon.config_path();
    let read = || fs::read_to_string(&file).unwrap();
    let before = read();
    assert!(words(&daemon.command(&["diff"])).starts_with("what runs is what /"));
    assert!(!words(&daemon.command(&["show"])).contains("run time"));
    words(&daemon.command(&["port", "set", "p", "--groups", "g1,g2"]));
    let told = words(&daemon.command(&["diff"]));
    assert!(told.starts_with("~ port p: groups g0 -> g1+g2\n1 difference "), "{told}");
    assert!(words(&daemon.command(&["show"])).contains("changed at run time: `viaduct diff`"));
    let saved = words(&daemon.command(&["save", "--stdout"]));
    assert_eq!(saved, before.replace("groups = ['g0']", "groups = [\"g1\", \"g2\"]"));
    assert_eq!(read(), before, "nothing was written");

    // What is saved is the file's: nothing is to be kept any more.
    assert!(daemon.directory().join("state/changes").exists());
    words(&daemon.command(&["save"]));
    assert_eq!(read(), saved);
    assert!(!daemon.directory().join("state/changes").exists());
    assert!(words(&daemon.command(&["diff"])).starts_with("what runs is what /"));

    // A text of another file is kept for the next process, and the daemon's own file undoes it.
    daemon.apply(&text(7));
    daemon.kill();
    daemon.restart();
    assert_eq!(running(&daemon), (7, 0, 0));
    daemon.wait_for_log("run-time changes are in force");
    words(&daemon.command(&["apply", file.to_str().unwrap()]));
    daemon.kill();
    daemon.restart();
    assert_eq!(daemon.show_json()["ports"][2]["groups"].as_array().unwrap().len(), 2);

    // SIGHUP does, too.
    words(&daemon.command(&["port", "set", "p", "--groups", "g0"]));
    daemon.signal(libc::SIGHUP);
    wait_until("the file to run", LIMIT, || words(&daemon.command(&["diff"])).starts_with("what runs is"));

    // A file that was edited meanwhile is not written over, and wins when the process starts anew.
    words(&daemon.command(&["port", "set", "p", "--groups", "g0"]));
    edit_file(&daemon, "mtu = 1400", "mtu = 1410");
    let refused = daemon.command(&["save"]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("says something else")
    );
    let told = words(&daemon.command(&["diff"]));
    assert!(told.contains("mtu 1410 -> 1400") && told.contains("edited since it was read"), "{told}");
    let elsewhere = daemon.directory().join("elsewhere.toml");
    words(&daemon.command(&["save", "--to", elsewhere.to_str().unwrap()]));
    assert!(fs::read_to_string(elsewhere).unwrap().contains("mtu = 1400"));
    daemon.kill();
    daemon.restart();
    let port = &daemon.show_json()["ports"][2];
    assert_eq!((&port["mtu"], port["groups"].as_array().unwrap().len()), (&Value::from(1410), 2));
    daemon.wait_for_log("the file alone is in force");
    assert!(daemon.directory().join("state/changes.aside").exists());
}

#[test]
fn a_port_is_added_and_removed_at_run_time_and_a_restart_knows() {
    let mut daemon = Daemon::start(&text(0));
    let mut guests = pair(&daemon, &NicOptions::default());
    let added = words(&daemon.command(&["port", "add", "vm9", "--network", "lab", "--field", "queues = 2"]));
    assert!(added.starts_with("+ port vm9\n1 change made"), "{added}");
    let wrong = daemon.command(&["port", "add", "vm10", "--network", "lob"]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        !wrong.status.success() && told.contains("port.vm10.network") && told.contains("\"lab\""),
        "{told}"
    );
    let unheard = daemon.command(&["port", "remove", "vm10"]);
    assert!(String::from_utf8_lossy(&unheard.stderr).contains("there is no port vm10"));
    let (_, generation, _) = ask(&daemon, ("GET", "/v1/changes"), None, "");
    let body = "network = 'lab'\n";
    let (status, _, _) = ask(&daemon, ("PUT", "/v1/ports/vm11"), Some(generation + 1), body);
    assert_eq!(status, 412);
    words(&daemon.command(&["port", "remove", "p"]));
    daemon.kill();
    daemon.restart();
    let mut late = Nic::connect(&daemon.socket("vm9"), &NicOptions::default());
    for (guest, port) in guests.iter_mut().zip(["a", "b"]) {
        guest.resume(session::connect(&daemon.socket(port)));
    }
    greet(&mut guests, 1);
    let _ = late.take();
    assert!(!daemon.socket("p").exists());
    let saved = words(&daemon.command(&["save", "--stdout"]));
    assert!(
        saved.contains("[port.vm9]\nnetwork = \"lab\"\nqueues = 2\n") && !saved.contains("[port.p]"),
        "{saved}"
    );
    words(&daemon.command(&["port", "remove", "vm9"]));
    assert!(words(&daemon.command(&["diff"])).starts_with("- port p\n1 difference"));
    let dry = words(&daemon.command(&["port", "add", "p", "--network", "lab", "--dry-run"]));
    assert!(dry.contains("+ port p") && dry.contains("nothing was changed"), "{dry}");
}

#[test]
fn a_full_disk_and_a_read_only_one_keep_nobody_from_changing_anything() {
    let mut daemon = Daemon::start(&text(0));
    // The process may only go where it found its folders.
    daemon.kill();
    let disk = Disk::mount(daemon.directory().join("state"), "size=64k");
    daemon.restart();
    let mut guests = pair(&daemon, &NicOptions::default());
    let set = |daemon: &Daemon, group: u64| {
        let body = format!("{{\"groups\": [\"g{group}\"], \"qos\": \"q{group}\"}}");
        let (status, _, answer) = ask(daemon, ("PATCH", "/v1/ports/p"), None, &body);
        assert_eq!((status, running(daemon)), (200, (0, group, group)), "{answer}");
        answer["not_kept"].as_str().map(str::to_owned)
    };
    let health = |daemon: &Daemon| {
        let (status, _, answer) = ask(daemon, ("GET", "/v1/health"), None, "");
        assert_eq!(status, 200, "{answer}");
        answer["not_kept"].as_str().map(str::to_owned)
    };
    assert_eq!(set(&daemon, 1), None);
    disk.fill();
    // What is in the file's last page already has its room; the rest has not.
    let mut full = None;
    for round in 0..200 {
        full = set(&daemon, 1 + round % 2);
        if full.is_some() {
            break;
        }
    }
    let problem = full.expect("the disk gets full");
    assert!(problem.contains("state/changes") && problem.contains("No space left"), "{problem}");
    assert!(set(&daemon, 0).is_some());
    assert!(health(&daemon).is_some());
    let shown = words(&daemon.command(&["show"]));
    assert!(shown.contains("run-time changes are not kept: cannot write"), "{shown}");
    let warned = words(&daemon.command(&["port", "set", "p", "--no-qos"]));
    assert!(warned.contains("warning: a restart would forget this"), "{warned}");
    greet(&mut guests, 1);
    daemon.wait_for_log("a restart would forget them");
    assert_eq!(daemon.log().matches("a restart would forget them").count(), 1, "said once");

    // As soon as there is room it is kept, without a further change.
    assert!(set(&daemon, 2).is_some());
    disk.make_room();
    wait_until("the changes to be kept", LIMIT, || health(&daemon).is_none());

    daemon.kill();
    disk.remount("ro");
    daemon.restart();
    assert_eq!(running(&daemon), (0, 2, 2), "what was kept last");
    assert!(health(&daemon).is_some());
    let problem = set(&daemon, 0).expect("nothing can be written");
    assert!(problem.contains("Read-only file system"), "{problem}");
    disk.remount("rw");
    wait_until("the changes to be kept", LIMIT, || health(&daemon).is_none());
    daemon.kill();
    daemon.restart();
    assert_eq!(running(&daemon), (0, 0, 0));
}
