//! `viaduct qemu-args` and `viaduct libvirt-xml`: the other end of a port, by copy and paste.

use serde::Serialize;
use viaduct_qemu::{DOMAIN_NEEDS, GuestPort, guest_memory_args, libvirt_interface, shell_word};

use super::failure::Failure;
use super::{Style, json};

/// A number and its unit: without one, QEMU's `-m` would mean MiB and its memory backend bytes.
pub(super) fn memory_size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(['M', 'G', 'T']);
    let right = digits.parse::<u32>().is_ok_and(|number| number > 0) && text.len() == digits.len() + 1;
    if right { Ok(text.to_owned()) } else { Err("write a number with M, G or T, like 512M or 4G".to_owned()) }
}

/// The options of QEMU's command line, ready for a shell; with `memory` those of the guest's memory too.
pub(super) fn qemu_args(port: &GuestPort, memory: Option<&String>, style: Style) -> Result<String, Failure> {
    let mut arguments = memory.map(|size| guest_memory_args(size)).unwrap_or_default();
    arguments.extend(viaduct_qemu::qemu_args(port));
    if style.json {
        let words: Vec<&str> = arguments.iter().flat_map(|arg| [arg.option, arg.value.as_str()]).collect();
        return json(&words);
    }
    let lines: Vec<String> =
        arguments.iter().map(|arg| format!("{} {}", arg.option, shell_word(&arg.value))).collect();
    Ok(lines.join(" \\\n") + "\n")
}

#[derive(Serialize)]
struct LibvirtXml {
    interface: String,
    domain: &'static str,
}

/// The interface element, after a comment with what the domain must have.
pub(super) fn libvirt_xml(port: &GuestPort, style: Style) -> Result<String, Failure> {
    let interface = libvirt_interface(port);
    if style.json {
        return json(&LibvirtXml { interface, domain: DOMAIN_NEEDS });
    }
    Ok(format!(
        "<!-- The domain must have, beside its memory, what the switch can map:\n{DOMAIN_NEEDS}-->\n{interface}"
    ))
}

#[cfg(test)]
mod tests {
    use viaduct_qemu::Listener;

    use super::*;

    const PLAIN: Style = Style { json: false, colour: false };

    fn port() -> GuestPort {
        GuestPort {
            name: "vm1".to_owned(),
            socket: "/run/a b,c.sock".to_owned(),
            listener: Listener::Switch,
            mac: "52:54:00:00:00:01".to_owned(),
            queues: 2,
            mtu: 1500,
            packed: false,
        }
    }

    #[test]
    fn a_shell_reads_the_same_words_that_programs_get() {
        let size = "1G".to_owned();
        let text = qemu_args(&port(), Some(&size), PLAIN).unwrap();
        let script = format!("for word in {}; do printf '%s\\n' \"$word\"; done", text.trim_end());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let words: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        let style = Style { json: true, ..PLAIN };
        let expected: Vec<String> =
            serde_json::from_str(&qemu_args(&port(), Some(&size), style).unwrap()).unwrap();
        assert_eq!(words, expected);
        assert_eq!((words[0].as_str(), words[1].as_str()), ("-m", "1G"));
        assert!(words.iter().any(|word| word.contains("path=/run/a b,,c.sock,")));
    }

    #[test]
    fn the_guests_memory_can_be_left_out() {
        assert!(!qemu_args(&port(), None, PLAIN).unwrap().contains("memfd"));
    }

    #[test]
    fn a_size_of_memory_has_a_number_and_one_unit() {
        for right in ["512M", "4G", "1T"] {
            memory_size(right).unwrap();
        }
        for wrong in ["", "0M", "M", "2048", "4GG", "4g,share=off", "-1G", "1.5G"] {
            memory_size(wrong).unwrap_err();
        }
    }

    #[test]
    fn the_domains_needs_come_as_a_comment() {
        let text = libvirt_xml(&port(), PLAIN).unwrap();
        let (comment, element) = text.split_once("-->\n").unwrap();
        assert!(comment.starts_with("<!--") && comment.contains("<source type='memfd'/>"));
        assert!(!comment[4..].contains("--"), "a comment of XML must not contain --");
        assert!(element.starts_with("<interface type='vhostuser'>"));
    }
}
