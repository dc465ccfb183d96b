//! The shell of a real guest, whoever started it.
//!
//! A test reads like a session at a terminal: boot, type, expect. What goes wrong shows the last lines
//! of the console.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::console::{CommandResult, Console};
use crate::deadline::wait_for;

/// How long a guest may take from power-on to its shell; plain emulation on a busy machine is slow.
const BOOT_WITHIN: Duration = Duration::from_secs(60);
/// How long a command in the guest may take unless the test says otherwise.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// What the guest prints when it is up (images/README.md).
const READY: &str = "VIADUCT-GUEST-READY";

/// A guest's shell on its serial console.
#[derive(Debug)]
pub struct Shell {
    name: String,
    console: Console,
}

/// What `ping` counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pings {
    /// Requests sent.
    pub sent: u32,
    /// Replies that came.
    pub received: u32,
}

impl Shell {
    /// The shell of the guest `name` at the other end of `stream`.
    ///
    /// # Panics
    /// If the machine has no thread left to read it.
    #[must_use]
    pub fn new(name: &str, stream: UnixStream) -> Self {
        Self { name: name.to_owned(), console: Console::new(stream).expect("a thread for the console") }
    }

    /// The guest's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the shell is there, after power-on or a reboot.
    ///
    /// # Panics
    /// If it does not come.
    pub fn await_shell(&mut self) {
        if let Err(error) = self.console.expect(READY, BOOT_WITHIN) {
            panic!("{} did not boot: {error}", self.name);
        }
    }

    /// Runs a command that must succeed, and returns its output.
    ///
    /// # Panics
    /// If it fails or takes longer than half a minute; the message has its output.
    pub fn run(&mut self, command: &str) -> String {
        self.run_within(COMMAND_WITHIN, command)
    }

    /// Runs a command that must succeed `within` a time, and returns its output.
    ///
    /// # Panics
    /// If it fails or takes longer; the message has its output.
    pub fn run_within(&mut self, within: Duration, command: &str) -> String {
        let CommandResult { status, output } = self.try_run(within, command);
        assert!(status == 0, "{}: {command:?} failed with status {status}:\n{output}", self.name);
        output
    }

    /// Runs a command to its end, however it ends.
    ///
    /// # Panics
    /// If it has not ended `within` the time.
    pub fn try_run(&mut self, within: Duration, command: &str) -> CommandResult {
        let result = self.console.run(command, within);
        result.unwrap_or_else(|error| panic!("{}: {command:?}: {error}", self.name))
    }

    /// Starts a command in the background; [`Shell::finish`] has its output.
    pub fn start(&mut self, job: &str, command: &str) {
        let files = format!("/tmp/{job}");
        self.run(&format!(
            "rm -f {files}.*; ( ( {command} ) >{files}.out 2>&1; echo $? >{files}.status ) & echo $! >{files}.pid"
        ));
    }

    /// Waits for the end of a command that [`Shell::start`] began and returns its output.
    ///
    /// # Panics
    /// If it fails or has not ended `within` the time.
    pub fn finish(&mut self, job: &str, within: Duration) -> String {
        let done = format!("the job {job} of {} to end", self.name);
        wait_for(&done, within, || {
            let ended = self.try_run(COMMAND_WITHIN, &format!("test -s /tmp/{job}.status")).status == 0;
            // Asking costs the guest's slow processor something.
            if !ended {
                thread::sleep(Duration::from_millis(300));
            }
            ended.then_some(())
        });
        let output = self.run(&format!("cat /tmp/{job}.out"));
        let status = self.run(&format!("cat /tmp/{job}.status"));
        assert_eq!(status.trim(), "0", "{}: the job {job} failed:\n{output}", self.name);
        output
    }

    /// Reboots from inside and waits for the shell.
    ///
    /// # Panics
    /// If it does not come up again.
    pub fn reboot(&mut self) {
        self.console.type_line("reboot -f");
        self.await_shell();
    }

    /// Sends three pings with `payload` bytes each, all of which must be answered.
    ///
    /// # Panics
    /// If one is not.
    pub fn ping(&mut self, address: &str, payload: u16) {
        let output = self.run(&format!("ping -c 3 -i 0.2 -W 5 -s {payload} {address}"));
        let pings = Pings::read(&output);
        assert_eq!(pings.sent, pings.received, "{}: ping {address} lost replies:\n{output}", self.name);
    }

    /// Whether one ping is answered within a second.
    pub fn reaches(&mut self, address: &str) -> bool {
        self.try_run(COMMAND_WITHIN, &format!("ping -q -c 1 -W 1 {address}")).status == 0
    }

    /// Runs iperf3 against the server that [`Shell::serve_iperf`] started, for `seconds`; bits per second that arrived.
    ///
    /// # Panics
    /// If iperf3 fails or its answer cannot be read.
    pub fn iperf(&mut self, address: &str, seconds: u64, options: &str) -> f64 {
        let limit = COMMAND_WITHIN + Duration::from_secs(seconds);
        iperf(address, seconds, options, |command| self.run_within(limit, command))
    }

    /// As [`Shell::iperf`], and again if it did not come to more than this: see [`iperf_above`].
    pub fn iperf_above(&mut self, least: f64, address: &str, seconds: u64, options: &str) -> f64 {
        let limit = COMMAND_WITHIN + Duration::from_secs(seconds);
        iperf_above(least, address, seconds, options, |command| self.run_within(limit, command))
    }

    /// Starts an iperf3 server in the background, for as long as the guest runs.
    pub fn serve_iperf(&mut self) {
        self.run("iperf3 -s -D");
        let listens = format!("iperf3 of {} to listen", self.name);
        wait_for(&listens, COMMAND_WITHIN, || {
            self.run("ss -Hltn 'sport = :5201'").contains("5201").then_some(())
        });
    }

    /// Packets whose checksum the guest found wrong, over all protocols and both versions of IP.
    pub fn checksum_errors(&mut self) -> u64 {
        let counters = self.run("cat /proc/net/snmp; grep Csum /proc/net/snmp6");
        counters_of(&counters)
            .filter(|(name, _)| name.ends_with("InCsumErrors"))
            .map(|(_, count)| count)
            .sum()
    }

    /// Packets that the guest had to send in fragments.
    pub fn fragmented(&mut self) -> u64 {
        let counters = self.run("cat /proc/net/snmp");
        counters_of(&counters).filter(|(name, _)| name == "FragOKs").map(|(_, count)| count).sum()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the last lines on the console of {}:\n{}", self.name, self.console.tail());
        }
    }
}

impl Pings {
    /// Reads the summary that `ping` prints at its end.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn read(output: &str) -> Self {
        let line = output.lines().find(|line| line.contains("packets transmitted"));
        let line = line.unwrap_or_else(|| panic!("ping printed no summary:\n{output}"));
        let mut numbers =
            line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
        let (sent, received) = (numbers.next(), numbers.next());
        Self { sent: sent.unwrap_or(0), received: received.unwrap_or(0) }
    }

    /// Requests without a reply.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.sent - self.received
    }
}

/// The counters of /proc/net/snmp, where a line of names is followed by one of values, and of
/// /proc/net/snmp6, where every line has a name and a value (proc(5)).
pub(crate) fn counters_of(text: &str) -> impl Iterator<Item = (String, u64)> + '_ {
    let lines: Vec<&str> = text.lines().collect();
    let pairs: Vec<(&str, &str)> = lines
        .windows(2)
        .filter(|pair| pair[0].split(':').next() == pair[1].split(':').next() && pair[0].contains(':'))
        .flat_map(|pair| pair[0].split_whitespace().zip(pair[1].split_whitespace()))
        .chain(
            lines
                .iter()
                .filter(|line| !line.contains(':'))
                .filter_map(|line| line.split_once(char::is_whitespace)),
        )
        .collect();
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
}

/// As [`iperf`], up to three times until more than `least` arrived, and the most that did: guests that are emulated stand still now and
/// then, which makes a transfer slower and never faster.
pub fn iperf_above(
    least: f64,
    address: &str,
    seconds: u64,
    options: &str,
    mut run: impl FnMut(&str) -> String,
) -> f64 {
    let mut most = 0.0;
    for _ in 0..3 {
        most = iperf(address, seconds, options, &mut run).max(most);
        if most > least {
            break;
        }
    }
    most
}

/// Has `run` run iperf3 against the server at `address` for `seconds`; bits per second that arrived.
///
/// # Panics
/// If iperf3 fails or its answer cannot be read.
pub fn iperf(address: &str, seconds: u64, options: &str, mut run: impl FnMut(&str) -> String) -> f64 {
    let command = format!("iperf3 -J -c {address} -t {seconds} {options}");
    let report = wait_for("iperf3's server to take a client", COMMAND_WITHIN, || {
        let output = run(&command);
        let report: Value = serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("{command} printed no report ({error}):\n{output}"));
        Some(report).filter(|report| !was_turned_away(report))
    });
    let sum = [&report["end"]["sum_received"], &report["end"]["sum"]];
    let rate = sum.iter().find_map(|sum| sum["bits_per_second"].as_f64());
    rate.filter(|_| report["error"].is_null())
        .unwrap_or_else(|| panic!("{command} reports an error or no rate:\n{report:#}"))
}

/// Whether the server took no client because it was still busy with the one before: after each it closes its socket and
/// listens anew. A transfer that began is not tried again, whatever became of it.
fn was_turned_away(report: &Value) -> bool {
    const SAID: [&str; 5] = [
        "Connection refused",
        "unable to send cookie to server",
        "the server is busy running a test",
        "control socket has closed unexpectedly",
        "Connection reset by peer",
    ];
    let error = report["error"].as_str().unwrap_or_default();
    let began = report["intervals"].as_array().is_some_and(|intervals| !intervals.is_empty());
    !began && SAID.iter().any(|said| error.contains(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_read_from_the_summary() {
        let output = "64 bytes from 10.0.1.2: seq=0\n\n--- 10.0.1.2 ping statistics ---\n\
                      20 packets transmitted, 18 packets received, 10% packet loss\n";
        assert_eq!(Pings::read(output), Pings { sent: 20, received: 18 });
        assert_eq!(Pings::read(output).lost(), 2);
    }

    #[test]
    fn a_client_that_was_turned_away_is_told_from_one_whose_transfer_failed() {
        let report = |error: &str, intervals: &str| {
            let text =
                format!("{{\"start\":{{}},\"intervals\":[{intervals}],\"end\":{{}},\"error\":\"{error}\"}}");
            serde_json::from_str::<Value>(&text).unwrap()
        };
        for error in [
            "error - unable to connect to server: Connection refused",
            "control socket has closed unexpectedly",
        ] {
            assert!(was_turned_away(&report(error, "")), "{error}");
            assert!(!was_turned_away(&report(error, "{}")), "the transfer had begun");
        }
        assert!(!was_turned_away(&report("unable to read from stream socket: No route to host", "")));
        assert!(!was_turned_away(&serde_json::json!({ "intervals": [], "end": {} })));
    }

    #[test]
    fn counters_of_both_files_are_read() {
        let text = "Tcp: InSegs InCsumErrors\nTcp: 100 2\nUdp: InDatagrams InCsumErrors\nUdp: 7 1\nUdp6InCsumErrors   \t4\n";
        let errors: Vec<_> = counters_of(text).filter(|(name, _)| name.ends_with("InCsumErrors")).collect();
        assert_eq!(errors.iter().map(|(_, count)| count).sum::<u64>(), 7, "{errors:?}");
        assert!(counters_of(text).any(|counter| counter == ("InSegs".to_owned(), 100)));
    }
}
