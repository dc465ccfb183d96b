//! What a scrape says, and that documents and the dashboard speak of what there is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::model::{
    DropStatus, NatAddressStatus, PortState, PortStatus, QosStatus, ROUND_TIMES, ShapingClassStatus,
    ShapingStatus, Traffic, WorkerStatus,
};

fn port(name: &str) -> PortStatus {
    let drops = DropStatus { reason: "spoof-mac".to_owned(), meaning: String::new(), frames: 5 };
    PortStatus {
        name: name.to_owned(),
        network: "lab".to_owned(),
        native: None,
        kind: "vhost-user".to_owned(),
        interface: None,
        socket: "/run/x.sock".into(),
        role: "server".to_owned(),
        mac: "52:54:00:00:00:01".to_owned(),
        groups: None,
        mtu: 1500,
        queues: 1,
        state: PortState::Running,
        detail: None,
        peer_pid: None,
        rings_running: 2,
        features: Vec::new(),
        received: Traffic { frames: 7, bytes: 700 },
        sent: Traffic { frames: 9, bytes: 900 },
        drops: vec![drops],
        connections: 1,
        pauses: 2,
        paused_ms: 1500,
        numa: None,
    }
}

fn measured() -> Measured {
    let class = ShapingClassStatus {
        name: "web".to_owned(),
        rate_bits: Some(30_000_000),
        marked: 4,
        ..ShapingClassStatus::default()
    };
    let tree =
        ShapingStatus { qos: "shared".to_owned(), shared: true, ports: Vec::new(), classes: vec![class] };
    let address = NatAddressStatus {
        network: "out".to_owned(),
        address: [192, 0, 2, 1].into(),
        tcp: 3,
        udp: 0,
        icmp: 0,
    };
    let mut measured = Measured::default();
    measured.snapshot.ports = vec![port("vm1")];
    let mut rounds = [0; ROUND_TIMES];
    (rounds[3], rounds[16]) = (7, 1);
    measured.snapshot.workers = vec![WorkerStatus {
        cpu: 2,
        frames: 11,
        round_times: rounds,
        rounds_ns: 5_000_000,
        ..WorkerStatus::default()
    }];
    measured.snapshot.qos = QosStatus { trees: vec![tree], ..QosStatus::default() };
    measured.tables.nat.addresses = vec![address];
    measured.tables.leases = Some([(("lab".to_owned(), "bound".to_owned()), 6)].into());
    measured.api.answers = [(("tcp", 200), 8)].into();
    measured
}

/// The names of all families, counters with their suffix.
fn names() -> BTreeSet<String> {
    let usage = Some(Usage::read().unwrap());
    let text = render(Measured { usage, ..Measured::default() }, Format::Classic).unwrap();
    let of = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
    text.lines().filter_map(of).collect()
}

#[test]
fn samples_carry_their_figures_and_labels() {
    let text = render(measured(), Format::Classic).unwrap();
    for line in [
        "# TYPE viaduct_port_receive_bytes_total counter",
        "# HELP viaduct_port_up 1: the guest's driver is up, or the interface is attached.",
        "viaduct_port_receive_bytes_total{port=\"vm1\"} 700",
        "viaduct_port_transmit_frames_total{port=\"vm1\"} 9",
        "viaduct_port_drops_total{port=\"vm1\",reason=\"spoof-mac\"} 5",
        "viaduct_port_paused_seconds_total{port=\"vm1\"} 1.5",
        "viaduct_port_info{port=\"vm1\",network=\"lab\",type=\"vhost-user\",mac=\"52:54:00:00:00:01\"} 1",
        "viaduct_worker_frames_total{cpu=\"2\"} 11",
        "# TYPE viaduct_worker_round_seconds histogram",
        "viaduct_worker_round_seconds_bucket{le=\"0.000004\",cpu=\"2\"} 0",
        "viaduct_worker_round_seconds_bucket{le=\"0.032768\",cpu=\"2\"} 7",
        "viaduct_worker_round_seconds_bucket{le=\"+Inf\",cpu=\"2\"} 8",
        "viaduct_worker_round_seconds_sum{cpu=\"2\"} 0.005",
        "viaduct_worker_round_seconds_count{cpu=\"2\"} 8",
        "viaduct_qos_class_rate_bits_per_second{qos=\"shared\",port=\"\",class=\"web\"} 30000000",
        "viaduct_qos_class_marks_total{qos=\"shared\",port=\"\",class=\"web\"} 4",
        "viaduct_nat_used_ports{network=\"out\",address=\"192.0.2.1\",protocol=\"tcp\"} 3",
        "viaduct_leases{network=\"lab\",state=\"bound\"} 6",
        "viaduct_api_answers_total{listener=\"tcp\",code=\"200\"} 8",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    let open = render(measured(), Format::OpenMetrics).unwrap();
    assert!(open.contains("# TYPE viaduct_port_receive_bytes counter\n"), "{open}");
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"));
}

#[test]
fn the_process_is_told_of_by_the_usual_names() {
    let usage = Usage::read().unwrap();
    let text = render(Measured { usage: Some(usage), ..Measured::default() }, Format::Classic).unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 7200.0..now + 10.0).contains(&value("process_start_time_seconds")), "{text}");
    assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_threads") >= 1.0 && value("process_cpu_seconds_total") >= 0.0);
    assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
}

#[test]
fn who_names_openmetrics_gets_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    assert_eq!(Format::wanted(prometheus), Format::OpenMetrics);
    for other in ["", "*/*", "text/plain;version=0.0.4", "text/html, application/xml"] {
        assert_eq!(Format::wanted(other), Format::Classic, "{other}");
    }
}

#[test]
fn the_documentation_names_every_family_and_no_other() {
    let text = include_str!("../../../docs/metrics.md");
    let row = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    let is_family = |name: &String| ["viaduct_", "process_"].iter().any(|prefix| name.starts_with(prefix));
    let documented: BTreeSet<String> = text.lines().filter_map(row).filter(is_family).collect();
    assert_eq!(documented, names());
}

/// All texts below `value` that stand under `key`.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Value::Object(fields) => {
            for (name, field) in fields {
                found.extend(field.as_str().filter(|_| name == key));
                texts(field, key, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_families_that_there_are() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../docs/grafana-dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    ["expr", "definition"].iter().for_each(|key| texts(&dashboard, key, &mut expressions));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let asked: BTreeSet<String> = expressions
        .iter()
        .flat_map(|text| text.split(|c| !is_name(c)))
        .filter(|word| word.starts_with("viaduct_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect();
    let strange: Vec<_> = asked.difference(&names()).cloned().collect();
    assert!(expressions.len() >= 15 && asked.len() >= 15, "{asked:?}");
    assert_eq!(strange, Vec::<String>::new());
}
