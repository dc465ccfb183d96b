//! Every reason for which a frame is not delivered: a name for programs, a sentence for people.

/// Declares the reasons once: variant, name, sentence.
macro_rules! reasons {
    ($($variant:ident $name:literal $sentence:literal)*) => {
        /// Why a frame was not delivered. Each reason is counted at a port.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $sentence] $variant),* }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reason's name in tables, JSON and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// One sentence that explains the reason to a person.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),* }
            }
        }
    };
}

reasons! {
    Runt "runt" "The frame is shorter than an Ethernet header of 14 bytes."
    OverMtu "over-mtu" "The frame is longer than the port's MTU allows and is not a super-frame."
    TooLong "too-long" "The frame is longer than 65,550 bytes, the longest that virtio-net allows."
    BadSource "bad-source" "The source address is a group address or all zero."
    BadOffload "bad-offload" "The virtio-net header asks for a checksum or segmentation that does not fit the frame."
    BadChain "bad-chain" "The descriptor chain is malformed, or points outside of the guest's memory."
    NoNetwork "no-network" "The port belongs to no network."
    VlanOnAccess "vlan-on-access" "The frame has a VLAN tag, and its port is an access port, which takes none but priority tags."
    VlanNotAllowed "vlan-not-allowed" "The frame has a VLAN tag of a type or VLAN id that its trunk does not carry."
    VlanUntagged "vlan-untagged" "The frame has no VLAN tag, and its trunk has no network for such frames."
    VlanReserved "vlan-reserved" "The frame's tag has the VLAN id 4095, which no frame may have."
    VlanTruncated "vlan-truncated" "The frame ends within its VLAN tag."
    VlanInnerTag "vlan-inner-tag" "Behind its own VLAN tag the frame has another one, and its network allows no inner tags."
    SpoofMac "spoof-mac" "The source MAC address is not one of the port's."
    SpoofIpv4 "spoof-ipv4" "The IPv4 source address is not one that the port has with this MAC address."
    SpoofIpv6 "spoof-ipv6" "The IPv6 source address is not one that the port has with this MAC address."
    SpoofArp "spoof-arp" "The ARP message claims addresses that are not the port's, or asks whether another's is free."
    SpoofNeighbour "spoof-nd" "The neighbour discovery message claims addresses that are not the port's, or hides what it claims."
    SpoofUnspecified "spoof-unspecified" "The packet has no source address, and is none of those that may lack it."
    SpoofHidden "spoof-hidden" "What the frame carries cannot be checked: it has a length in place of a type, or too many VLAN tags."
    RogueDhcp "rogue-dhcp" "The packet is a DHCP server's, and the port is not trusted to be one."
    RogueRouter "rogue-router" "The packet is a router's announcement, and the port is not trusted to be one."
    Unreadable "unreadable" "The packet's headers are cut or contradict themselves, so that neither port security nor security groups can tell what it is."
    GroupEgress "group-egress" "No rule of the security groups of the port lets its guest send the packet."
    GroupIngress "group-ingress" "No rule of the receiver's security groups lets the packet in."
    GroupNotIp "group-not-ip" "The frame carries neither IP nor ARP, and the sender or the receiver is filtered by security groups."
    ConnectionRate "connection-rate" "The port opens more connections, or has more packets judged by rules, than it may in a second."
    CtNotSyn "ct-not-syn" "The TCP segment belongs to no connection and is no SYN that could open one."
    CtBadFlags "ct-bad-flags" "The TCP segment has flags that no segment may have together."
    CtSequenceAhead "ct-sequence-ahead" "The TCP segment begins beyond the window that its receiver offered."
    CtSequenceBehind "ct-sequence-behind" "The TCP segment ends more than a window before what its sender sent already."
    CtAckAhead "ct-ack-ahead" "The TCP segment acknowledges what was never sent."
    CtAckBehind "ct-ack-behind" "The TCP segment acknowledges less than its sender's window allows to be outstanding."
    CtResetOutside "ct-reset-outside" "The TCP reset lies outside of its receiver's window."
    CtStraySyn "ct-stray-syn" "The TCP SYN comes from the side that did not open the connection, or answers none."
    CtUnsolicitedReply "ct-unsolicited-reply" "The ICMP reply answers no request."
    CtUnknownQuote "ct-unknown-quote" "The ICMP error is about a packet of no connection."
    CtForgedQuote "ct-forged-quote" "The ICMP error quotes a packet that its receiver cannot have sent just now, or that was not for who reports it."
    CtLaterFragment "ct-later-fragment" "The fragment has no transport header: what holds is the verdict about the first one."
    CtGone "ct-gone" "The connection has ended."
    CtPortFull "ct-port-full" "The port holds as many connections as one port may, and none of its own could give way."
    CtTableFull "ct-table-full" "The table is full of connections that may not be displaced by this port's."
    CtCrowded "ct-crowded" "Both places in the table where the connection might stand are full."
    FragmentTiny "fragment-tiny" "The first fragment does not hold the whole transport header, so that rules could not be applied."
    FragmentOverHeader "fragment-over-header" "A later fragment lies where the transport header of the first one is."
    FragmentEmpty "fragment-empty" "A fragment holds no data."
    FragmentUnaligned "fragment-unaligned" "A fragment that is not the last one holds a number of bytes that is not a multiple of eight."
    FragmentOverlong "fragment-overlong" "A fragment ends beyond 65,535 bytes, the longest that a packet may be."
    FragmentDuplicate "fragment-duplicate" "All that the fragment holds was seen already."
    FragmentOverlap "fragment-overlap" "The fragment overlaps an earlier one of its datagram, or one of them did."
    FragmentBeyondEnd "fragment-beyond-end" "The fragment lies behind the end of its datagram, or gives it another end."
    FragmentScattered "fragment-scattered" "The datagram's fragments came in too wild an order to be followed."
    FragmentNoFirst "fragment-no-first" "The first fragment of the datagram did not come in time, or what came of it was no good."
    FragmentHeldFull "fragment-held-full" "Too many fragments of the datagram or the port wait for a first one."
    FragmentPortFull "fragment-port-full" "The port has too many datagrams under way of which fragments are missing."
    FragmentStoreFull "fragment-store-full" "The store is full of datagrams of ports that have no more of them than this one."
    LinkLocal "link-local" "The destination is a link-local group address, which a bridge never forwards."
    BpduGuard "bpdu-guard" "The frame is a spanning tree message, and the port is a guest's, which must not send any."
    StormControl "storm-control" "The port sends more frames of spanning tree, LACP and LLDP than 100 a second."
    ControlQueueFull "control-queue-full" "Too many frames of spanning tree, LACP and LLDP wait for the control thread."
    StpBlocked "stp-blocked" "The spanning tree has closed the port in this network: another way is open."
    GatewaySpoofed "gateway-spoofed" "The frame claims an address of the network's gateway."
    NotRoutable "not-routable" "The frame to the gateway carries nothing that a router may forward: no IP, a wrong header checksum, or an address that stays on its link or that no station has."
    GatewayRate "gateway-rate" "The port sends more than 1000 packets a second that the gateway itself has to look at."
    GatewayQueueFull "gateway-queue-full" "Too many packets wait for the gateway."
    NoRoute "no-route" "The packet goes to an address for which its network's router has no route; its sender was told so."
    HopLimitExceeded "hop-limit-exceeded" "The packet passed as many routers as it may; its sender was told so."
    PacketTooBig "packet-too-big" "The packet is longer than the MTU of the network where it goes, and may not be cut; its sender was told so."
    NeighbourUnresolved "neighbour-unresolved" "Nobody answers for the address of the next station on the packet's way; its sender was told so."
    NeighbourQueueFull "neighbour-queue-full" "Too many packets wait until the next station on their way is known."
    NeighbourTableFull "neighbour-table-full" "The port needs more neighbours than there is room for, so that the next station on the packet's way was forgotten."
    GatewayBadMessage "gateway-bad-message" "The ARP, neighbour discovery or ICMP message to the gateway has a wrong checksum, contradicts itself, or claims an address that its sender cannot have."
    GatewayNotServed "gateway-not-served" "The packet is for the gateway itself, which does nothing with it: it is a fragment, of a protocol that is not spoken there, for a port where nothing listens, or for an address that is not used yet."
    NatUnsolicited "nat-unsolicited" "The packet came from outside to an address behind which stations of inside networks are, and nobody there has asked for it."
    NatFiltered "nat-filtered" "The packet came from outside to a station's mapping, and the station has not sent to its sender."
    NatExhausted "nat-exhausted" "No address and port is left by which the packet could leave, or its sender has as many as it may."
    NatProtocol "nat-protocol" "The packet has neither ports nor an identifier that could be translated, and its sender shares an address with others."
    SamePort "same-port" "The destination was learned on the port that the frame came from."
    StormBroadcast "storm-broadcast" "The port sends more broadcast frames than its storm limit allows."
    StormMulticast "storm-multicast" "The port sends more multicast frames than its storm limit allows."
    StormUnknownUnicast "storm-unknown-unicast" "The port sends more frames to unknown addresses than its storm limit allows."
    StormMembership "storm-membership" "The port sends more IGMP and MLD messages than 500 a second."
    BadMembership "bad-membership" "The IGMP or MLD message is cut, contradicts itself or has a wrong checksum."
    RogueQuery "rogue-query" "The port asks for multicast groups as a router does and is not allowed to be one."
    NoMember "no-member" "No port but the sender's wants the multicast group, or is a router that has to know of it."
    NoReceiver "no-receiver" "The network has no other port whose driver runs, so that nobody could take the frame."
    ReceiverDown "receiver-down" "The receiver's driver is not running."
    NoBuffer "no-buffer" "The receiver had no free receive buffer."
    SmallBuffer "small-buffer" "The receiver's buffer is too small for the frame and it cannot merge buffers."
    BadBuffer "bad-buffer" "The receiver offered a buffer that is malformed or outside of its memory."
    FloodQueueFull "flood-queue-full" "The frame goes to many ports, and too many such frames waited for their turn already."
    DeviceOverrun "device-overrun" "Frames came by the interface faster than they were read, and the kernel had no room for more."
    InactiveLink "inactive-link" "The frame came by a link of a bond that takes none now: a reserve, or one that LACP has not agreed about."
    DeviceRefused "device-refused" "The kernel refused to send the frame by the interface: it is longer than its MTU, or a filter forbids it."
    NotSegmentable "not-segmentable" "The receiver needs the super-frame cut, and its headers cannot be."
}

/// How many reasons there are: the length of a port's row of drop counters.
pub const DROP_REASONS: usize = DropReason::ALL.len();
