//! Everything that can be wrong with a packet's headers: a name for programs, a sentence for people.

/// Declares the errors once: variant, name, sentence.
macro_rules! errors {
    ($($variant:ident $name:literal $sentence:literal)*) => {
        /// What is wrong with a packet. None of these passes a port that has rules: where a switch and a host might
        /// read a packet differently, rules could be evaded.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        #[repr(u8)]
        pub enum PacketError { $(#[doc = $sentence] #[error($sentence)] $variant),* }

        impl PacketError {
            /// All errors, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The error's name in tables, JSON and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

errors! {
    Truncated "ip-truncated" "The frame ends within its IP header."
    BadVersion "ip-bad-version" "The version in the IP header is not the one that the type field names."
    BadHeaderLength "ip-bad-header-length" "The IPv4 header says that it is shorter than 20 bytes or longer than the packet."
    BadLength "ip-bad-length" "The IP header says that the packet is longer than its frame."
    BadOption "ip-bad-option" "An option of the IPv4 header has length 0 or 1, or runs over the header's end."
    SourceRoute "ip-source-route" "The packet asks for a route of its own (IPv4 LSRR or SSRR, IPv6 routing header type 0)."
    MappedAddress "ip-mapped-address" "An IPv6 packet has an address from ::ffff:0:0/96, which stands for IPv4 inside of hosts only."
    BadExtension "ip-bad-extension" "An IPv6 extension header runs over the packet's end."
    MisplacedExtension "ip-misplaced-extension" "Hop-by-hop options do not stand directly behind the IPv6 header, or there is a second fragment header."
    TooManyExtensions "ip-too-many-extensions" "The packet has more than eight IPv6 extension headers."
    BeyondHead "ip-beyond-head" "The packet's headers do not end within the first 128 bytes of the frame."
    FragmentTiny "fragment-tiny" "The first fragment does not hold the whole transport header, so that rules could not be applied."
    FragmentOverHeader "fragment-over-header" "A later fragment lies where the transport header of the first one is."
    FragmentEmpty "fragment-empty" "A fragment holds no data."
    FragmentUnaligned "fragment-unaligned" "A fragment that is not the last one holds a number of bytes that is not a multiple of eight."
    FragmentOverlong "fragment-overlong" "A fragment ends beyond 65,535 bytes, the longest that a packet may be."
    TcpTruncated "tcp-truncated" "The packet ends within its TCP header."
    TcpBadOffset "tcp-bad-offset" "The TCP header says that it is shorter than 20 bytes or longer than the packet."
    TcpBadOption "tcp-bad-option" "An option of the SYN has a length that it cannot have, or runs over the header's end."
    UdpTruncated "udp-truncated" "The packet ends within its UDP header, or within the ports of another transport."
    UdpBadLength "udp-bad-length" "The UDP header says that the datagram is shorter than 8 bytes or longer than the packet."
    IcmpTruncated "icmp-truncated" "The packet ends within its ICMP header."
    QuoteTruncated "icmp-quote-truncated" "The ICMP error quotes too little of the packet that it is about to tell which one that was."
    QuoteBad "icmp-quote-bad" "The ICMP error quotes something that is no packet of the same IP version, or that no error may be about."
    NeighbourTruncated "nd-truncated" "The neighbour discovery message ends within its fixed part."
    NeighbourBadHopLimit "nd-bad-hop-limit" "The neighbour discovery message has another hop limit than 255, so that it may come from elsewhere."
    NeighbourBadCode "nd-bad-code" "The neighbour discovery message has another code than 0."
    NeighbourFragment "nd-fragment" "The neighbour discovery message is fragmented."
    NeighbourZeroOption "nd-zero-option" "An option of the neighbour discovery message has length 0."
    NeighbourBadOption "nd-bad-option" "An option of the neighbour discovery message runs over its end, comes twice, or has a length that it cannot have."
    ArpTruncated "arp-truncated" "The frame ends within its ARP message."
    ArpBadFormat "arp-bad-format" "The ARP message is not about IPv4 addresses on Ethernet."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_own_name_and_a_sentence() {
        let mut names: Vec<_> = PacketError::ALL.iter().map(|error| error.name()).collect();
        assert!(PacketError::ALL.iter().all(|error| error.to_string().ends_with('.')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PacketError::ALL.len());
    }
}
