//! `viaduct libvirt-hook`: what libvirt calls when a domain starts and ends (<https://libvirt.org/hooks.html>).
//!
//! It changes the running configuration as everybody does: reads it, adds or takes away the domain's ports, and puts it back if
//! nobody changed it meanwhile. Its ports are told from others by a comment, so that it never takes away what somebody wrote.

use std::io::Read as _;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use toml_edit::{Array, DocumentMut, Item, Table, TomlError, value};
use viaduct_qemu::{DomainPort, Field, domain_ports};

use super::failure::Failure;
use super::locate::Locate;
use crate::api::{Client, ClientError};

pub(super) const EXAMPLES: &str = "\
Example, as libvirt calls it when a domain has ended (docs/libvirt.md); before one starts it says `prepare begin`, with the
domain's XML on standard input:
  viaduct libvirt-hook vm1 release end -    takes away the ports that were made for vm1

Prints nothing, since libvirt takes what a hook prints for the domain.";

/// How long libvirt, which waits for its hooks, may be held up.
const LIMIT: Duration = Duration::from_secs(10);
/// Pause before another attempt, where somebody else changed the configuration meanwhile.
const RETRY: Duration = Duration::from_millis(10);
/// The longest domain that is read, in bytes.
const DOMAIN_BYTES_MAX: u64 = 4 << 20;

/// HTTP's status where another generation runs than was expected, and where too many come at once (RFC 9110, 15.5.13 and 15.6.4).
const TRY_AGAIN: [u16; 2] = [412, 503];

/// What libvirt says.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The domain's name
    domain: String,
    /// What happens to it: ports are made at `prepare` and `reconnect`, and go at `release`
    operation: String,
    /// libvirt's further words
    #[arg(hide = true, num_args = 0.., allow_hyphen_values = true)]
    further: Vec<String>,
}

/// Makes or takes away the ports of the domain that is read from standard input.
pub(super) fn hook(locate: &Locate, arguments: &Arguments) -> Result<String, Failure> {
    let makes = match arguments.operation.as_str() {
        "prepare" | "reconnect" => true,
        "release" => false,
        _ => return Ok(String::new()),
    };
    let wanted = if makes { wanted(arguments)? } else { Vec::new() };
    if makes && wanted.is_empty() {
        return Ok(String::new());
    }
    let (client, domain) = (locate.client()?, arguments.domain.clone());
    let (sender, receiver) = channel();
    // Who asks may be made to wait; libvirt is not.
    thread::spawn(move || _ = sender.send(change(&client, &domain, &wanted)));
    receiver.recv_timeout(LIMIT).unwrap_or_else(|_| {
        let limit_s = LIMIT.as_secs();
        Err(Failure::new(format!(
            "the switch did not answer within {limit_s} s; see its log, and start the domain again"
        )))
    })
}

fn wanted(arguments: &Arguments) -> Result<Vec<DomainPort>, Failure> {
    let mut xml = String::new();
    let read = std::io::stdin().take(DOMAIN_BYTES_MAX).read_to_string(&mut xml);
    read.map_err(|error| Failure::new(format!("cannot read the domain from standard input: {error}")))?;
    domain_ports(&xml).map_err(|error| Failure::new(format!("domain {}: {error}", arguments.domain)))
}

/// Until it is done or refused.
fn change(client: &Client, domain: &str, wanted: &[DomainPort]) -> Result<String, Failure> {
    let end = Instant::now() + LIMIT;
    loop {
        let (text, tag) = client.config()?;
        let changed = with_ports(&text, domain, wanted).map_err(Failure::new)?;
        if changed == text {
            return Ok(String::new());
        }
        match client.expecting(tag).put_config(changed.into_bytes(), false) {
            Ok(_) => return Ok(String::new()),
            Err(ClientError::Refused { status, .. })
                if TRY_AGAIN.contains(&status) && Instant::now() < end =>
            {
                thread::sleep(RETRY);
            }
            Err(ClientError::Refused { refusal, .. }) => {
                return Err(Failure::in_file(refusal, "the configuration with this domain's ports"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why a configuration cannot have a domain's ports.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("what runs is not understood: {0}; this is a bug, please report it")]
    Read(#[from] TomlError),
    #[error(
        "`port` is no table of what runs, which only somebody who edits it by hand can do: write [port.NAME]"
    )]
    NoTable,
    #[error(
        "port {0} is there already, and was not made for this domain: take it out of the domain's <metadata>, or out of the \
         configuration"
    )]
    Taken(String),
}

/// The configuration `text` with these ports for `domain`, and no others of it.
fn with_ports(text: &str, domain: &str, wanted: &[DomainPort]) -> Result<String, HookError> {
    let mark = mark(domain);
    let mut document: DocumentMut = text.parse()?;
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let ports =
        document.entry("port").or_insert(Item::Table(implicit)).as_table_mut().ok_or(HookError::NoTable)?;
    let is_marked = |item: &Item| {
        let prefix = item.as_table().and_then(|table| table.decor().prefix()?.as_str());
        prefix.is_some_and(|prefix| prefix.lines().any(|line| line == mark))
    };
    let same = wanted
        .iter()
        .all(|port| ports.get(&port.name).is_some_and(|item| is_marked(item) && says(item, port)));
    let marked = ports.iter().filter(|(_, item)| is_marked(item)).count();
    if same && marked == wanted.len() {
        return Ok(text.to_owned());
    }
    ports.retain(|_, item| !is_marked(item));
    for port in wanted {
        if ports.contains_key(&port.name) {
            return Err(HookError::Taken(port.name.clone()));
        }
        let mut table = table(port);
        table.decor_mut().set_prefix(format!("\n{mark}\n"));
        ports.insert(&port.name, Item::Table(table));
    }
    Ok(document.to_string())
}

/// The comment before a port that was made for a domain.
fn mark(domain: &str) -> String {
    format!("# made for the libvirt domain {domain:?}, and goes with it")
}

/// Whether a table has just the fields that a port would have.
fn says(item: &Item, port: &DomainPort) -> bool {
    item.as_table().is_some_and(|found| found.to_string() == table(port).to_string())
}

fn table(port: &DomainPort) -> Table {
    let mut table = Table::new();
    for (name, field) in &port.fields {
        let written = match field {
            Field::Text(text) => value(text),
            Field::List(words) => value(words.iter().collect::<Array>()),
            Field::Number(number) => value(i64::from(*number)),
        };
        table.insert(name, written);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\n[network.lab]\n\n[port.old] # stays\nnetwork = \"lab\"\n";

    fn port(name: &str) -> DomainPort {
        let text = |text: &str| Field::Text(text.to_owned());
        let groups = Field::List(vec!["web".to_owned()]);
        let fields = vec![("network", text("lab")), ("groups", groups), ("queues", Field::Number(2))];
        DomainPort { name: name.to_owned(), fields }
    }

    #[test]
    fn ports_come_and_go_and_nothing_else_changes() {
        let with = with_ports(FILE, "vm1", &[port("a"), port("b")]).unwrap();
        assert!(with.starts_with(FILE), "{with}");
        let table = "made for the libvirt domain \"vm1\", and goes with it\n[port.a]\nnetwork = \"lab\"\ngroups = [\"web\"]\nqueues = 2\n";
        assert!(with.contains(table), "{with}");
        assert_eq!(
            with_ports(&with, "vm1", &[port("a"), port("b")]).unwrap(),
            with,
            "a second time changes nothing"
        );
        let others = with_ports(&with, "vm2", &[port("c")]).unwrap();
        let left = with_ports(&others, "vm1", &[]).unwrap();
        assert!(
            !left.contains("[port.a]") && !left.contains("[port.b]") && left.contains("[port.c]"),
            "{left}"
        );
        assert_eq!(with_ports(&left, "vm2", &[]).unwrap(), FILE);
        assert_eq!(with_ports(FILE, "vm3", &[]).unwrap(), FILE, "who has none loses none");
        assert!(matches!(with_ports("port = 1\n", "vm3", &[port("a")]), Err(HookError::NoTable)));
    }

    #[test]
    fn a_domain_that_changed_has_other_ports() {
        let with = with_ports(FILE, "vm1", &[port("a")]).unwrap();
        let other = DomainPort { fields: vec![("network", Field::Text("lab".to_owned()))], ..port("a") };
        let changed = with_ports(&with, "vm1", &[other, port("b")]).unwrap();
        assert_eq!(
            (changed.matches("[port.a]").count(), changed.matches("queues = 2").count()),
            (1, 1),
            "{changed}"
        );
    }

    #[test]
    fn what_somebody_wrote_is_never_taken() {
        let error = with_ports(FILE, "vm1", &[port("old")]).unwrap_err().to_string();
        assert!(error.contains("port old is there already"), "{error}");
        let of_another = with_ports(FILE, "vm2", &[port("a")]).unwrap();
        assert!(with_ports(&of_another, "vm1", &[port("a")]).is_err());
        let newline = with_ports("", "a\n[port.x]", &[port("a")]).unwrap();
        assert_eq!(
            newline.matches("[port.").count(),
            2 - 1 + newline.matches("\\n[port.x]").count(),
            "{newline}"
        );
    }
}
