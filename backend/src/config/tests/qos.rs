//! QoS: every field wrong once, and every rule between fields broken once.

use viaduct_switch::marking::Marking;
use viaduct_switch::meter::{Allowance, Dscp, Exceeding};
use viaduct_switch::qos::{
    BitRate, ClassIndex, FifoPlan, HtbPlan, Match, QueuePlan, RootPlan, Shares, TreePlan,
};
use viaduct_switch::security::GroupIndex;
use viaduct_switch::{Nanos, NetworkIndex, PortIndex};

use super::*;
use crate::config::compile::Numbered;

/// Fields of `[qos.vm1.ingress]`: what is written, the field, part of what was found, part of what would be right.
const INGRESS: &[(&str, &str, &str, &str)] = &[
    ("shared = true", "police", "nothing", "a rate in bits a second"),
    ("police = '50'", "police", "\"50\"", "(bit, kbit, mbit, gbit), from \"8kbit\" to \"400gbit\""),
    ("police = '7kbit'", "police", "\"7kbit\"", "from \"8kbit\""),
    ("police = '401gbit'", "police", "\"401gbit\"", "to \"400gbit\""),
    ("police = 50", "police", "50", "with their unit"),
    ("police = '50mbit'\nburst = '128K'", "burst", "\"128K\"", "(B, KiB, MiB, GiB)"),
    ("police = '50mbit'\nburst = '71KiB'", "burst", "\"71KiB\"", "from \"72KiB\""),
    ("packets = '1kpps'\nburst = '72KiB'", "burst", "`burst`", "`police` beside it"),
    ("packets = '1kbit'", "packets", "\"1kbit\"", "(pps, kpps, mpps), from \"1pps\" to \"400mpps\""),
    ("packets = '1kpps'\npacket_burst = 127", "packet_burst", "127", "from 128 to 1000000"),
    ("police = '50mbit'\npacket_burst = 128", "packet_burst", "`packet_burst`", "`packets` beside it"),
    ("police = '50mbit'\npeak = '49mbit'", "peak", "\"49mbit\"", "at least as much as `police`"),
    ("police = '50mbit'\npeak = 1", "peak", "1", "with their unit"),
    ("packets = '1kpps'\npeak = '1gbit'", "peak", "`peak`", "`police` beside it"),
    ("police = '50mbit'\npeak = '60mbit'\npeak_burst = 1", "peak_burst", "1", "with their unit"),
    ("police = '50mbit'\npeak_burst = '1MiB'", "peak_burst", "`peak_burst`", "`peak` beside it"),
    (
        "packets = '2kpps'\npeak_packets = '1kpps'",
        "peak_packets",
        "\"1kpps\"",
        "at least as much as `packets`",
    ),
    ("police = '1mbit'\npeak_packets = '1kpps'", "peak_packets", "`peak_packets`", "`packets` beside it"),
    (
        "packets = '2kpps'\npeak_packets = '2kpps'\npeak_packet_burst = 1",
        "peak_packet_burst",
        "1",
        "from 128",
    ),
    (
        "packets = '2kpps'\npeak_packet_burst = 128",
        "peak_packet_burst",
        "`peak_packet_burst`",
        "`peak_packets`",
    ),
    ("police = '50mbit'\nexceed = 'dorp'", "exceed", "\"dorp\"", "\"drop\"?"),
    ("police = '5mbit'\npeak = '6mbit'\nexceed = 'drop'", "exceed", "\"drop\"", "leave `peak` out"),
    ("police = '5mbit'\npeak = '6mbit'\nexceed = 'wait'", "exceed", "\"wait\"", "leave `peak` out"),
    ("police = '999kbit'\nexceed = 'wait'", "police", "\"999kbit\"", "\"1mbit\" or more beside exceed"),
    ("packets = '249pps'\nexceed = 'wait'", "packets", "\"249pps\"", "\"250pps\" or more beside exceed"),
    ("police = '50mbit'\nexceed = 'mark'\ndscp = 64", "dscp", "64", "from 0 to 63"),
    ("police = '50mbit'\nexceed = 'mark'\ndscp = 'af44'", "dscp", "\"af44\"", "af41"),
    ("police = '50mbit'\ndscp = 'le'", "dscp", "`dscp`", "exceed = \"mark\" beside it"),
    ("police = '50mbit'\npeak = '60mbit'\ncolour_aware = 1", "colour_aware", "1", "true or false"),
    ("police = '50mbit'\ncolour_aware = true", "colour_aware", "true", "a `peak` beside it"),
    ("police = '50mbit'\nshared = 1", "shared", "1", "true or false"),
    ("police = '50mbit'\nexceed = 'mark'\nexceed_mark = 0", "exceed_mark", "0", "from 1 to 65535"),
    ("police = '50mbit'\nexceed_mark = 7", "exceed_mark", "`exceed_mark`", "or \"pass\" beside it"),
    ("police = '50mbit'\npolize = 1", "polize", "`polize`", "`police`, the nearest"),
];

/// Other tables: text, line, field, part of what was found, part of what would be right.
const WRONG: &[Told] = &[
    ("qos = 1", 1, "qos", "1", "a table, as under [qos]"),
    ("[qos.'a b']\ningress = {police='1mbit'}", 1, "qos.a b", "a b", "a name"),
    ("[qos.vm1]", 1, "qos.vm1", "an empty table", "`ingress`"),
    ("[qos.vm1]\negress = 'tbf'", 2, "qos.vm1.egress", "\"tbf\"", "a table"),
    (
        "[qos.vm1]\noverhead = 24\ningress = {police='1mbit'}",
        2,
        "qos.vm1.overhead",
        "`overhead`",
        "`egress` or `kind` beside it",
    ),
    ("[qos.vm1]\nrate = '1mbit'", 2, "qos.vm1.rate", "`rate`", "kind = \"htb\" beside it"),
    (
        "[qos.vm1]\ntrust = 'all'",
        2,
        "qos.vm1.trust",
        "\"all\"",
        "one of \"both\", \"dscp\", \"pcp\", \"none\"",
    ),
    ("[qos.vm1]\nmark = 0", 2, "qos.vm1.mark", "0", "from 1 to 65535"),
    ("[qos.vm1]\nset = {}", 2, "qos.vm1.set", "an empty table", "`dscp`"),
    ("[qos.vm1]\nset = {dscp = 'af44'}", 2, "qos.vm1.set.dscp", "\"af44\"", "af41"),
    ("[qos.vm1]\nset = {pcp = 8}", 2, "qos.vm1.set.pcp", "8", "from 0 to 7"),
    ("[qos.vm1]\ntrust = 'dscp'\nset = {dscp = 1}", 3, "qos.vm1.set.dscp", "`dscp`", "another `trust`"),
    ("[qos.vm1]\ntrust = 'pcp'\nset = {pcp = 1}", 3, "qos.vm1.set.pcp", "`pcp`", "another `trust`"),
    ("[qos.vm1]\nmap = 1", 2, "qos.vm1.map", "1", "a table"),
    ("[qos.vm1]\nmap = {dscp = {ef = 5}}", 2, "qos.vm1.map.dscp", "`dscp`", "trust = \"dscp\""),
    ("[qos.vm1]\ntrust = 'dscp'\nmap = {pcp = {5 = 'ef'}}", 3, "qos.vm1.map.pcp", "`pcp`", "trust = \"pcp\""),
    ("[qos.vm1]\ntrust = 'dscp'\nmap = {dscp = {eff = 5}}", 3, "qos.vm1.map.dscp.eff", "`eff`", "a DSCP"),
    ("[qos.vm1]\ntrust = 'dscp'\nmap = {dscp = {ef = 8}}", 3, "qos.vm1.map.dscp.ef", "8", "from 0 to 7"),
    ("[qos.vm1]\ntrust = 'pcp'\nmap = {pcp = {8 = 'ef'}}", 3, "qos.vm1.map.pcp.8", "`8`", "from 0 to 7"),
    ("[qos.vm1]\ntrust = 'pcp'\nmap = {pcp = {7 = 'eff'}}", 3, "qos.vm1.map.pcp.7", "\"eff\"", "a DSCP"),
    ("[qos.vm1]\ningress = '50mbit'", 2, "qos.vm1.ingress", "\"50mbit\"", "a table"),
    ("[qos.vm1]\ningres = {}", 2, "qos.vm1.ingres", "`ingres`", "`ingress`, the nearest"),
    (
        "[qos.gold]\ningress = {police='1mbit'}\n[network.lab]\n[port.vm1]\nnetwork='lab'\nqos='gould'",
        6,
        "port.vm1.qos",
        "\"gould\"",
        "\"gold\", the nearest",
    ),
    (
        "[qos.gold]\ningress = {police='1mbit', exceed='wait'}\n[network.lab]\n[port.a]\nnetwork='lab'\nqos='gold'\n\
         [uplink.wan]\ninterface='eth1'\nqos='gold'",
        9,
        "uplink.wan.qos",
        "\"gold\"",
        "qos.gold (line 2) has: only a guest",
    ),
    (
        "[qos.gold]\ningress = {police='1mbit', exceed='wait'}\n[network.lab]\n[port.a]\nnetwork='lab'\ntype='tap'\n\
         interface='tap0'\nqos='gold'",
        8,
        "port.a.qos",
        "\"gold\"",
        "without exceed = \"wait\"",
    ),
    ("[network.lab]\n[port.vm1]\nnetwork='lab'\nqos=1", 4, "port.vm1.qos", "1", "add [qos.NAME]"),
    ("[uplink.vm1]\ninterface='eth1'\nqos='gold'", 3, "uplink.vm1.qos", "\"gold\"", "add [qos.NAME]"),
];

/// Fields of `[qos.vm1]` beside a class: what is written, the field below `qos.vm1`, and as above. `CLASS` stands for a class that is right, `CHAIN` for one below another
/// more often than may be.
const TREE: &[(&str, &str, &str, &str)] = &[
    ("kind = 'hbt'", "kind", "\"hbt\"", "\"htb\"?"),
    ("kind = 'htb'\ndefault = 'a'\nCLASS", "rate", "nothing", "what all classes share"),
    ("HTB\nrate = '1mbit'\ndefault = 'a'\nburst = 1\nCLASS", "burst", "1", "bytes with their unit"),
    ("HTB\nrate = '999bit'\ndefault = 'a'\nCLASS", "rate", "\"999bit\"", "from \"1kbit\" to \"400gbit\""),
    ("HTB\nrate = '1mbit'\nCLASS", "default", "nothing", "no filter matches: \"a\""),
    ("HTB\nrate = '1mbit'\ndefault = 'A'\nCLASS", "default", "\"A\"", "\"a\", the nearest known class"),
    ("HTB\nrate = '1mbit'\ndefault = 'a'\noverhead = 2000\nCLASS", "overhead", "2000", "from -64 to 1024"),
    ("HTB\nrate = '1mbit'\ndefault = 'a'\npackets = 0\nCLASS", "packets", "0", "from 1 to 1048576"),
    ("HTB\nrate = '1mbit'\ndefault = 'a'\nmemory = '1KiB'\nCLASS", "memory", "\"1KiB\"", "from \"64KiB\""),
    (
        "HTB\nrate = '1mbit'\ndefault = 'a'\negress = {kind='fifo'}\nCLASS",
        "egress",
        "`egress`",
        "either a tree",
    ),
    ("HTB\nrate = '1mbit'\ndefault = 'a'\nclass = 1", "class", "1", "a table"),
    ("HTB\nrate = '1mbit'\ndefault = 'a'\nfilter = 1\nCLASS", "filter", "1", "a list of tables"),
    ("OK\nclass.b = 1", "class.b", "1", "a table"),
    ("OK\nclass.root = {rate='2kbit'}", "class.root", "a class called \"root\"", "another name"),
    ("OK\nclass.b = {}", "class.b.rate", "nothing", "what the class is guaranteed"),
    ("OK\nclass.vm1 = {rate=1}", "class.vm1.rate", "1", "with their unit"),
    (
        "OK\nclass.vm1 = {rate='2kbit', ceil='1kbit'}",
        "class.vm1.ceil",
        "\"1kbit\"",
        "at least the class's rate of \"2kbit\"",
    ),
    ("OK\nclass.vm1 = {rate='2kbit', burst=1}", "class.vm1.burst", "1", "with their unit"),
    ("OK\nclass.vm1 = {rate='2kbit', cburst='1B'}", "class.vm1.cburst", "\"1B\"", "from \"1600B\""),
    ("OK\nclass.vm1 = {rate='2kbit', quantum=255}", "class.vm1.quantum", "255", "from 256"),
    ("OK\nclass.vm1 = {rate='2kbit', prio=8}", "class.vm1.prio", "8", "from 0 to 7"),
    ("OK\nclass.vm1 = {rate='2kbit', parent='aa'}", "class.vm1.parent", "\"aa\"", "\"a\", the nearest"),
    ("OK\nclass.b = {rate='2kbit', parent='b'}", "class.b.parent", "\"b\"", "not below this one"),
    (
        "OK\nclass.b = {rate='2kbit', parent='c'}\nclass.c = {rate='2kbit', parent='b'}",
        "class.b.parent",
        "\"c\"",
        "not below this one",
    ),
    ("OK\nCHAIN", "class.c32.parent", "\"c31\"", "at most 32 classes stand"),
    ("OK\nclass.b = {rate='501kbit'}", "rate", "\"1mbit\"", "at least \"1001kbit\", the sum"),
    (
        "OK\nclass.b = {rate='2kbit'}\nclass.c = {rate='3kbit', parent='b'}",
        "class.b.rate",
        "\"2kbit\"",
        "at least \"3kbit\", the sum",
    ),
    ("OK\nclass.vm1 = {rate='2kbit', queue='sfq'}", "class.vm1.queue", "\"sfq\"", "a table"),
    ("OK\nfilter = [{}]", "filter[0].class", "nothing", "what the filter matches"),
    ("OK\nfilter = [{class='c'}]", "filter[0].class", "\"c\"", "\"a\""),
    ("OK\nfilter = [{class='a', source='10.0.0'}]", "filter[0].source", "\"10.0.0\"", "a prefix"),
    (
        "OK\nfilter = [{class='a', source='10.0.0.1', destination='fd00::1'}]",
        "filter[0].destination",
        "fd00::1",
        "a prefix of IPv4",
    ),
    ("OK\nfilter = [{class='a', protocol='tpc'}]", "filter[0].protocol", "\"tpc\"", "\"tcp\", the nearest"),
    ("OK\nfilter = [{class='a', source_port='80-'}]", "filter[0].source_port", "\"80-\"", "a range"),
    (
        "OK\nfilter = [{class='a', protocol='icmp', destination_port=80}]",
        "filter[0].destination_port",
        "`destination_port`",
        "has ports",
    ),
    ("OK\nfilter = [{class='a', dscp=64}]", "filter[0].dscp", "64", "from 0 to 63"),
    ("OK\nfilter = [{class='a', mark=65536}]", "filter[0].mark", "65536", "from 1 to 65535"),
    ("OK\nfilter = [{class='a', network='x'}]", "filter[0].network", "\"x\"", "add [network.NAME]"),
    ("OK\nfilter = [{class='a', port='x'}]", "filter[0].port", "\"x\"", "add [port.NAME]"),
    ("OK\nfilter = [{class='a', group='x'}]", "filter[0].group", "\"x\"", "add [group.NAME]"),
];

/// Fields of `[qos.vm1.egress]`, as above.
const QUEUES: &[(&str, &str, &str, &str)] = &[
    ("packets = 1", "kind", "nothing", "\"fq-codel\""),
    ("kind = 'red'", "kind", "\"red\"", "one of \"fifo\""),
    ("kind = 'fifo'\npackets = 0", "packets", "0", "from 1 to 16777216"),
    ("kind = 'sfq'\npackets = 5000", "packets", "5000", "from 1 to 4096"),
    ("kind = 'sfq'\nmemory = '1MiB'", "memory", "`memory`", "\"sfq\" has packets, depth"),
    ("kind = 'fifo'\nmemory = '1B'", "memory", "\"1B\"", "from \"1600B\""),
    ("kind = 'sfq'\ndepth = 0", "depth", "0", "from 1 to 4096"),
    ("kind = 'sfq'\ndivisor = 65537", "divisor", "65537", "to 65536"),
    ("kind = 'sfq'\nquantum = 255", "quantum", "255", "from 256"),
    ("kind = 'sfq'\nperturb = 10", "perturb", "10", "a duration"),
    ("kind = 'fq-codel'\ntarget = '0ms'", "target", "\"0ms\"", "from \"1ms\""),
    ("kind = 'fq-codel'\ninterval = '61s'", "interval", "\"61s\"", "to \"60000ms\""),
    ("kind = 'fq-codel'\nflows = 0", "flows", "0", "from 1"),
    ("kind = 'fq-codel'\necn = 1", "ecn", "1", "true or false"),
    ("kind = 'fq-codel'\nce_threshold = 1", "ce_threshold", "1", "a duration"),
    ("kind = 'tbf'", "rate", "nothing", "like \"80mbit\""),
    ("kind = 'tbf'\nrate = '1mbit'\nburst = '1KiB'", "burst", "\"1KiB\"", "from \"1600B\""),
    ("kind = 'tbf'\nrate = '1mbit'\npeak = '1mbit'", "peak", "\"1mbit\"", "more than `rate`"),
    ("kind = 'tbf'\nrate = '1mbit'\npeak_burst = '2KiB'", "peak_burst", "`peak_burst`", "`peak` beside it"),
    ("kind = 'tbf'\nrate = '1mbit'\nqueue = 1", "queue", "1", "a table"),
    ("kind = 'prio'\nbands = []", "bands", "0 bands", "1 to 16"),
    ("kind = 'prio'\nbands = [1]", "bands[0]", "1", "a list of 1 to 16"),
    ("kind = 'prio'\npriomap = [0]", "priomap", "1 numbers", "a list of 16"),
    ("kind = 'prio'\npriomap = 0", "priomap", "0", "a list of 16 numbers from 0 to 2"),
    (
        "kind = 'tbf'\nrate = '1mbit'\nqueue = {kind='prio', bands=[{kind='tbf', rate='1mbit', queue={kind='fifo'}}]}",
        "queue.bands[0].queue",
        "a queue in three others",
        "as deep as it gets",
    ),
];

/// The text of a tree's case.
fn tree_text(fields: &str) -> String {
    let ok = "HTB\nrate = '1mbit'\ndefault = 'a'\nCLASS";
    let below = |place: u32| format!("class.c{place} = {{rate='1kbit', parent='c{}'}}\n", place - 1);
    let chain: String =
        ["class.c1 = {rate='1kbit'}\n".to_owned()].into_iter().chain((2..=32).map(below)).collect();
    let fields = fields
        .replace("CHAIN", &chain)
        .replace("OK", ok)
        .replace("HTB", "kind = 'htb'")
        .replace("CLASS", "class.a = {rate='500kbit'}");
    format!("[qos.vm1]\n{fields}")
}

/// Whether a case is about this field.
pub(super) fn has_case(path: &str) -> bool {
    let of_ingress = INGRESS.iter().any(|(_, field, ..)| path == format!("qos.vm1.ingress.{field}"));
    let of_tree = || {
        let case = |field: &str| format!("qos.vm1.{}", field.replace("filter[0]", "filter"));
        TREE.iter().any(|(_, field, ..)| path == case(field))
    };
    let of_queue = || QUEUES.iter().any(|(_, field, ..)| path == format!("qos.vm1.egress.{field}"));
    of_ingress || of_tree() || of_queue() || WRONG.iter().any(|case| case.2 == path)
}

#[test]
fn each_field_wrong_once_names_line_field_finding_and_remedy() {
    assert_told(whole(WRONG));
    let cases = |cases: &[(&str, &'static str, &'static str, &'static str)],
                 text: &dyn Fn(&str) -> String,
                 path: &str| {
        let mut missed = Vec::new();
        for (fields, field, found, expected) in cases {
            let problems = wrong(&text(fields));
            let is_told = problems.len() == 1
                && problems[0].field == format!("{path}.{field}")
                && problems[0].found.contains(found)
                && problems[0].expected.contains(expected);
            if !is_told {
                missed.push(format!("{fields}\n{problems:#?}"));
            }
        }
        assert!(missed.is_empty(), "{}", missed.join("\n\n"));
    };
    cases(INGRESS, &|fields| format!("[qos.vm1.ingress]\n{fields}"), "qos.vm1.ingress");
    cases(QUEUES, &|fields| format!("[qos.vm1.egress]\n{fields}"), "qos.vm1.egress");
    cases(TREE, &tree_text, "qos.vm1");
}

fn police(fields: &str) -> Police {
    right(&format!("[qos.a.ingress]\n{fields}")).qos["a"].ingress.unwrap()
}

#[test]
fn what_is_left_out_follows_from_the_rate() {
    let read = police("police = '50mbit'");
    let bits = Allowance { per_second: 50_000_000, burst: 128 << 10 };
    assert_eq!(
        (read.plan.committed.bits, read.plan.committed.packets, read.plan.peak),
        (Some(bits), None, None)
    );
    assert_eq!((read.plan.exceeding, read.shared), (Exceeding::Dropped, false));
    let read = police("police = '1gbit'\npackets = '100kpps'");
    assert_eq!(read.plan.committed.bits.unwrap().burst, 2_500_000);
    assert_eq!(read.plan.committed.packets.unwrap().burst, 2000);
}

#[test]
fn two_rates_mark_and_are_written_as_people_read_them() {
    let read = police(
        "police = '1gbit'\nburst = '1MiB'\npeak = '2gbit'\npackets = '1mpps'\npeak_packets = '2mpps'\n\
         peak_packet_burst = 1000\ncolour_aware = true\nshared = true",
    );
    assert_eq!(read.plan.exceeding, Exceeding::Marked(Dscp::LOWER_EFFORT));
    assert_eq!(
        read.to_string(),
        "police 1gbit burst 1MiB, packets 1mpps burst 20000, peak 2gbit burst 5000000B, peak_packets 2mpps burst 1000, \
         exceed mark le, colour-aware, shared"
    );
    assert_eq!(police("police = '8kbit'\nexceed = 'pass'").plan.exceeding, Exceeding::Passed);
    let marked = police("police = '8kbit'\nexceed = 'mark'\ndscp = 10");
    assert_eq!(marked.to_string(), "police 8kbit burst 128KiB, exceed mark af11");
}

#[test]
fn marks_are_read_and_written_as_people_read_them() {
    let marking = |fields: &str| right(&format!("[qos.a]\n{fields}")).qos["a"].marking.clone();
    assert_eq!(marking("ingress = {police='1mbit'}"), None, "who says nothing pays nothing");
    assert_eq!(*marking("trust = 'both'").unwrap(), Marking::default());
    let written = |fields: &str| written_marking(&marking(fields).unwrap());
    assert_eq!(written("trust = 'none'\nset = {dscp='af41', pcp=4}"), "trust none, set dscp af41 pcp 4");
    assert_eq!(
        written("trust = 'dscp'\nset = {pcp=4}\nmap = {dscp={46=6, le=0, af41=4}}\nmark = 7"),
        "trust dscp, set pcp 4, dscp le to pcp 0, dscp ef to pcp 6, mark 7"
    );
    assert_eq!(written("trust = 'pcp'\nmap = {pcp={5='ef', 6='cs6'}}"), "trust pcp, pcp 5 to dscp ef");
    let police = police("police = '8kbit'\nexceed = 'pass'\nexceed_mark = 9");
    assert_eq!(
        (police.plan.exceeding_mark, police.to_string().contains("exceed pass with mark 9")),
        (9, true)
    );
}

#[test]
fn what_exceeds_may_wait_at_guests_whose_rate_lets_a_frame_pass_within_a_second() {
    let read = police("police = '1mbit'\npackets = '250pps'\nexceed = 'wait'");
    assert_eq!(read.plan.exceeding, Exceeding::Waits);
    assert_eq!(read.to_string(), "police 1mbit burst 128KiB, packets 250pps burst 256, exceed wait");
}

#[test]
fn ports_and_uplinks_name_their_qos() {
    let config = right(
        "[qos.gold]\ningress = {police='1mbit'}\n[network.lab]\n[port.vm1]\nnetwork='lab'\nqos='gold'\n\
         [uplink.wan]\ninterface='eth1'\nqos='gold'",
    );
    assert_eq!(config.ports["vm1"].qos.as_deref(), Some("gold"));
    assert_eq!(config.uplinks["wan"].qos.as_deref(), Some("gold"));
}

/// Numbers for the names that are used below.
struct Numbers;

impl Numbered for Numbers {
    fn network(&self, name: &str) -> Option<NetworkIndex> {
        NetworkIndex::new(7).filter(|_| name == "lab")
    }
    fn outside(&self, _: &str) -> Option<NetworkIndex> {
        None
    }
    fn port(&self, name: &str) -> Option<PortIndex> {
        PortIndex::new(3).filter(|_| name == "vm1")
    }
    fn gateway(&self, _: &str) -> Option<MacAddress> {
        None
    }
}

fn tree(text: &str, name: &str) -> TreePlan {
    let group = |name: &str| GroupIndex::new(2).filter(|_| name == "web");
    let plan = right(text).qos[name].tree.as_ref().unwrap().resolve(&Numbers, group);
    assert_eq!(plan.check(), Ok(()));
    plan
}

fn mbit(rate: u64) -> BitRate {
    BitRate::new(rate * 1_000_000).unwrap()
}

#[test]
fn the_noisy_neighbours_tree_is_compiled_as_it_is_written() {
    let text = include_str!("../../../../examples/noisy-neighbour.toml");
    let TreePlan { root: RootPlan::Htb(HtbPlan { root, classes, default }), filters, .. } =
        tree(text, "shared")
    else {
        panic!("no classes");
    };
    assert_eq!((root.rate, root.ceil), (mbit(100), mbit(100)));
    let read: Vec<_> = classes.iter().map(|class| (&*class.name, class.shares)).collect();
    let shares = |rate| Shares::new(mbit(rate), mbit(100));
    assert_eq!(read, [("other", shares(10)), ("rest", shares(60)), ("web", shares(30))]);
    assert_eq!(&*classes[default.get()].name, "rest");
    assert_eq!(classes[0].queue, QueuePlan::Fifo(FifoPlan { frames: 5, ..FifoPlan::default() }));
    let QueuePlan::Sfq(sfq) = &classes[1].queue else { panic!("no sfq") };
    assert_eq!(sfq.perturb, Some(Nanos::from_seconds(10)));
    let wants: Vec<_> =
        filters.iter().map(|filter| (&*classes[filter.class.get()].name, filter.wants)).collect();
    let source = Some("1.2.3.4".parse().unwrap());
    let web = Match { source, destination_ports: Some((80, 80)), ..Match::default() };
    assert_eq!(wants, [("web", web), ("other", Match { source, ..Match::default() })]);
}

#[test]
fn every_field_of_a_tree_is_read_as_it_is_written() {
    let text = include_str!("../../../../examples/full.toml");
    let TreePlan { root: RootPlan::Htb(htb), filters, overhead_bytes, .. } = tree(text, "shared") else {
        panic!("no classes");
    };
    let place = |name: &str| htb.classes.iter().position(|class| &*class.name == name);
    let calls = &htb.classes[place("calls").unwrap()];
    assert_eq!(calls.parent.map(ClassIndex::get), place("office"));
    assert_eq!((overhead_bytes, calls.shares.ceil), (24, mbit(100)), "up to the tree's rate");
    let wants = filters[0].wants;
    assert_eq!((wants.network, wants.port), (NetworkIndex::new(7), PortIndex::new(3)));
    assert_eq!((wants.group, wants.dscp), (GroupIndex::new(2), Some(46)));
    let TreePlan { root: RootPlan::Queue(QueuePlan::Tbf(tbf)), .. } = tree(text, "silver") else {
        panic!("no tbf")
    };
    assert_eq!((tbf.rate, tbf.peak.map(|(peak, _)| peak)), (mbit(80), Some(mbit(100))));
    assert_eq!(right(text).qos["silver"].tree.as_ref().unwrap().to_string(), "tbf 80mbit");
}

#[test]
fn ten_thousand_classes_are_read() {
    let mut text = "[qos.vm1]\nkind='htb'\nrate='1gbit'\ndefault='c0'\n".to_owned();
    for number in 0..10_000 {
        writeln!(text, "class.c{number} = {{rate='64kbit', queue={{kind='fifo'}}}}").unwrap();
    }
    let RootPlan::Htb(htb) = tree(&text, "vm1").root else { panic!("no classes") };
    assert_eq!(htb.classes.len(), 10_000);
}
