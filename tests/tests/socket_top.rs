//! `viaduct top` in a real terminal (tmux): what it shows, what keys do, a daemon that goes and comes back, and the terminal afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::stream::{frame, mac};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = "
[network.lab]
[port.web]
network = \"lab\"
[port.db]
network = \"lab\"
[port.idle]
network = \"lab\"
";

/// A terminal with a shell in it; ended when it is dropped.
struct Terminal {
    socket: String,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

impl Terminal {
    fn open(daemon: &Daemon) -> Self {
        let terminal = Self { socket: daemon.directory().join("tmux").to_str().unwrap().to_owned() };
        let shell = "env PS1=ready# sh";
        let opened = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "24", shell]);
        assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
        terminal.until("the shell", |screen| screen.contains("ready#"));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        Command::new("tmux")
            .args(["-S", &self.socket])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .output()
            .expect("tmux runs: scripts/setup installs it")
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"][..], keys].concat()).status.success());
    }

    fn until(&self, what: &str, mut condition: impl FnMut(&str) -> bool) {
        wait_until(what, LIMIT, || condition(&self.screen()));
    }

    /// Starts it, as a person does.
    fn top(&self, daemon: &Daemon) {
        let api = daemon.directory().join("run/api.sock");
        let line = format!("clear; {} --socket {} top --interval 200ms", binary().display(), api.display());
        self.keys(&[&line, "Enter"]);
        self.until("the first figures", |screen| screen.contains("3 ports"));
    }

    /// The shell has the terminal again, as it was: lines, echo, and no other screen.
    fn is_restored(&self) {
        self.until("the prompt", |screen| screen.contains("ready#") && !screen.contains("q quit"));
        self.keys(&["echo seen-$((40 + 2))", "Enter"]);
        self.until("the shell's echo", |screen| screen.contains("echo seen-$") && screen.contains("seen-42"));
        let alternate = self.tmux(&["display-message", "-p", "#{alternate_on}"]);
        assert_eq!(String::from_utf8_lossy(&alternate.stdout).trim(), "0");
    }
}

#[test]
fn ports_are_shown_live_keys_are_obeyed_and_the_terminal_is_given_back() {
    let mut daemon = Daemon::start(CONFIG);
    let [mut web, _db] = ["web", "db"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    let terminal = Terminal::open(&daemon);
    terminal.top(&daemon);
    // Nobody has a rate: db is first by its name. Who sends comes before it.
    terminal.until("web's rate", |screen| {
        web.send_some();
        let rows: Vec<&str> = screen.lines().skip(3).collect();
        rows.first().is_some_and(|row| row.starts_with("web ") && row.contains("bit/s"))
    });
    terminal.keys(&["/", "d", "b", "Enter"]);
    terminal.until("the filter", |screen| screen.contains("filter: db") && !screen.contains("idle"));
    terminal.keys(&["Enter"]);
    terminal.until("one port", |screen| screen.contains("db (vhost-user)"));
    terminal.keys(&["Escape"]);
    terminal.until("the ports again", |screen| screen.contains("drops/s"));
    terminal.keys(&["Escape"]);
    terminal.until("all rows again", |screen| screen.contains("idle"));
    terminal.keys(&["4"]);
    terminal.until("the workers", |screen| screen.contains("bursts/s"));
    terminal.keys(&["?"]);
    terminal.until("the help", |screen| screen.contains("hold the figures"));
    terminal.keys(&["x"]);
    terminal.keys(&["1"]);
    daemon.kill();
    terminal.until("that the daemon is gone", |screen| screen.contains("daemon gone: no daemon listens"));
    daemon.restart();
    terminal.until("that it is back", |screen| screen.contains("3 ports") && !screen.contains("gone"));
    terminal.keys(&["q"]);
    terminal.is_restored();
    for end in ["C-c", "TERM"] {
        terminal.top(&daemon);
        match end {
            "TERM" => {
                let pid = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
                let child = youngest(String::from_utf8_lossy(&pid.stdout).trim().parse().unwrap());
                // SAFETY: sends a signal to a child of the test's own shell.
                assert_eq!(unsafe { libc::kill(child, libc::SIGTERM) }, 0);
            }
            key => terminal.keys(&[key]),
        }
        terminal.is_restored();
    }
}

/// The last one of a row of processes, each of which is the only child of the one before.
fn youngest(process: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().next().map_or(process, |child| youngest(child.parse().unwrap()))
}

/// Sends a few frames to an address that nobody has.
trait SendSome {
    fn send_some(&mut self);
}

impl SendSome for Nic {
    fn send_some(&mut self) {
        (0..20).for_each(|number| self.send(&frame(mac(9), mac(1), number, 500)));
    }
}

#[test]
fn programs_get_json_and_a_table_and_no_terminal_is_needed() {
    let daemon = Daemon::start(CONFIG);
    let mut web = Nic::connect(&daemon.socket("web"), &NicOptions::default());
    let told = std::thread::scope(|scope| {
        let asker = scope.spawn(|| daemon.command(&["top", "--once", "--json", "--interval", "300ms"]));
        while !asker.is_finished() {
            web.send_some();
            std::thread::sleep(Duration::from_millis(5));
        }
        asker.join().unwrap()
    });
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let ports = told["ports"].as_array().unwrap();
    let web = ports.iter().find(|port| port["name"] == "web").unwrap();
    assert!(web["received"]["frames_per_second"].as_u64().unwrap() > 0, "{told:#}");
    assert!(web["drops_per_second"].as_u64().unwrap() > 0, "nobody is there to take them: {web:#}");
    assert_eq!(web["drops"][0]["reason"], "no-receiver");
    let table = daemon.command(&["top", "--once", "--interval", "10ms"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("port") && table.lines().count() == 4, "{table}");
    let refused = daemon.command(&["top"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--once or --json"));
}

/// A tree of two classes for what goes to db.
const TREE: &str = "
[qos.shared]
kind = \"htb\"
rate = \"100mbit\"
default = \"rest\"
[qos.shared.class.gold]
rate = \"40mbit\"
[qos.shared.class.rest]
rate = \"60mbit\"
";

/// A terminal in which it runs, and a guest that sends all the while.
struct Watched {
    terminal: Terminal,
    web: Nic,
}

impl Watched {
    /// Presses keys, and waits until the screen is as it should be then.
    fn press(&mut self, keys: &[&str], what: &str, is_so: impl Fn(&str) -> bool) {
        self.terminal.keys(keys);
        let Self { terminal, web } = self;
        wait_until(&format!("{keys:?}: {what}"), LIMIT, || {
            web.send_some();
            is_so(&terminal.screen())
        });
    }

    /// The same, and it shows all about this port; then back.
    fn press_for(&mut self, keys: &[&str], port: &str) {
        let title = format!("{port} (vhost-user)");
        self.press(keys, &title, |screen| screen.contains(&title) && screen.contains("(Esc: back)"));
        self.press(&["Escape"], "all rows", |screen| !screen.contains("(Esc: back)"));
    }
}

/// The rows of a table, without title, views, headings and keys.
fn rows(screen: &str) -> Vec<&str> {
    screen.lines().skip(3).take_while(|row| !row.trim().is_empty()).collect()
}

fn first_words(screen: &str) -> Vec<String> {
    rows(screen).iter().filter_map(|row| row.split_whitespace().next()).map(str::to_owned).collect()
}

/// A filter: typed, mended, kept, of which nothing is left, and taken away.
fn filters_are_obeyed(watched: &mut Watched) {
    watched.press(&["/", "w", "e", "x"], "what is typed", |screen| screen.contains("/wex_  Enter: keep it"));
    watched.press(&["BSpace"], "one letter less", |screen| screen.contains("/we_  Enter: keep it"));
    assert_eq!(first_words(&watched.terminal.screen()), ["web"]);
    watched.press(&["Escape"], "all rows", |screen| !screen.contains("filter:") && rows(screen).len() == 3);
    watched.press(&["/", "z", "q", "Enter"], "no row", |screen| {
        screen.contains("no row has `zq`; Esc: all rows")
    });
    watched.press(&["Escape"], "all rows", |screen| rows(screen).len() == 3);
}

/// The chosen row: all about its port.
fn rows_are_chosen(watched: &mut Watched) {
    watched.press(&["1"], "as at first", |screen| first_words(screen) == ["web", "db", "idle"]);
    watched.press(&["Enter"], "why frames are dropped", |screen| {
        screen.contains("web (vhost-user)")
            && screen.contains("no-receiver: ")
            && screen.contains(" so far. ")
    });
    watched.press(&["Escape"], "the ports", |screen| rows(screen).len() == 3);
    for (keys, port) in [
        (&["Down", "Enter"][..], "db"),
        (&["j", "Enter"], "idle"),
        (&["k", "Enter"], "db"),
        (&["Up", "Enter"], "web"),
        (&["End", "Enter"], "idle"),
        (&["Home", "Enter"], "web"),
        (&["NPage", "Enter"], "idle"),
        (&["PPage", "Enter"], "web"),
    ] {
        watched.press_for(keys, port);
    }
}

/// Figures that are held, and the help.
fn figures_are_held_and_help_is_given(watched: &mut Watched) {
    for key in ["p", "Space"] {
        watched.press(&[key], "they are held", |screen| screen.lines().next().unwrap().ends_with("held"));
        watched.press(&[key], "they go on", |screen| !screen.lines().next().unwrap().ends_with("held"));
    }
    for key in ["?", "h"] {
        watched.press(&[key], "the help", |screen| {
            let all = ["hold the figures", "choose a row", "sort by the next column", "Ctrl-C   quit"];
            all.iter().all(|words| screen.contains(words))
        });
        watched.press(&["x"], "the view again", |screen| screen.contains("meaning"));
    }
}

#[test]
fn each_key_and_each_view_does_what_the_help_says() {
    let config = TREE.to_owned() + &CONFIG.replace("[port.db]\n", "[port.db]\nqos = \"shared\"\n");
    let daemon = Daemon::start(&config);
    let web = Nic::connect(&daemon.socket("web"), &NicOptions::default());
    let mut watched = Watched { terminal: Terminal::open(&daemon), web };
    watched.terminal.top(&daemon);

    // Ports: whose frames nobody takes, what is sorted by, and the other way round.
    watched.press(&["1"], "who sends, and what becomes of it", |screen| {
        let row = rows(screen).first().copied().unwrap_or_default();
        row.starts_with("web ") && row.contains("bit/s") && row.ends_with("no-receiver")
    });
    assert!(watched.terminal.screen().contains(" in* "), "{}", watched.terminal.screen());
    watched.press(&["r"], "who sends comes last", |screen| first_words(screen) == ["db", "idle", "web"]);
    watched.press(&["r"], "and first again", |screen| first_words(screen) == ["web", "db", "idle"]);
    watched.press(&["s"], "the next column", |screen| screen.contains(" out/s* "));
    watched.press(&["s", "s", "s", "s"], "the first column after the last", |screen| {
        screen.contains("port* ") && first_words(screen) == ["db", "idle", "web"]
    });
    watched.press(&["r"], "names backwards", |screen| first_words(screen) == ["web", "idle", "db"]);
    filters_are_obeyed(&mut watched);
    rows_are_chosen(&mut watched);

    // Drops, with what they mean; from there to the port.
    watched.press(&["Tab"], "drops", |screen| {
        let row = rows(screen).first().copied().unwrap_or_default();
        screen.contains("meaning") && row.starts_with("web ") && row.contains("no-receiver")
    });
    watched.press_for(&["Enter"], "web");

    // Classes of a guest that is there by now; the view before and the one after.
    let mut db = Nic::connect(&daemon.socket("db"), &NicOptions::default());
    watched.terminal.keys(&["Tab"]);
    let Watched { terminal, web } = &mut watched;
    wait_until("a class that sends", LIMIT, || {
        web.send_some();
        while db.take().is_some() {}
        let screen = terminal.screen();
        let sends = |row: &str| row.starts_with("shared ") && row.contains(" rest ") && row.contains('%');
        screen.contains("may send")
            && rows(&screen).iter().any(|row| sends(row) && !row.contains(" 0 bit/s "))
    });
    assert!(rows(&watched.terminal.screen()).iter().any(|row| row.contains(" gold ")));
    watched.press(&["Enter"], "no port is chosen by a class", |screen| screen.contains("may send"));
    watched.press(&["BTab"], "the view before", |screen| screen.contains("meaning"));
    watched.press(&["3"], "classes by their number", |screen| screen.contains("may send"));

    // Workers, talkers, and the first view after the last.
    watched.press(&["Tab"], "workers", |screen| {
        let row = rows(screen).first().copied().unwrap_or_default();
        screen.contains("p99") && row.starts_with("cpu ") && row.contains('%')
    });
    watched.press(&["5"], "talkers", |screen| {
        let row = rows(screen).first().copied().unwrap_or_default();
        screen.contains("goes to") && row.starts_with("web ") && row.contains("ethernet")
    });
    watched.press_for(&["Enter"], "web");
    watched
        .press(&["Tab"], "the first one", |screen| screen.contains("drops/s") && screen.contains("reason"));
    watched.press(&["2"], "drops by their number", |screen| screen.contains("meaning"));

    figures_are_held_and_help_is_given(&mut watched);
    watched.terminal.keys(&["q"]);
    watched.terminal.is_restored();
}
