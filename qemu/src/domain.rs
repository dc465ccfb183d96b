//! What a libvirt domain says in its `<metadata>` about the ports that its NICs are plugged into.

use roxmltree::{Document, Node, ParsingOptions};

/// The XML namespace of the elements.
pub const NAMESPACE: &str = "urn:viaduct:libvirt:1";

/// Elements, attributes and texts that a domain may have: a large one has some hundreds.
const NODES_MAX: u32 = 100_000;
/// Ports of one domain: PCI has room for fewer NICs.
const PORTS_MAX: usize = 256;

/// A port that a domain wants, as a table of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomainPort {
    /// Its name.
    pub name: String,
    /// Fields of `[port.NAME]`, with `network` among them.
    pub fields: Vec<(&'static str, Field)>,
}

/// A field's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    /// A text.
    Text(String),
    /// Texts, separated by commas in the attribute.
    List(Vec<String>),
    /// A number.
    Number(u16),
}

/// Why a domain's ports are not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DomainError {
    /// It is no XML.
    #[error("the domain is no XML: {0}")]
    NoXml(#[from] roxmltree::Error),
    /// An element of ours that does not exist.
    #[error(
        "<metadata> of the domain: there is no element `{name}` in {NAMESPACE}; <port name='...' network='...'/> belongs into <guest>"
    )]
    Element {
        /// Its name.
        name: String,
    },
    /// An attribute that does not exist, is missing or is wrong.
    #[error(
        "<metadata> of the domain, port {port}: {what}; a port has name and network, and may have {}",
        in_words()
    )]
    Attribute {
        /// The port, or `?`.
        port: String,
        /// What is wrong.
        what: String,
    },
    /// Two ports with one name, or too many.
    #[error("<metadata> of the domain: port {port} is one too many: each name once, and at most {PORTS_MAX}")]
    TooMany {
        /// Its name.
        port: String,
    },
}

/// The attributes of a port, in the order in which they are written, and how each is read.
const ATTRIBUTES: [(&str, Kind); 7] = [
    ("network", Kind::Text),
    ("mac", Kind::Text),
    ("addresses", Kind::List),
    ("groups", Kind::List),
    ("qos", Kind::Text),
    ("queues", Kind::Number),
    ("mtu", Kind::Number),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    List,
    Number,
}

fn in_words() -> String {
    ATTRIBUTES[1..].iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The ports that the domain in `xml` wants: none, unless its `<metadata>` has a `<guest>` of [`NAMESPACE`]. Address and queues
/// are those of the domain's NIC at the port's socket, unless they are said.
///
/// # Errors
/// What is wrong about them.
pub fn domain_ports(xml: &str) -> Result<Vec<DomainPort>, DomainError> {
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(xml, options)?;
    let domain = document.root_element();
    let guests = children(domain, "metadata").flat_map(|metadata| metadata.children());
    let mut ports: Vec<DomainPort> = Vec::new();
    for guest in guests.filter(|node| is_ours(*node)) {
        expect(guest, "guest")?;
        for node in guest.children().filter(Node::is_element) {
            expect(node, "port")?;
            let port = port(node, domain)?;
            if ports.len() == PORTS_MAX || ports.iter().any(|other| other.name == port.name) {
                return Err(DomainError::TooMany { port: port.name });
            }
            ports.push(port);
        }
    }
    Ok(ports)
}

fn is_ours(node: Node<'_, '_>) -> bool {
    node.is_element() && node.tag_name().namespace() == Some(NAMESPACE)
}

fn expect(node: Node<'_, '_>, name: &str) -> Result<(), DomainError> {
    let found = node.tag_name().name();
    if is_ours(node) && found == name { Ok(()) } else { Err(DomainError::Element { name: found.to_owned() }) }
}

fn children<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn port(node: Node<'_, '_>, domain: Node<'_, '_>) -> Result<DomainPort, DomainError> {
    let name = node.attribute("name").unwrap_or("?").to_owned();
    let wrong = |what: String| DomainError::Attribute { port: name.clone(), what };
    let known = |name: &str| name == "name" || ATTRIBUTES.iter().any(|(known, _)| *known == name);
    if let Some(other) = node.attributes().find(|attribute| !known(attribute.name())) {
        return Err(wrong(format!("there is no attribute `{}`", other.name())));
    }
    if let Some(missing) = ["name", "network"].into_iter().find(|name| !node.has_attribute(*name)) {
        return Err(wrong(format!("`{missing}` is missing")));
    }
    let nic = nic(domain, &name);
    let of_nic = |attribute: &str| match attribute {
        "mac" => nic.and_then(|nic| children(nic, "mac").next()?.attribute("address")),
        "queues" => nic.and_then(|nic| children(nic, "driver").next()?.attribute("queues")),
        _ => None,
    };
    let mut fields = Vec::new();
    for (attribute, kind) in ATTRIBUTES {
        let Some(text) = node.attribute(attribute).or_else(|| of_nic(attribute)) else { continue };
        let value = field(kind, text)
            .ok_or_else(|| wrong(format!("`{attribute}` is \"{text}\", which is no number")))?;
        fields.push((attribute, value));
    }
    Ok(DomainPort { name, fields })
}

fn field(kind: Kind, text: &str) -> Option<Field> {
    match kind {
        Kind::Text => Some(Field::Text(text.trim().to_owned())),
        Kind::List => Some(Field::List(
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        )),
        Kind::Number => text.trim().parse().ok().map(Field::Number),
    }
}

/// The NIC at the socket of the port `name`: `.../NAME.sock`.
fn nic<'a, 'input>(domain: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    let end = format!("/{name}.sock");
    let at = |nic: &Node<'_, '_>| {
        children(*nic, "source")
            .any(|source| source.attribute("path").is_some_and(|path| path.ends_with(&end)))
    };
    children(domain, "devices").flat_map(|devices| children(devices, "interface")).find(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(ports: &str) -> String {
        format!(
            "<domain type='kvm'><name>vm1</name><metadata>
               <other:thing xmlns:other='http://example.org/' port='9'/>
               <v:guest xmlns:v='{NAMESPACE}'>{ports}</v:guest>
             </metadata><devices>
               <interface type='vhostuser'><mac address='52:54:00:00:00:01'/>
                 <source type='unix' path='/run/viaduct/vm1.sock' mode='client'/><driver queues='4'/></interface>
               <interface type='network'><mac address='52:54:00:00:00:02'/><source network='default'/></interface>
             </devices></domain>"
        )
    }

    fn text(text: &str) -> Field {
        Field::Text(text.to_owned())
    }

    #[test]
    fn ports_come_with_what_the_nic_says() {
        let ports = domain_ports(&domain(
            "<v:port name='vm1' network='lab' groups='web, db'/>
             <v:port name='vm1-b' network='storage' mac='52:54:00:00:00:09' mtu='9000' addresses='10.0.0.9'/>",
        ));
        let list = |words: &[&str]| Field::List(words.iter().map(|word| (*word).to_owned()).collect());
        let first = vec![
            ("network", text("lab")),
            ("mac", text("52:54:00:00:00:01")),
            ("groups", list(&["web", "db"])),
            ("queues", Field::Number(4)),
        ];
        let second = vec![
            ("network", text("storage")),
            ("mac", text("52:54:00:00:00:09")),
            ("addresses", list(&["10.0.0.9"])),
            ("mtu", Field::Number(9000)),
        ];
        let port = |name: &str, fields| DomainPort { name: name.to_owned(), fields };
        assert_eq!(ports.unwrap(), [port("vm1", first), port("vm1-b", second)]);
    }

    #[test]
    fn other_domains_want_nothing() {
        for xml in ["<domain/>", "<domain><metadata/></domain>", &domain("")] {
            assert_eq!(domain_ports(xml), Ok(Vec::new()), "{xml}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let cases = [
            ("<v:port network='lab'/>", "`name` is missing"),
            ("<v:port name='vm1'/>", "port vm1: `network` is missing"),
            ("<v:port name='vm1' network='lab' grups='web'/>", "no attribute `grups`"),
            ("<v:port name='vm1' network='lab' queues='many'/>", "`queues` is \"many\""),
            ("<v:nic name='vm1'/>", "no element `nic`"),
            ("<port name='vm1' network='lab'/>", "no element `port`"),
            ("<v:port name='a' network='lab'/><v:port name='a' network='lab'/>", "port a is one too many"),
        ];
        for (ports, told) in cases {
            let error = domain_ports(&domain(ports)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let wrong = |ports| domain_ports(&domain(ports));
        assert!(matches!(wrong("<v:nic name='vm1'/>"), Err(DomainError::Element { .. })));
        assert!(matches!(wrong("<v:port name='vm1'/>"), Err(DomainError::Attribute { .. })));
        for xml in ["", "<domain", "<!DOCTYPE d [<!ENTITY a 'b'>]><domain>&a;</domain>"] {
            assert!(matches!(domain_ports(xml), Err(DomainError::NoXml(_))), "{xml}");
        }
    }
}
