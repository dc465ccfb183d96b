//! Captures of whole frames: which packets are meant, and the files that they end in.
//!
//! A filter in tcpdump's words is compiled by libpcap where it was typed ([`compile`]), and travels as a program of the classic BPF. The
//! daemon never loads that library: workers run the program themselves ([`Program`]), as a kernel does, so that frames that nobody
//! wants take no room in a ring. What was captured travels as pcapng (draft-ietf-opsawg-pcapng), the format of the file, too.

mod libpcap;
mod pcapng;
mod program;

pub use libpcap::{FilterError, compile};
pub use pcapng::{Block, Interface, Reader, Record, Statistics, Writer};
pub use program::{INSTRUCTIONS_MAX, Instruction, Packet, Program, ProgramError};
