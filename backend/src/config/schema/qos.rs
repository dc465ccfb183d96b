//! The fields of policing and shaping.

use super::{Table, now};

/// `[qos.NAME]`
pub const QOS: Table = Table {
    heading: "qos.NAME",
    fields: &[
        now("ingress", "a table", "none"),
        now("trust", "\"both\", \"dscp\", \"pcp\", \"none\"", "\"both\""),
        now("set", "a table", "none"),
        now("map", "a table", "class selectors"),
        now("mark", MARK, "none"),
        now("egress", "a table", "none"),
        now("kind", "\"htb\"", "none"),
        now("rate", TREE_RATE, ""),
        now(
            "burst",
            TREE_BURST,
            "16 ms of the rate up to 10 Mbit/s, 20,000 bytes up to 32 Mbit/s, else 5 ms",
        ),
        now("default", "a class's name", ""),
        now("class", "a table for each class", ""),
        now("filter", "a list of tables", "[]"),
        now("overhead", "a number from -64 to 1024", "0"),
        now("packets", "a number from 1 to 1048576", "16384"),
        now("memory", "bytes from \"64KiB\" to \"1GiB\"", "\"16MiB\""),
    ],
};

const TREE_RATE: &str = "bits a second from \"1kbit\" to \"400gbit\"";
const TREE_BURST: &str = "bytes from \"1600B\" to \"1GiB\"";

const MARK: &str = "a number from 1 to 65535";
const DSCP: &str = "a DSCP's name, or a number from 0 to 63";

/// `[qos.NAME.set]`
pub const QOS_SET: Table = Table {
    heading: "qos.NAME.set",
    fields: &[now("dscp", DSCP, "what is trusted"), now("pcp", "a number from 0 to 7", "what is trusted")],
};

/// `[qos.NAME.map]`
pub const QOS_MAP: Table = Table {
    heading: "qos.NAME.map",
    fields: &[
        now("dscp", "a table like { ef = 5, af41 = 4 }", "the upper three bits, and { le = 1 }"),
        now("pcp", "a table like { 5 = \"ef\" }", "\"cs0\" to \"cs7\""),
    ],
};

/// `[qos.NAME.class.NAME]`
pub const QOS_CLASS: Table = Table {
    heading: "qos.NAME.class.NAME",
    fields: &[
        now("rate", TREE_RATE, ""),
        now("ceil", TREE_RATE, "the tree's rate"),
        now(
            "burst",
            TREE_BURST,
            "16 ms of the rate up to 10 Mbit/s, 20,000 bytes up to 32 Mbit/s, else 5 ms",
        ),
        now(
            "cburst",
            TREE_BURST,
            "16 ms of the ceil up to 10 Mbit/s, 20,000 bytes up to 32 Mbit/s, else 5 ms",
        ),
        now("quantum", "a number from 256 to 1073741824", "in proportion to the rate"),
        now("prio", "a number from 0 to 7", "0"),
        now("parent", "a class's name", "the root"),
        now("queue", "a table like `[qos.NAME.egress]`", "{ kind = \"fq-codel\" }"),
    ],
};

const MILLISECONDS: &str = "a duration from \"1ms\" to \"60000ms\"";

/// `[qos.NAME.egress]`, and a class's `queue`
pub const QOS_QUEUE: Table = Table {
    heading: "qos.NAME.egress",
    fields: &[
        now("kind", "\"fifo\", \"sfq\", \"fq-codel\", \"tbf\", \"prio\"", ""),
        now("packets", "a number from 1 to 16777216", "1000, with fq-codel 10240, with sfq 127"),
        now("memory", "bytes from \"1600B\" to \"16GiB\"", "the tree's, with fq-codel \"32MiB\""),
        now("depth", "a number from 1 to 4096", "127, or packets if that is less"),
        now("divisor", "a number from 1 to 65536", "1024"),
        now("quantum", "a number from 256 to 1048576", "1514"),
        now("perturb", "a duration from \"1ms\" to \"86400000ms\"", "none"),
        now("target", MILLISECONDS, "\"5ms\""),
        now("interval", MILLISECONDS, "\"100ms\""),
        now("flows", "a number from 1 to 65536", "1024"),
        now("ecn", "true, false", "true"),
        now("ce_threshold", MILLISECONDS, "none"),
        now("rate", TREE_RATE, ""),
        now(
            "burst",
            TREE_BURST,
            "16 ms of the rate up to 10 Mbit/s, 20,000 bytes up to 32 Mbit/s, else 5 ms",
        ),
        now("peak", TREE_RATE, "none"),
        now(
            "peak_burst",
            TREE_BURST,
            "16 ms of the peak up to 10 Mbit/s, 20,000 bytes up to 32 Mbit/s, else 5 ms",
        ),
        now("queue", "a table like `[qos.NAME.egress]`", "{ kind = \"fq-codel\" }"),
        now("bands", "a list of 1 to 16 tables like `[qos.NAME.egress]`", "three of { kind = \"fifo\" }"),
        now("priomap", "a list of 16 numbers", "that of pfifo_fast"),
    ],
};

/// `[[qos.NAME.filter]]`
pub const QOS_FILTER: Table = Table {
    heading: "qos.NAME.filter",
    fields: &[
        now("class", "a class's name", ""),
        now("source", "a prefix or an IP address", "any"),
        now("destination", "a prefix or an IP address", "any"),
        now("protocol", "a name or a number from 0 to 255", "any"),
        now("source_port", "a port or a range", "any"),
        now("destination_port", "a port or a range", "any"),
        now("dscp", DSCP, "any"),
        now("network", "a network's name", "any"),
        now("port", "a port's or an uplink's name", "any"),
        now("group", "a group's name", "any"),
        now("mark", MARK, "any"),
    ],
};

const BIT_RATE: &str = "bits a second from \"8kbit\" to \"400gbit\"";
const PACKET_RATE: &str = "packets a second from \"1pps\" to \"400mpps\"";
const BURST: &str = "bytes from \"72KiB\" to \"4GiB\"";
const PACKET_BURST: &str = "a number from 128 to 1000000";

/// `[qos.NAME.ingress]`
pub const QOS_INGRESS: Table = Table {
    heading: "qos.NAME.ingress",
    fields: &[
        now("police", BIT_RATE, "any"),
        now("burst", BURST, "20 ms of the rate, or \"128KiB\" if that is more"),
        now("packets", PACKET_RATE, "any"),
        now("packet_burst", PACKET_BURST, "20 ms of the rate, or 256 if that is more"),
        now("peak", BIT_RATE, "none"),
        now("peak_burst", BURST, "as burst"),
        now("peak_packets", PACKET_RATE, "none"),
        now("peak_packet_burst", PACKET_BURST, "as packet_burst"),
        now("exceed", "\"drop\", \"mark\", \"pass\", \"wait\"", "\"drop\", or \"mark\" beside a peak"),
        now("dscp", DSCP, "\"le\""),
        now("exceed_mark", MARK, "none"),
        now("colour_aware", "true, false", "false"),
        now("shared", "true, false", "false"),
    ],
};
