//! Messages about links: rtnetlink(7), linux/if_link.h.
//!
//! Only the few attributes that matter are read, and what a newer kernel adds is passed over.

use netlink_packet_core::{
    Emitable, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NlasIterator, parse_mac, parse_u32,
};
use viaduct_switch::MacAddress;

use super::Link;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
const ARPHRD_ETHER: u16 = 1;

/// `struct nlmsghdr` and `struct ifinfomsg` in bytes.
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;

/// What the kernel says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// A link is there, or is otherwise than before.
    New(Link),
    /// The link with this number left the namespace.
    Gone(u32),
    /// The question with this message's sequence number has no answer: for example ENODEV.
    Refused,
}

/// A question for the link of this name, which has to be shorter than 16 bytes.
pub(super) fn query(name: &str, sequence: u32) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let length = HEADER + LINK_HEADER + attribute.next_multiple_of(4);
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.message_type = RTM_GETLINK;
    header.flags = NLM_F_REQUEST;
    header.sequence_number = sequence;
    let mut bytes = vec![0; length];
    header.emit(&mut bytes[..HEADER]);
    let value = &mut bytes[HEADER + LINK_HEADER..];
    value[..2].copy_from_slice(&u16::try_from(attribute).unwrap_or(u16::MAX).to_ne_bytes());
    value[2..4].copy_from_slice(&IFLA_IFNAME.to_ne_bytes());
    value[4..4 + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// The messages about links in one datagram, each with its sequence number.
pub(super) fn messages(mut datagram: &[u8]) -> Vec<(u32, Message)> {
    let mut found = Vec::new();
    while let Ok(buffer) = NetlinkBuffer::new_checked(datagram) {
        found.extend(message(&buffer).map(|message| (buffer.sequence_number(), message)));
        let length = usize::try_from(buffer.length()).unwrap_or(usize::MAX);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn message(buffer: &NetlinkBuffer<&[u8]>) -> Option<Message> {
    let payload = buffer.payload();
    match buffer.message_type() {
        NLMSG_ERROR => Some(Message::Refused),
        RTM_NEWLINK if is_about_the_link(payload) => link(payload).map(Message::New),
        RTM_DELLINK if is_about_the_link(payload) => index(payload).map(Message::Gone),
        _ => None,
    }
}

/// Bridges and protocols tell by the same messages of their own settings for a link, each with its address family.
fn is_about_the_link(payload: &[u8]) -> bool {
    payload.first() == Some(&0)
}

/// The word at `at` of a `struct ifinfomsg`: family, padding, type (2 bytes), index, flags, change mask.
fn word(payload: &[u8], at: usize) -> Option<u32> {
    parse_u32(payload.get(at..at + 4)?).ok()
}

fn index(payload: &[u8]) -> Option<u32> {
    word(payload, 4)
}

fn link(payload: &[u8]) -> Option<Link> {
    let flags = word(payload, 8)?;
    let is_ethernet = payload.get(2..4)? == ARPHRD_ETHER.to_ne_bytes();
    let mut link = Link {
        index: index(payload)?,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..Link::default()
    };
    for attribute in NlasIterator::new(payload.get(LINK_HEADER..)?) {
        let Ok(attribute) = attribute else { break };
        match attribute.kind() {
            IFLA_IFNAME => link.name = text(attribute.value()),
            IFLA_MTU => link.mtu = parse_u32(attribute.value()).ok()?,
            IFLA_ADDRESS if is_ethernet => link.mac = parse_mac(attribute.value()).ok().map(MacAddress),
            IFLA_LINKINFO => link.kind = kind(attribute.value()),
            _ => {}
        }
    }
    Some(link)
}

fn kind(info: &[u8]) -> Option<String> {
    let mut attributes = NlasIterator::new(info).map_while(Result::ok);
    attributes.find(|attribute| attribute.kind() == IFLA_INFO_KIND).map(|attribute| text(attribute.value()))
}

/// A text, which ends before its first zero.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn told(kind: u16, family: u8, index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = vec![family, 0];
        payload.extend(ARPHRD_ETHER.to_ne_bytes());
        payload.extend([index, flags, 0].iter().flat_map(|word| word.to_ne_bytes()));
        payload.extend(attributes.iter().flatten());
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(HEADER + payload.len()).unwrap();
        header.message_type = kind;
        header.sequence_number = 7;
        let mut bytes = vec![0; HEADER];
        header.emit(&mut bytes);
        bytes.extend(payload);
        bytes
    }

    fn eth1() -> Vec<u8> {
        let attributes = [
            attribute(IFLA_IFNAME, b"eth1\0"),
            attribute(4711, b"of a newer kernel"),
            attribute(IFLA_MTU, &9000_u32.to_ne_bytes()),
            attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
            attribute(IFLA_LINKINFO | 0x8000, &attribute(IFLA_INFO_KIND, b"veth\0")),
        ];
        told(RTM_NEWLINK, 0, 5, IFF_UP | IFF_LOWER_UP, &attributes)
    }

    #[test]
    fn a_link_is_read_and_unknown_attributes_are_passed_over() {
        let expected = Link {
            index: 5,
            name: "eth1".to_owned(),
            up: true,
            carrier: true,
            mtu: 9000,
            mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            kind: Some("veth".to_owned()),
        };
        assert_eq!(messages(&eth1()), [(7, Message::New(expected))]);
    }

    #[test]
    fn what_a_bridge_says_about_its_port_is_not_about_the_link() {
        assert_eq!(messages(&told(RTM_DELLINK, 7, 5, 0, &[])), []);
        assert_eq!(messages(&told(RTM_DELLINK, 0, 5, 0, &[])), [(7, Message::Gone(5))]);
    }

    #[test]
    fn several_messages_come_in_one_datagram_and_a_cut_one_ends_it() {
        let mut datagram = [eth1(), told(RTM_DELLINK, 0, 6, 0, &[]), eth1()].concat();
        assert_eq!(messages(&datagram).len(), 3);
        for length in 0..datagram.len() {
            datagram.truncate(length);
            messages(&datagram);
            datagram = [eth1(), told(RTM_DELLINK, 0, 6, 0, &[]), eth1()].concat();
        }
    }

    #[test]
    fn lengths_that_lie_are_no_panic() {
        let good = eth1();
        for at in 0..good.len() {
            for value in [0, 1, 3, 5, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                messages(&bad);
            }
        }
    }

    #[test]
    fn a_question_has_the_kernels_shape() {
        let bytes = query("eth1", 9);
        let buffer = NetlinkBuffer::new_checked(bytes.as_slice()).unwrap();
        assert_eq!((buffer.message_type(), buffer.sequence_number(), bytes.len()), (RTM_GETLINK, 9, 44));
        let mut attributes = NlasIterator::new(&buffer.payload()[LINK_HEADER..]);
        let name = attributes.next().unwrap().unwrap();
        assert_eq!((name.kind(), text(name.value())), (IFLA_IFNAME, "eth1".to_owned()));
    }
}
