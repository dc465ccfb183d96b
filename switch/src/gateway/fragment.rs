//! Cuts packets that are longer than a network's MTU (RFC 791, 3.2; RFC 8200, 4.5).

use super::compose::ETHERNET;
use crate::offload::checksum::{fold, sum};
use crate::offload::layout::{get_u16, protocol, put_u16};

/// The flag and the offset in IPv4's header, in units of eight bytes.
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// The bit of an option that later fragments have as well (RFC 791, 3.1).
const COPIED: u8 = 0x80;

/// The IPv6 header, and that of a fragment.
const HEADER_V6: usize = 40;
const FRAGMENT_HEADER: usize = 8;

/// Cuts the IPv4 packet that a frame without padding holds, which may be a fragment itself, into frames of packets that are no
/// longer than `mtu`. `None` if that has no room for headers and eight bytes.
pub(super) fn cut_v4(frame: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
    let header_length = usize::from(frame.get(ETHERNET)? & 0xf) * 4;
    let (head, data) = frame.split_at_checked(ETHERNET + header_length).filter(|_| header_length >= 20)?;
    let field = get_u16(head, ETHERNET + 6);
    let later = later_head(head);
    let mut fragments = Vec::new();
    let (mut rest, mut offset) = (data, field & OFFSET);
    while !rest.is_empty() {
        let head = if fragments.is_empty() { head } else { &later };
        let room = usize::from(mtu).checked_sub(head.len() - ETHERNET)?;
        let size = if rest.len() <= room { rest.len() } else { room & !7 };
        let (part, behind) = rest.split_at_checked(size).filter(|_| size > 0)?;
        let more = if behind.is_empty() { field & MORE } else { MORE };
        fragments.push(fragment_v4(head, part, more | offset)?);
        offset += u16::try_from(size / 8).ok()?;
        rest = behind;
    }
    Some(fragments)
}

/// A fragment with the headers of `head`; `field` holds its offset and whether there are more.
fn fragment_v4(head: &[u8], part: &[u8], field: u16) -> Option<Vec<u8>> {
    let mut fragment = [head, part].concat();
    let length = u16::try_from(fragment.len() - ETHERNET).ok()?;
    put_u16(&mut fragment, ETHERNET + 2, length);
    put_u16(&mut fragment, ETHERNET + 6, field);
    put_u16(&mut fragment, ETHERNET + 10, 0);
    let checksum = !fold(sum(&fragment[ETHERNET..head.len()]));
    put_u16(&mut fragment, ETHERNET + 10, checksum);
    Some(fragment)
}

/// The headers of later fragments: only those options that say so.
fn later_head(head: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = head.split_at(ETHERNET + 20);
    let mut later = fixed.to_vec();
    while let Some(&kind) = options.first() {
        let length = match kind {
            0 => break,
            1 => 1,
            _ => options.get(1).copied().map_or(0, usize::from),
        };
        let Some((option, rest)) = options.split_at_checked(length).filter(|_| length > 0) else { break };
        if kind & COPIED != 0 {
            later.extend_from_slice(option);
        }
        options = rest;
    }
    later.resize(ETHERNET + (later.len() - ETHERNET).next_multiple_of(4), 0);
    let length = (later.len() - ETHERNET) / 4;
    later[ETHERNET] = 0x40 | u8::try_from(length).unwrap_or(5);
    later
}

/// Cuts an IPv6 packet of the gateway's own, without extension headers, into packets that are no longer than `mtu`.
pub(super) fn cut_v6(packet: &[u8], mtu: u16, id: u32) -> Option<Vec<Vec<u8>>> {
    let (head, data) = packet.split_at_checked(HEADER_V6)?;
    let size = usize::from(mtu).checked_sub(HEADER_V6 + FRAGMENT_HEADER)? & !7;
    let chunks = data.chunks(Some(size).filter(|size| *size > 0)?);
    let count = chunks.len();
    let parts = chunks.enumerate().map(|(number, part)| {
        let more = u16::from(number + 1 < count);
        let mut fragment = [head, &[head[6], 0, 0, 0], &id.to_be_bytes(), part].concat();
        put_u16(&mut fragment, 4, u16::try_from(FRAGMENT_HEADER + part.len()).ok()?);
        fragment[6] = protocol::FRAGMENT;
        put_u16(&mut fragment, HEADER_V6 + 2, u16::try_from(number * size).ok()? | more);
        Some(fragment)
    });
    parts.collect()
}
