//! The text format of Prometheus, made of OpenMetrics' text.
//!
//! They differ in what is said about a counter, whose samples end in `_total`: OpenMetrics names the family without that, the
//! older format with it, and has neither `UNIT` nor `EOF`.

/// The same in the format 0.0.4.
pub(super) fn of(open: &str) -> String {
    let mut text = String::with_capacity(open.len() + open.len() / 16);
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE "));
            let suffix = suffix_of(kind.unwrap_or_default());
            let (name, sentence) = help.split_once(' ').unwrap_or((help, ""));
            text.extend(["# HELP ", name, suffix, " ", sentence, "\n"]);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, word) = kind.split_once(' ').unwrap_or((kind, "untyped"));
            text.extend(["# TYPE ", name, suffix_of(kind), " ", word, "\n"]);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.extend([line, "\n"]);
        }
    }
    text
}

fn suffix_of(kind: &str) -> &'static str {
    if kind.ends_with(" counter") { "_total" } else { "" }
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_named_with_their_suffix() {
        let open = "# HELP a_frames Frames.\n# TYPE a_frames counter\na_frames_total{port=\"x\"} 7\n\
                    # HELP b Up.\n# TYPE b gauge\n# UNIT b seconds\nb 1\n# EOF\n";
        let classic = "# HELP a_frames_total Frames.\n# TYPE a_frames_total counter\na_frames_total{port=\"x\"} 7\n\
                       # HELP b Up.\n# TYPE b gauge\nb 1\n";
        assert_eq!(super::of(open), classic);
    }
}
