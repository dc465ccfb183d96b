//! Programs do what libpcap's own machine does, and what is no program is refused.

use std::ffi::c_void;

use proptest::prelude::*;

use super::*;
use crate::capture::compile;

/// A packet that is all there.
struct Whole<'a>(&'a [u8]);

impl Packet for Whole<'_> {
    fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap()
    }

    fn bytes(&mut self, at: u64, count: usize) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at + count)
    }
}

fn wants(program: &Program, packet: &[u8]) -> bool {
    program.wants(&mut Whole(packet), &mut 10_000)
}

/// `bpf_filter` of libpcap: the same instructions, run by its own machine.
struct Oracle(BpfFilter);

type BpfFilter = unsafe extern "C" fn(*const c_void, *const u8, u32, u32) -> u32;

impl Oracle {
    fn open() -> Self {
        // SAFETY: both names end with zero; the function's prototype is that of pcap/bpf.h.
        unsafe {
            let library = libc::dlopen(c"libpcap.so.0.8".as_ptr(), libc::RTLD_NOW);
            assert!(!library.is_null(), "libpcap0.8 is missing: scripts/setup installs it with tcpdump");
            let function = libc::dlsym(library, c"bpf_filter".as_ptr());
            assert!(!function.is_null());
            Self(std::mem::transmute::<*mut c_void, BpfFilter>(function))
        }
    }

    fn wants(&self, instructions: &[Instruction], packet: &[u8]) -> bool {
        #[repr(C)]
        struct Raw(u16, u8, u8, u32);
        let raw: Vec<Raw> = instructions.iter().map(|it| Raw(it.0, it.1, it.2, it.3)).collect();
        let length = u32::try_from(packet.len()).unwrap();
        // SAFETY: the program was checked, and the packet is as long as it is said to be.
        unsafe { (self.0)(raw.as_ptr().cast(), packet.as_ptr(), length, length) != 0 }
    }
}

const FILTERS: [&str; 18] = [
    "tcp",
    "udp port 53",
    "tcp port 80 or tcp port 443",
    "host 10.0.0.5",
    "net 10.0.0.0/24 and not arp",
    "ether host 02:00:00:00:00:05",
    "vlan 10 and tcp port 22",
    "vlan and vlan and ip",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "ip6 and udp",
    "icmp[icmptype] == icmp-echo",
    "greater 100",
    "less 64 or ip[8] < 5",
    "ip multicast or ether broadcast",
    "portrange 1000-2000",
    "ip[2:2] / 3 * 2 - ((ip[0] & 0xf) << 2) > 40",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "ether[14] % 7 = 3 and ether[20] ^ 5 != 0",
];

/// Bytes that look like packets often enough.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let tags =
        prop_oneof![Just(vec![]), Just(vec![0x81, 0, 0, 10]), Just(vec![0x81, 0, 0, 10, 0x81, 0, 0, 11])];
    let kind = prop_oneof![Just([8u8, 0]), Just([0x86, 0xdd]), Just([8, 6]), any::<[u8; 2]>()];
    let first = prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()];
    let protocol = prop_oneof![Just(6u8), Just(17), Just(1), any::<u8>()];
    let port = prop_oneof![Just([0u8, 80]), Just([0, 53]), Just([0, 22]), any::<[u8; 2]>()];
    let rest = prop::collection::vec(any::<u8>(), 0..200);
    (tags, kind, first, protocol, port, rest, any::<bool>()).prop_map(
        |(tags, kind, first, protocol, port, mut rest, is_whole)| {
            if is_whole {
                rest.resize(rest.len().max(60), 0);
            }
            for (at, byte) in [(0, first), (6, 0), (7, 0), (9, protocol), (20, port[0]), (21, port[1])] {
                if let Some(place) = rest.get_mut(at) {
                    *place = byte;
                }
            }
            [&[2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 9], tags.as_slice(), &kind, rest.as_slice()].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_libpcap_wants_is_wanted(packet in packet()) {
        let oracle = Oracle::open();
        for filter in FILTERS {
            let instructions = compile(filter).unwrap();
            let program = Program::new(&instructions).unwrap();
            prop_assert_eq!(
                wants(&program, &packet), oracle.wants(&instructions, &packet), "{}: {:02x?}", filter, &packet
            );
        }
    }

    /// Whatever is taken for a program ends, and never asks for what there is not.
    #[test]
    fn anything_is_refused_or_ends(
        instructions in prop::collection::vec(
            (prop_oneof![0u16..0x100, any::<u16>()], any::<u8>(), any::<u8>(), prop_oneof![0u32..64, any::<u32>()]), 1..40
        ),
        packet in packet(),
    ) {
        let mut instructions = instructions;
        instructions.push((0x06, 0, 0, 1));
        if let Ok(program) = Program::new(&instructions) {
            let mut left = 10_000;
            let wanted = program.wants(&mut Whole(&packet), &mut left);
            prop_assert!(10_000 - left <= 41);
            prop_assert_eq!(wanted, Oracle::open().wants(&instructions, &packet));
        }
    }
}

#[test]
fn every_filter_finds_something_and_leaves_something_out() {
    let tcp = |port: u8| {
        let mut packet = vec![0; 54];
        (packet[12], packet[14], packet[23], packet[37]) = (8, 0x45, 6, port);
        packet
    };
    let program = Program::new(&compile("tcp port 80").unwrap()).unwrap();
    assert!(wants(&program, &tcp(80)));
    assert!(!wants(&program, &tcp(81)) && !wants(&program, &tcp(80)[..30]) && !wants(&program, &[]));
}

#[test]
fn what_is_no_program_is_refused_with_its_place() {
    let end = (0x06, 0, 0, 1);
    let told = |instructions: &[Instruction]| Program::new(instructions).unwrap_err().to_string();
    assert!(told(&[]).contains("this one has 0"));
    assert!(told(&vec![end; INSTRUCTIONS_MAX + 1]).contains("1 to 4096"));
    for (instructions, text) in [
        (vec![(0xffff, 0, 0, 0), end], "instruction 0 of the filter, code 0xffff, is not known"),
        (vec![(0x00, 0, 0, 0)], "leads out of it"),
        (vec![(0x05, 0, 0, 1), end], "instruction 0 of the filter, code 0x5, leads out of it"),
        (vec![(0x05, 0, 0, u32::MAX), end], "leads out of it"),
        (vec![(0x15, 0, 7, 0), end], "leads out of it"),
        (vec![(0x34, 0, 0, 0), end], "divides by nothing"),
        (vec![(0x60, 0, 0, 16), end], "has no such word of memory"),
    ] {
        assert!(told(&instructions).contains(text), "{}", told(&instructions));
    }
}

#[test]
fn a_wrong_filter_is_told_by_libpcap() {
    let told = compile("tcp prot 80").unwrap_err().to_string();
    assert!(
        told.starts_with("the filter `tcp prot 80` is wrong: ") && told.contains("syntax error"),
        "{told}"
    );
}
