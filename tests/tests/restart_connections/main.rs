//! The switch is killed and started again while stations speak through security groups and NAT: nobody is cut off but who is no
//! longer allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod disk;
mod stations;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;
use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town, ask, with_stations};

/// The switch's own address outside.
const OWN: &str = "192.168.99.108";

/// From the last answer before the kill to the first one after it, through groups and NAT. The machine may have much else to do: what it is on a
/// quiet one is printed.
const GAP_MAX: Duration = Duration::from_secs(5);

/// A client that asks every 20 milliseconds by UDP, and prints when it was answered.
const PROBES: &str = "import socket, sys, time\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(0.02)\n\
    while True:\n    s.sendto(b'probe', (sys.argv[1], int(sys.argv[2])))\n    try:\n        s.recv(2048)\n        \
    print(time.monotonic(), flush=True)\n        time.sleep(0.02)\n    except OSError:\n        pass\n";

/// A server that says each line once more, with the address from which it came.
const SERVER: &str = "import socketserver, sys\n\
    class Echo(socketserver.StreamRequestHandler):\n    def handle(self):\n        for line in self.rfile:\n            \
    self.wfile.write(('%s:%d ' % self.client_address).encode() + line)\n\
    socketserver.ThreadingTCPServer.allow_reuse_address = True\n\
    socketserver.ThreadingTCPServer(('0.0.0.0', int(sys.argv[1])), Echo).serve_forever()\n";

/// A client that sends each line that it is told, and prints what comes back. Sent again is sent soon, so that the test need not wait.
const CLIENT: &str = "import socket, sys\n\
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\ns.settimeout(None)\nf = s.makefile('rw')\n\
    for line in sys.stdin:\n    f.write(line)\n    f.flush()\n    print(f.readline().strip(), flush=True)\n";

/// The same by datagrams, from one port of its own.
const DATAGRAMS: &str = "import socket, sys\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(1)\ns.connect((sys.argv[1], int(sys.argv[2])))\n\
    for line in sys.stdin:\n    s.send(line.encode())\n    try:\n        print(s.recv(2048).decode().strip(), flush=True)\n    \
    except OSError as error:\n        print(error, flush=True)\n";

/// A client that sends numbered lines without end and prints the last number now and then, with the address from which the other side sees it:
/// each has to come back once, in order, from the same place.
const NUMBERS: &str = "import socket, sys\n\
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\ns.settimeout(None)\nf = s.makefile('rw')\n\
    place, n = None, 0\n\
    while True:\n    lines = range(n, n + 20)\n    f.write(''.join('%d\\n' % i for i in lines))\n    f.flush()\n    \
    for i in lines:\n        seen, number = f.readline().split()\n        \
    assert int(number) == i and seen == (place or seen), (seen, number, i)\n        place = seen\n    \
    n += 20\n    print(n, place, flush=True)\n";

fn config(closed: &str) -> String {
    format!(
        r#"
[uplink.isp]
interface = "eth3"
address = "{OWN}/24"
gateway = "{OUTSIDE}"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24"]
[group.client]
rules = []
[group.spare]
rules = []
[group.server]
rules = [{{ direction = "ingress", protocol = "tcp", ports = 2222 }}{closed}]
[port.vm1]
network = "home"
addresses = ["10.0.0.11"]
groups = ["client"]
[port.vm2]
network = "home"
addresses = ["10.0.0.12"]
publish = ["10022:2222/tcp"]
groups = ["server"]
"#
    )
}

const ALSO: &str = ", { direction = \"ingress\", protocol = \"tcp\", ports = 3333 }";

struct Lab {
    town: Town,
    vm1: Station,
    vm2: Station,
    daemon: Daemon,
    _servers: Vec<Process>,
}

impl Lab {
    fn new() -> Self {
        let town = Town::new("eth3");
        let [vm1, vm2] = ["vm1", "vm2"].map(|name| town.station(name));
        let daemon = town.start(&with_stations(config(ALSO), &[&vm1, &vm2]), &["isp", "vm1", "vm2"]);
        vm1.configure("10.0.0.11/24", "10.0.0.1");
        vm2.configure("10.0.0.12/24", "10.0.0.1");
        let python = |name: String, place: &Namespace, words: &[&str]| {
            let mut command = place.command("python3");
            command.arg("-c").args(words);
            Process::spawn(&name, &command, town.folder.path())
        };
        let servers = [(&town.outside, "2222"), (&vm2.namespace, "2222"), (&vm2.namespace, "3333")];
        let mut servers: Vec<Process> = servers
            .into_iter()
            .map(|(place, port)| python(format!("echo-{}-{port}", place.name()), place, &[SERVER, port]))
            .collect();
        servers.push(town.udp_server(&town.outside, 5353));
        servers.push(town.iperf_server(&town.outside));
        vm1.await_reach(OUTSIDE);
        Self { town, vm1, vm2, daemon, _servers: servers }
    }

    /// A session that is told what to send.
    fn session(&self, name: &str, place: &Namespace, program: &str, to: (&str, &str)) -> Session {
        let words = ["netns", "exec", place.name(), "python3", "-c", program, to.0, to.1].map(str::to_owned);
        let process = Process::start_listening(name, "ip", &words, self.town.folder.path());
        Session { process, said: 0 }
    }

    fn state(&self) -> PathBuf {
        self.daemon.directory().join("state/connections")
    }

    /// Waits until what is open now is kept: in a file that was written since something else opened.
    fn await_kept(&self) {
        assert!(ask(&self.vm1.namespace, OUTSIDE, 5353).contains("hello"));
        let now = SystemTime::now();
        wait_until("connections to be kept", LIMIT, || {
            let written = fs::metadata(self.state()).and_then(|file| file.modified());
            written.is_ok_and(|written| written > now)
        });
    }

    fn restored(&self) -> serde_json::Value {
        self.daemon.show_json()["restored"].clone()
    }
}

struct Session {
    process: Process,
    said: usize,
}

impl Session {
    fn answers(&self) -> Vec<String> {
        self.process.output().lines().map(str::to_owned).collect()
    }

    /// Sends a line, and gives what comes back.
    fn say(&mut self, line: &str) -> String {
        self.process.tell(line);
        self.said += 1;
        wait_until(&format!("an answer to {line}"), LIMIT, || self.answers().len() >= self.said);
        self.answers()[self.said - 1].clone()
    }
}

/// The longest time between two answers to probes.
fn longest_gap(output: &str) -> Duration {
    let times: Vec<f64> = output.lines().filter_map(|line| line.parse().ok()).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_secs_f64(gaps.fold(0.0, f64::max))
}

#[test]
fn nobody_is_cut_off_by_a_crash_but_who_is_no_longer_allowed() {
    let mut lab = Lab::new();
    let vm2 = lab.vm2.address();
    let mut out = lab.session("out", &lab.vm1.namespace, CLIENT, (OUTSIDE, "2222"));
    let mut across = lab.session("across", &lab.vm1.namespace, CLIENT, (&vm2, "2222"));
    let mut inward = lab.session("inward", &lab.town.outside, CLIENT, (OWN, "10022"));
    let mut closed = lab.session("closed", &lab.vm1.namespace, CLIENT, (&vm2, "3333"));
    let mut datagrams = lab.session("datagrams", &lab.vm1.namespace, DATAGRAMS, (OUTSIDE, "5353"));
    let mut sessions = [&mut out, &mut across, &mut inward, &mut datagrams];
    let before: Vec<String> = sessions.iter_mut().map(|session| session.say("hello")).collect();
    assert!(before[0].starts_with(OWN) && before[1].starts_with("10.0.0.11:"), "{before:?}");
    closed.say("hello");
    let iperf = format!("exec iperf3 -c {OUTSIDE} -b 20M -t 8 --json");
    let mut command = lab.vm1.namespace.command("sh");
    command.args(["-c", &iperf]);
    let mut stream = Process::spawn("iperf3-client", &command, lab.town.folder.path());
    let mut command = lab.vm1.namespace.command("python3");
    command.args(["-c", PROBES, OUTSIDE, "5353"]);
    let probes = Process::spawn("probes", &command, lab.town.folder.path());
    wait_until("probes to be answered", LIMIT, || probes.output().lines().count() > 20);
    lab.await_kept();

    // Killed under traffic; the file lets less in by now.
    lab.daemon.kill();
    let less = with_stations(config(""), &[&lab.vm1, &lab.vm2]);
    fs::write(lab.daemon.config_path(), lab.daemon.whole_config(&less)).unwrap();
    let began = Instant::now();
    lab.daemon.restart();
    println!("ready after {:?}", began.elapsed());
    let answered = probes.output().lines().count();
    wait_until("probes to be answered again", LIMIT, || probes.output().lines().count() > answered + 20);
    let gap = longest_gap(&probes.output());
    println!("nobody was answered for {gap:?}");
    for (session, before) in sessions.iter_mut().zip(&before) {
        assert_eq!(session.say("hello"), *before, "the same connection, from the same outside port");
    }
    closed.process.tell("is anybody there");
    let restored = lab.restored();
    assert!(restored["connections"].as_u64() >= Some(5), "{restored}");
    assert!(restored["mappings"].as_u64() >= Some(3) && restored["waiting"] == 0, "{restored}");
    assert_eq!(restored["refused"], 1, "{restored}");
    lab.daemon.wait_for_log("connections and ");
    let status = stream.wait(Duration::from_secs(30));
    assert!(status.success(), "{}", stream.tail());
    assert!(gap < GAP_MAX, "{gap:?}");
    assert_eq!(closed.answers().len(), 1, "what is no longer allowed stays silent");

    // Quiet sessions outlive another crash, and one more with a file that is damaged at its end.
    lab.await_kept();
    for damage in [false, true] {
        lab.daemon.kill();
        if damage {
            let bytes = fs::read(lab.state()).unwrap();
            fs::write(lab.state(), &bytes[..bytes.len() - 5]).unwrap();
        }
        lab.daemon.restart();
        ["isp", "vm1", "vm2"].iter().for_each(|name| lab.daemon.wait_for_state(name, "attached"));
    }
    lab.daemon.wait_for_log("is damaged in part");
    for (session, before) in sessions.iter_mut().zip(&before) {
        assert_eq!(session.say("hello"), *before);
    }
    // And an orderly restart, as of an upgrade, without anything that was kept in time.
    let mut late = lab.session("late", &lab.vm1.namespace, CLIENT, (OUTSIDE, "2222"));
    let seen = late.say("hello");
    assert!(lab.daemon.terminate().success());
    lab.daemon.restart();
    assert_eq!(late.say("hello"), seen);
    // A new process takes over, with what has opened a moment before, too.
    let mut latest = lab.session("latest", &lab.vm1.namespace, CLIENT, (OUTSIDE, "2222"));
    let seen = latest.say("hello");
    lab.daemon.take_over();
    assert_eq!(latest.say("hello"), seen);
    for (session, before) in sessions.iter_mut().zip(&before) {
        assert_eq!(session.say("hello"), *before);
    }
}

/// Kills in a row.
const KILLS: u32 = 6;

/// The number of the last line that came back, and the place from which the other side saw it.
fn progress(session: &Session) -> (u64, String) {
    let output = session.process.output();
    let last = output.lines().last().and_then(|line| line.split_once(' '));
    last.map_or((0, String::new()), |(number, place)| (number.parse().unwrap_or(0), place.to_owned()))
}

fn groups_of_vm1(daemon: &Daemon) -> usize {
    let shown = daemon.show_json();
    let port = shown["ports"].as_array().unwrap().iter().find(|port| port["name"] == "vm1").unwrap();
    port["groups"].as_array().unwrap().len()
}

/// The moments come from the clock: each run tries others.
#[test]
fn killed_at_any_moment_of_changes_numbered_data_goes_on_through_nat_and_groups() {
    let mut lab = Lab::new();
    let vm2 = lab.vm2.address();
    let out = lab.session("numbers-out", &lab.vm1.namespace, NUMBERS, (OUTSIDE, "2222"));
    let across = lab.session("numbers-across", &lab.vm1.namespace, NUMBERS, (&vm2, "2222"));
    let sessions = [&out, &across];
    let goes_on = |what: &str| {
        let before = sessions.map(progress);
        wait_until(what, LIMIT, || {
            sessions.iter().zip(&before).all(|(session, (number, _))| progress(session).0 > number + 100)
        });
    };
    goes_on("numbers to come back");
    let places = sessions.map(|session| progress(session).1);
    assert!(places[0].starts_with(OWN) && places[1].starts_with("10.0.0.11:"), "{places:?}");
    lab.await_kept();
    let (mut changed, mut longest) = (0_u32, Duration::ZERO);
    let mut kills = 0;
    // Until enough were under way: a busy machine makes fewer between a start and a kill.
    while kills < KILLS || (changed <= KILLS && kills < 4 * KILLS) {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        lab.daemon.kill_after(Duration::from_micros(20_000 + u64::from(clock.subsec_nanos()) % 150_000));
        let mut groups = "";
        // Until it is dead, the port changes its groups again and again.
        loop {
            groups = if groups == "client" { "client,spare" } else { "client" };
            let done = lab.daemon.command(&["port", "set", "vm1", "--groups", groups]);
            if !done.status.success() {
                break;
            }
            changed += 1;
        }
        lab.daemon.reap_killed();
        let began = Instant::now();
        lab.daemon.restart();
        ["isp", "vm1", "vm2"].iter().for_each(|name| lab.daemon.wait_for_state(name, "attached"));
        let count = groups_of_vm1(&lab.daemon);
        assert!((1..=2).contains(&count), "kill {kills}: {count} groups");
        goes_on("the same numbers to go on");
        longest = longest.max(began.elapsed());
        assert_eq!(sessions.map(|session| progress(session).1), places, "the same connections");
        kills += 1;
    }
    println!("{kills} kills during {changed} changes; numbers went on within {longest:?}");
    assert!(changed > KILLS, "changes are under way when the process dies: {changed}");
}
