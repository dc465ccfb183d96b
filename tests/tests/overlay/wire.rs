//! What goes over the wire, as tshark reads it.

use std::path::PathBuf;
use std::process::Command;

use viaduct_tests::deadline::wait_until;
use viaduct_tests::process::Process;

use super::underlay::{LIMIT, Underlay};

/// A capture that goes on until it is dropped.
#[derive(Debug)]
pub(super) struct Wire {
    file: PathBuf,
    _dump: Process,
}

impl Wire {
    /// Writes down all that goes over the wire from now on.
    pub(super) fn listen(underlay: &Underlay, name: &str) -> Self {
        let file = underlay.folder.path().join(format!("{name}.pcap"));
        let mut dump = underlay.segment.namespace().command("tcpdump");
        dump.args(["-i", "segment", "-U", "--immediate-mode", "-w"]).arg(&file);
        let dump = Process::spawn(&format!("tcpdump-{name}"), &dump, underlay.folder.path());
        wait_until("tcpdump to listen", LIMIT, || dump.tail().contains("listening on"));
        Self { file, _dump: dump }
    }

    /// These fields of each frame so far for which a filter of tshark's holds; of a field that a frame has several times, as of the
    /// outer and the inner packet, all of them with commas between.
    pub(super) fn rows(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args(["-Y", filter, "-T", "fields", "-E", "separator=;"]);
        tshark.args(["ip", "udp", "tcp"].map(|layer| format!("-o{layer}.check_checksum:TRUE")));
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        let output = tshark.output().expect("tshark, of the package of that name");
        // While a frame is being written, tshark says that the file is cut.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || problem.contains("cut short"), "tshark {filter}: {problem}");
        text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
    }

    /// Packets with a wrong checksum, outside or inside: of IPv4, UDP, TCP or ICMP. Linux writes 0xffff for a 0 of TCP, too, where it
    /// finishes a checksum itself (`skb_checksum_help`): the same number in ones' complement, which tshark calls bad.
    pub(super) fn wrong_checksums(&self) -> Vec<Vec<String>> {
        let of = |layer: &str| {
            let other = if layer == "tcp" { " && !(tcp.checksum == 0xffff)" } else { "" };
            format!("({layer}.checksum.status == \"Bad\"{other})")
        };
        let filter = ["ip", "udp", "tcp", "icmp", "icmpv6"].map(of).join(" || ");
        self.rows(&filter, &["frame.number", "frame.protocols", "_ws.col.Info"])
    }

    /// How many frames there were for which the filter holds.
    pub(super) fn count(&self, filter: &str) -> usize {
        self.rows(filter, &["frame.number"]).len()
    }
}
