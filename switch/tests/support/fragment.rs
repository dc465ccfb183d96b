//! Fragments of packets.

/// A fragment of a packet of IPv4 that was whole: so many bytes of its data, from there on.
pub(crate) fn part(whole: &[u8], offset: usize, length: usize) -> Vec<u8> {
    let data = &whole[34..];
    let mut header = etherparse::Ipv4Header::from_slice(&whole[14..34]).unwrap().0;
    header.identification = 77;
    header.dont_fragment = false;
    header.fragment_offset = etherparse::IpFragOffset::try_new((offset / 8) as u16).unwrap();
    header.more_fragments = offset + length < data.len();
    header.set_payload_len(length).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut frame = whole[..14].to_vec();
    header.write(&mut frame).unwrap();
    frame.extend(&data[offset..offset + length]);
    frame
}
