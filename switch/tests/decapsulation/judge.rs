//! What must hold for decapsulation whatever bytes come: the corpus's test asks it, and the fuzzer (`switch/fuzz`).

use std::cell::RefCell;

use viaduct_switch::meter::dscp::traffic_class;
use viaduct_switch::tunnel::{Admission, Kind};
use viaduct_switch::{DropReason, Frame};

use super::host::{Host, WITH_TAGS, ends, is_same, tenant};
use super::reader::{LOCAL, PEER, has_other_tags, read};

/// The longest frame that is looked at in bytes: one of an underlay with large packets.
const LENGTH_MAX: usize = 9216;

/// The kind of a tunnel by which a frame came, and whether over IPv6.
pub(crate) type Way = (Kind, bool);

thread_local! {
    static HOSTS: RefCell<(Host, Host)> = RefCell::new((Host::new(LOCAL, PEER), Host::new(PEER, LOCAL)));
}

/// Takes the bytes for a frame that comes in by an uplink, as they are and with the checksum of the IPv4 header mended, and for one that
/// leaves by tunnels of all kinds; says by which ways they came in.
pub(crate) fn judge(bytes: &[u8]) -> Vec<Way> {
    let bytes = &bytes[..bytes.len().min(LENGTH_MAX)];
    HOSTS.with_borrow_mut(|(here, there)| {
        let frames = [bytes.to_vec(), mended(bytes)];
        let ways = frames.iter().filter_map(|frame| decapsulate(here, frame)).collect();
        if bytes.len() >= 14 {
            (0..ends().count()).for_each(|end| there_and_back(here, there, end, bytes));
        }
        ways
    })
}

/// What is taken off is what another reader takes off; what is inside lies inside of what came, and is what stood there.
fn decapsulate(host: &mut Host, bytes: &[u8]) -> Option<Way> {
    let (admission, frame) = host.admit(bytes);
    let expected = read(bytes);
    match admission {
        _ if has_other_tags(bytes) => None,
        Admission::Inner(taken) => {
            let inner = expected.unwrap_or_else(|| panic!("only the switch takes this for a tunnel's frame"));
            assert_eq!(
                (usize::from(taken), frame.meta.length as usize),
                (inner.bytes.start, inner.bytes.len())
            );
            let network = tenant(inner.end, inner.segment);
            assert_eq!(frame.meta.tag.map(|tag| tag.network), Some(network));
            let (end, vtep) = host.vtep(frame.meta.source).expect("its source is a VTEP");
            assert!(end == inner.end && is_same(vtep, inner.vtep), "{end} {vtep}: {inner:?}");
            assert_is_inside(&frame, &bytes[inner.bytes.clone()], inner.is_congested);
            let end = ends().nth(inner.end)?;
            Some((end.kind, end.is_v6))
        }
        Admission::Plain | Admission::Refused(_) => {
            assert_unchanged(admission, &frame, bytes);
            let is_told = admission == Admission::Refused(DropReason::TunnelCongestion);
            let expected = expected.filter(|inner| !(inner.is_congested && is_told));
            assert_eq!(expected, None, "only the switch refuses it: {admission:?}");
            None
        }
    }
}

/// The head is the beginning of the inner frame, but for what tells of congestion.
fn assert_is_inside(frame: &Frame<()>, inner: &[u8], is_congested: bool) {
    let head = frame.head.bytes();
    assert!((14..=inner.len()).contains(&head.len()), "{} of {}", head.len(), inner.len());
    if is_congested {
        // It stands in the traffic class, behind tags perhaps, and in the header's checksum.
        assert_eq!(head[..12], inner[..12]);
        let different = head.iter().zip(inner).filter(|(one, other)| one != other).count();
        assert!(different <= 3, "{different} bytes were changed");
    } else {
        assert_eq!(head, &inner[..head.len()]);
    }
}

/// A frame that is none of a tunnel's is left as it is.
fn assert_unchanged(admission: Admission, frame: &Frame<()>, bytes: &[u8]) {
    if admission == Admission::Plain {
        assert_eq!(frame.head.bytes(), &bytes[..frame.head.bytes().len()]);
        assert_eq!(frame.meta.length as usize, bytes.len());
    }
}

/// What encapsulation makes, decapsulation at the other end takes back.
fn there_and_back(here: &Host, there: &mut Host, end: usize, inner: &[u8]) {
    let class = traffic_class(&inner[..inner.len().min(128)]).unwrap_or(0);
    let whole = here.wrap(end, WITH_TAGS, inner, class);
    let (admission, frame) = there.admit(&whole);
    assert_eq!(admission, Admission::Inner(u16::try_from(whole.len() - inner.len()).unwrap()));
    assert_eq!(frame.meta.source, there.peers[end]);
    assert_eq!(frame.meta.tag.map(|tag| tag.network), Some(tenant(end, WITH_TAGS)));
    assert_eq!(frame.meta.length as usize, inner.len());
    assert_eq!(frame.head.bytes(), &inner[..frame.head.bytes().len()]);
}

/// The same bytes with a right checksum in the IPv4 header, which no fuzzer guesses.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = if bytes.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 };
    let header_len = bytes.get(at).map_or(0, |first| usize::from(first & 15) * 4);
    if let Some(header) = bytes.get_mut(at..at + header_len)
        && header_len >= 20
    {
        header[10..12].fill(0);
        let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let [high, low] = (!sum).to_be_bytes()[2..] else { return bytes };
        header[10..12].copy_from_slice(&[high, low]);
    }
    bytes
}
