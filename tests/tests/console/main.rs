//! `viaduct console` in a real browser (chromium), and its doors tried by clients that are no browser.
//!
//! With `VIADUCT_SCREENSHOTS=FOLDER` pictures for the documentation are written there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod strangers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use viaduct_tests::browser::Browser;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_for;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(10);

const CONFIG: &str = r#"
[network.lab]
[network.office]
mode = "bridged"
uplink = "wan"
vlan = 10
[uplink.wan]
interface = "never-there"
[port.web]
network = "lab"
mac = "52:54:00:00:00:05"
addresses = ["10.0.0.5"]
groups = ["clients"]
[port.db]
network = "lab"
mac = "52:54:00:00:00:09"
addresses = ["10.0.0.9"]
groups = ["database"]
qos = "gold"
[port.cache]
network = "lab"
mac = "52:54:00:00:00:0b"
[port.mail]
network = "office"
[port.desk]
network = "office"
[group.clients]
# Who asks, and nothing else.
rules = [{ direction = "ingress", protocol = "icmp" }]
[group.database]
rules = [
  { direction = "ingress", protocol = "udp", ports = 3306, remote_group = "clients" },
]
[qos.gold]
# What a database may use.
egress = { kind = "tbf", rate = "80mbit", burst = "64KiB" }
[qos.silver]
ingress = { police = "10mbit", burst = "128KiB" }
"#;

/// A console, with its address.
struct Console {
    process: Process,
    url: String,
}

impl Console {
    fn start(socket: &Path, options: &[&str], folder: &Path) -> Self {
        let name = format!("console-{}", socket.file_stem().unwrap().display());
        let mut command = Command::new(binary());
        command.arg("--socket").arg(socket).args(["console", "--listen", "127.0.0.1:0"]).args(options);
        let process = Process::spawn(&name, &command, folder);
        let url = wait_for("the console's address", LIMIT, || {
            process.output().lines().find(|line| line.starts_with("http://127.0.0.1:")).map(str::to_owned)
        });
        Self { process, url }
    }

    /// Its address, as a `Host` says it.
    fn host(&self) -> &str {
        self.url.split('/').nth(2).unwrap()
    }

    fn token(&self) -> &str {
        self.url.split_once("#token=").unwrap().1
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends lines of a head, and gives the status and the whole answer.
    fn ask(&self, request: &str, lines: &[&str]) -> (u16, String) {
        let mut stream = self.connect();
        // The console may answer and close before it has read everything.
        let _ = write!(stream, "{request} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        (answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
    }

    /// Asks as the page does.
    fn ask_known(&self, request: &str, more: &[&str]) -> (u16, String) {
        let (host, token) =
            (format!("Host: {}", self.host()), format!("Authorization: Bearer {}", self.token()));
        self.ask(request, &[&[host.as_str(), token.as_str()][..], more].concat())
    }
}

fn api(daemon: &Daemon) -> std::path::PathBuf {
    daemon.directory().join("run/api.sock")
}

/// Frames that go from web to db, and such as are dropped, until `done`.
fn talk(daemon: &Daemon, web: &mut Nic, db: &mut Nic, done: &AtomicBool) {
    let right = daemon.described("web", "udp 10.0.0.5:4000 > 10.0.0.9:3306");
    let answer = daemon.described("db", "udp 10.0.0.9:3306 > 10.0.0.5:4000");
    let forged = daemon.described("web", "udp 10.0.0.77:4000 > 10.0.0.9:3306");
    while !done.load(Ordering::Acquire) {
        (0..20).for_each(|_| web.send(&right));
        (0..8).for_each(|_| db.send(&answer));
        web.send(&forged);
        while web.take().is_some() || db.take().is_some() {}
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes what is seen for the documentation, if that is wanted.
fn take_picture(browser: &mut Browser, name: &str) {
    let Some(folder) = std::env::var_os("VIADUCT_SCREENSHOTS") else { return };
    let picture = browser.picture();
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(std::process::Stdio::piped())
        .stdout(std::fs::File::create(Path::new(&folder).join(name)).unwrap())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(picture.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_browser_shows_the_switch_live_and_changes_what_it_may() {
    let mut daemon = Daemon::start(CONFIG);
    let [mut web, mut db, _cache] =
        ["web", "db", "cache"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
    let folder = tempfile::tempdir().unwrap();
    let console = Console::start(&api(&daemon), &["--edit"], folder.path());
    let done = AtomicBool::new(false);
    let mut browser = thread::scope(|scope| {
        let (daemon, done) = (&daemon, &done);
        scope.spawn(move || talk(daemon, &mut web, &mut db, done));
        // Whatever happens, the other thread ends.
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(daemon, &console, folder.path())));
        done.store(true, Ordering::Release);
        outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    });
    comes_back(&mut browser, &console, &mut daemon);
}

/// The whole visit: one browser, from view to view.
fn look(daemon: &Daemon, console: &Console, folder: &Path) -> Browser {
    let mut browser = Browser::start(folder);
    browser.resize(1180, 640, false);
    browser.open(&console.url);
    map(&mut browser);
    drops(&mut browser);
    trace(&mut browser);
    ports(&mut browser);
    limits(&mut browser, daemon);
    groups(&mut browser, daemon);
    port(&mut browser, daemon);
    hostile_names(&mut browser, daemon, folder);
    assert_eq!(browser.problems(), Vec::<String>::new(), "what the browser complained about");
    browser
}

/// A page that is loaded again goes on; who has no token is told where to get one; a daemon that goes and comes back is told of.
fn comes_back(browser: &mut Browser, console: &Console, daemon: &mut Daemon) {
    let health = |words: &str| format!("document.querySelector('#health')?.textContent.includes('{words}')");
    browser.open(console.url.split_once('#').unwrap().0);
    browser.until("the state, in a tab that had the token", &health("live"));
    browser.open(&console.url.replace("token=", "token=0"));
    browser.until("where to get the token", &health("viaduct console"));
    // The right address in the same tab: only what is behind # is another one.
    browser.evaluate(&format!("setTimeout(() => {{ location.href = '{}'; }}), 0", console.url));
    browser.until("the state", &health("live"));
    daemon.kill();
    browser.until("that the daemon is gone", &health("no daemon listens"));
    daemon.restart();
    browser.until("that it is back", &health("live"));
    browser.until("the map", "document.querySelectorAll('.node').length === 6");
}

fn map(browser: &mut Browser) {
    browser.until("the map's ports", "document.querySelectorAll('.node').length === 6");
    assert_eq!(
        browser.evaluate("[...document.querySelectorAll('.box .name')].map((name) => name.textContent)"),
        json!(["uplinks", "lab", "office"])
    );
    browser.until("an edge from web to db", "document.querySelector('.edge[data-from=web][data-to=db]')");
    browser.until("and one back", "document.querySelector('.edge[data-from=db][data-to=web]')");
    assert!(
        browser.evaluate("location.href").as_str().unwrap().ends_with("/#map"),
        "the token is not in the address any more"
    );
    let figures = "document.querySelector('.node[data-port=web] .figures').textContent";
    browser.until("web's rate", &format!("/↑ [1-9].*bit/.test({figures})"));
    let before = browser.evaluate(figures);
    browser.until("the rate to move", &format!("{figures} !== {before}"));
    browser.until(
        "the drops at web",
        "/drops/.test(document.querySelector('.node[data-port=web] .drops').textContent)",
    );
    browser.until(
        "flows",
        "document.querySelector('.map table').innerText.includes('udp 10.0.0.5:4000 > 10.0.0.9:3306')",
    );
    take_picture(browser, "console-map.png");
    browser.resize(420, 900, true);
    browser.until(
        "a map for a narrow screen",
        "document.querySelector('.picture svg').getBoundingClientRect().width <= 420",
    );
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= 420"), true, "nothing sticks out");
    browser.resize(1180, 640, false);
}

fn drops(browser: &mut Browser) {
    // By keys alone: from the map's tab to the drops'.
    browser.evaluate("document.querySelector('#tab-map').focus()");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    browser.until(
        "the view of drops",
        "document.activeElement.id === 'tab-drops' && !document.querySelector('#panel-drops').hidden",
    );
    let panel = "document.querySelector('#panel-drops').innerText";
    for words in [
        "spoof-ipv4",
        "The IPv4 source address is not one that the port has with this MAC address.",
        "allowed_address_pairs",
    ] {
        browser.until(words, &format!("{panel}.includes({})", Value::from(words)));
    }
    browser.until(
        "a sample with its packet",
        &format!("{panel}.includes('udp 10.0.0.77:4000 > 10.0.0.9:3306')"),
    );
    take_picture(browser, "console-drops.png");
}

fn trace(browser: &mut Browser) {
    browser.click("#tab-trace");
    for (packet, verdict) in [
        ("udp 10.0.0.5:4000 > 10.0.0.9:3306", "Sent to db"),
        ("tcp 10.0.0.5:4000 > 10.0.0.9:22", "Dropped: group-ingress"),
    ] {
        browser.type_into("#panel-trace input[name=port]", "web");
        browser.type_into("#panel-trace input[name=packet]", packet);
        browser.press("Enter");
        browser.until(verdict, &format!("document.querySelector('.verdict')?.textContent === '{verdict}'"));
    }
    assert!(
        browser.text("#panel-trace .result").contains("add an ingress rule to one of the receiver's groups")
    );
    let text = browser.text("#panel-trace .steps");
    assert!(
        text.contains("port-security") && text.contains("10.0.0.5") && !text.contains("[object"),
        "{text}"
    );
    take_picture(browser, "console-trace.png");
    let hostile = "<img src=x onerror=window.hacked=1>";
    browser.type_into("#panel-trace input[name=port]", hostile);
    browser.press("Enter");
    browser.until("the refusal", "document.querySelector('#panel-trace .notice')");
    // Who asks for what is not there is told so by a status, which the browser notes.
    let problems = browser.problems();
    assert!(problems.len() == 1 && problems[0].contains("404"), "{problems:?}");
}

fn ports(browser: &mut Browser) {
    browser.click("#tab-ports");
    browser.type_into("#panel-ports input", "db");
    browser.until("one row", "document.querySelectorAll('#panel-ports tbody tr').length === 1");
    browser.click("#panel-ports tbody button");
    browser.until(
        "all about the port",
        "document.querySelector('dialog[open]').innerText.includes('52:54:00:00:00:09')",
    );
    close(browser);
}

/// What runs of a table, as the daemon tells it.
fn table(daemon: &Daemon, name: &str) -> String {
    ask_daemon(daemon, &format!("/v1/config?table={name}"))
}

const DIALOG: &str = "document.querySelector('dialog[open]')";

/// Closes the dialog by its key.
fn close(browser: &mut Browser) {
    browser.press("Escape");
    browser.until("the end of the dialog", &format!("{DIALOG} === null"));
}

/// A limit is changed: looked at before, and then as it was looked at.
fn limits(browser: &mut Browser, daemon: &Daemon) {
    browser.click("#tab-limits");
    browser.until("the limits", "document.querySelector('#panel-limits').innerText.includes('silver')");
    browser.evaluate("[...document.querySelectorAll('#panel-limits tbody button')].find((one) => one.textContent === 'gold').click()");
    browser.until("its lines", &format!("{DIALOG}?.querySelector('textarea').value.includes('80mbit')"));
    let lines = table(daemon, "qos.gold");
    assert!(lines.contains("# What a database may use."), "{lines}");
    browser.type_into("dialog[open] textarea", "egress = { kind = \"tbf\", rate = \"fast\" }");
    browser.click("dialog[open] .preview");
    browser.until("what is wrong", &format!("{DIALOG}.innerText.includes('qos.gold.egress.rate')"));
    assert_eq!(browser.evaluate(&format!("{DIALOG}.querySelector('.apply').disabled")), true);
    let problems = browser.problems();
    assert!(problems.len() == 1 && problems[0].contains("422"), "{problems:?}");
    browser.type_into("dialog[open] textarea", &lines.replace("80mbit", "40mbit"));
    browser.click("dialog[open] .preview");
    browser.until(
        "the difference",
        &format!("/~ qos gold.*80mbit.*40mbit/.test({DIALOG}.querySelector('.changes')?.textContent)"),
    );
    take_picture(browser, "console-limit.png");
    assert!(table(daemon, "qos.gold").contains("80mbit"), "it was only looked at");
    browser.click("dialog[open] .apply");
    browser.until("that it is done", &format!("{DIALOG}.innerText.includes('Done: configuration 2 runs.')"));
    assert_eq!(table(daemon, "qos.gold"), lines.replace("80mbit", "40mbit"));
    // The way back is a change, too.
    browser.type_into("dialog[open] textarea", &lines);
    assert_eq!(browser.evaluate(&format!("{DIALOG}.querySelector('.apply').disabled")), true);
    browser.click("dialog[open] .preview");
    browser.until(
        "the difference to what runs now",
        &format!("/~ qos gold.*40mbit.*80mbit/.test({DIALOG}.querySelector('.changes')?.textContent)"),
    );
    close(browser);
}

/// Of two who change something at the same time, one is told.
fn groups(browser: &mut Browser, daemon: &Daemon) {
    browser.click("#tab-groups");
    browser.until("the groups", "document.querySelector('button[data-group=database]')");
    browser.click("button[data-group=database]");
    browser.until("its lines", &format!("{DIALOG}?.querySelector('textarea').value.includes('3306')"));
    let other = daemon.command(&["port", "set", "cache", "--qos", "silver"]);
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    let wanted = "rules = [{ direction = \"ingress\", protocol = \"udp\", ports = \"3300-3400\", remote_group = \"clients\" }]\n";
    browser.type_into("dialog[open] textarea", wanted);
    browser.click("dialog[open] .preview");
    browser.until(
        "that somebody else was faster",
        &format!("{DIALOG}.innerText.includes('somebody else changed the configuration')"),
    );
    let problems = browser.problems();
    assert!(problems.len() == 1 && problems[0].contains("412"), "{problems:?}");
    browser.click("dialog[open] .again");
    browser.until(
        "what is there now",
        &format!("{DIALOG}.querySelector('textarea').value.includes('ports = 3306')"),
    );
    browser.type_into("dialog[open] textarea", wanted);
    browser.click("dialog[open] .preview");
    browser.until(
        "the difference",
        &format!("{DIALOG}.querySelector('.changes')?.textContent.includes('group database')"),
    );
    browser.click("dialog[open] .apply");
    browser.until("that it is done", &format!("{DIALOG}.innerText.includes('Done: configuration 4 runs.')"));
    assert_eq!(table(daemon, "group.database"), wanted);
    close(browser);
    browser.until(
        "the rule in words",
        "document.querySelector('#panel-groups').innerText.includes('3300-3400')",
    );
    let new = "[...document.querySelectorAll('#panel-groups button')].find((one) => one.textContent === 'New group of addresses')";
    browser.evaluate(&format!("{new}.click()"));
    browser.until("the form", &format!("{DIALOG}?.querySelector('input[name=name]')"));
    browser.type_into("dialog[open] input[name=name]", "partners");
    browser.press("Enter");
    browser.until(
        "the difference",
        &format!("{DIALOG}.querySelector('.changes')?.textContent.includes('partners')"),
    );
    browser.click("dialog[open] .apply");
    browser.until("that it is done", &format!("{DIALOG}.innerText.includes('Done: configuration 5 runs.')"));
    assert_eq!(table(daemon, "address_group.partners"), "addresses = [\"192.0.2.0/24\"]\n");
    close(browser);
}

/// A port's limit and groups are changed from the map; what happened is told.
fn port(browser: &mut Browser, daemon: &Daemon) {
    browser.click("#tab-map");
    browser.evaluate("document.querySelector('.node[data-port=db]').focus()");
    browser.press("Enter");
    browser.until("the choices", &format!("{DIALOG}?.querySelectorAll('input[type=checkbox]').length === 2"));
    browser.evaluate(&format!(
        "(() => {{ const select = {DIALOG}.querySelector('select'); select.value = 'silver'; \
         select.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
    ));
    browser.click("dialog[open] input[value=clients]");
    browser.click("dialog[open] .preview");
    let changes = format!("{DIALOG}.querySelector('.changes')?.textContent");
    browser.until(
        "the difference",
        &format!("/groups database -> clients.database/.test({changes}) && /gold -> silver/.test({changes})"),
    );
    take_picture(browser, "console-port.png");
    browser.click("dialog[open] .apply");
    browser.until("that it is done", &format!("{DIALOG}.innerText.includes('Done: configuration 6 runs.')"));
    let ports = daemon.show_json()["ports"].clone();
    let db = ports.as_array().unwrap().iter().find(|port| port["name"] == "db").unwrap();
    assert_eq!(db["groups"], json!(["clients", "database"]));
    close(browser);
    browser.click("#tab-events");
    browser.until(
        "what happened",
        "document.querySelector('#panel-events').innerText.includes('configuration 6')",
    );
}

/// A daemon that tells what it likes: the same state, with names that would be markup.
fn hostile_names(browser: &mut Browser, daemon: &Daemon, folder: &Path) {
    const NAME: &str = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>";
    let status = ask_daemon(daemon, "/v1/status").replace("\"cache\"", &Value::from(NAME).to_string());
    let packet = format!("udp {NAME} > 10.0.0.9:3306 length 60");
    let sample = json!({ "sample": {
        "at_us": 1, "port": "web", "network": "lab", "packet": packet, "flooded_to": null,
        "verdict": { "kind": "dropped", "receivers": [], "reason": NAME, "meaning": NAME },
        "lost_at": { "port": NAME, "reason": NAME }, "step": null,
    }});
    let tally = json!({ "sampling": { "frames": 1, "looked_at": 1, "lost": 0 } });
    let socket = folder.join("fake.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..length]).into_owned();
            let (kind, body) = match asked.split(' ').nth(1) {
                Some("/v1/status") => ("application/json", status.clone()),
                Some("/v1/watch") => ("application/x-ndjson", format!("{tally}\n{sample}\n{tally}\n")),
                _ => ("application/json", "[]".to_owned()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let console = Console::start(&socket, &[], folder);
    browser.open(&console.url);
    browser.until(
        "the hostile name as text",
        &format!(
            "[...document.querySelectorAll('.node')].some((node) => node.dataset.port === {})",
            Value::from(NAME)
        ),
    );
    for view in ["ports", "drops"] {
        browser.click(&format!("#tab-{view}"));
        let expected =
            format!("document.querySelector('#panel-{view}').innerText.includes({})", Value::from(NAME));
        browser.until("the hostile name as text in a table", &expected);
    }
    assert_eq!(
        browser.evaluate(
            "window.hacked === undefined && document.querySelector('main img, main script') === null"
        ),
        true
    );
}

fn ask_daemon(daemon: &Daemon, path: &str) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(api(daemon)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
