//! The program that hands an interface's frames to AF_XDP sockets: loaded, attached and filled by bpf(2).
//!
//! It is six instructions long, so it is written down here instead of being compiled by a tool that a machine may not
//! have. It is attached by a link (Linux 5.9), which ends with its descriptor: whatever becomes of this process, the
//! interface is as it was before.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Commands of bpf(2).
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const LINK_DETACH: libc::c_long = 34;

/// BPF_MAP_TYPE_XSKMAP, BPF_PROG_TYPE_XDP and BPF_XDP (linux/bpf.h).
const XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// XDP_PASS: what no socket wants goes to the kernel, as if there were no program.
const PASS: i32 = 2;

/// Where `rx_queue_index` stands in `struct xdp_md` (linux/bpf.h).
const RX_QUEUE_INDEX: i16 = 16;

/// BPF_FUNC_redirect_map.
const REDIRECT_MAP: i32 = 51;

/// How a program is attached (linux/if_link.h: XDP_FLAGS_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttachMode {
    /// In the driver, before the kernel makes anything of a frame.
    Driver,
    /// In the kernel's generic path, behind any driver.
    Generic,
}

impl AttachMode {
    fn flags(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Driver => 1 << 2,
        }
    }
}

/// Which step the kernel refused.
#[derive(Debug)]
pub(super) struct ProgramError {
    pub(super) what: &'static str,
    pub(super) error: io::Error,
}

impl ProgramError {
    fn at(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { what, error }
    }

    /// Whether another program is there already.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
    }
}

/// An interface's program; it is detached when this is dropped.
#[derive(Debug)]
pub(super) struct XdpProgram {
    sockets: OwnedFd,
    link: OwnedFd,
}

impl XdpProgram {
    /// Attaches a program to the interface with this number, of `queues` receive queues.
    pub(super) fn attach(interface: u32, queues: u32, mode: AttachMode) -> Result<Self, ProgramError> {
        let sockets = make_map(queues).map_err(ProgramError::at("make a table of AF_XDP sockets"))?;
        let program = load(&sockets).map_err(ProgramError::at("load the XDP program"))?;
        let link = link(&program, interface, mode).map_err(ProgramError::at("attach the XDP program"))?;
        Ok(Self { sockets, link })
    }

    /// From now on frames of the receive queue `queue` go to `socket`.
    pub(super) fn serve(&self, queue: u32, socket: RawFd) -> Result<(), ProgramError> {
        let request = MapUpdate {
            map: number(self.sockets.as_raw_fd()),
            _padding: 0,
            key: address_of(&queue),
            value: address_of(&socket),
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &request)
            .map(|_| ())
            .map_err(ProgramError::at("enter a socket into the XDP program's table"))
    }
}

/// The descriptor's end would do, but a program that this process is just starting has a copy of it for a moment.
impl Drop for XdpProgram {
    fn drop(&mut self) {
        // With an interface that is gone there is nothing to detach from.
        let _ = bpf(LINK_DETACH, &LinkDetach { link: number(self.link.as_raw_fd()) });
    }
}

/// One instruction (Documentation/bpf/standardization/instruction-set.rst).
#[repr(C)]
struct Instruction {
    opcode: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `return redirect_map(&sockets, context->rx_queue_index, PASS)`: since Linux 5.3 the last argument is what becomes of
/// a frame whose queue has no socket.
fn instructions(sockets: RawFd) -> [Instruction; 6] {
    let step = |opcode, registers, offset, immediate| Instruction { opcode, registers, offset, immediate };
    [
        // r2 = *(u32 *)(r1 + RX_QUEUE_INDEX)
        step(0x61, 0x12, RX_QUEUE_INDEX, 0),
        // r1 = the map, two instructions long; source 1: the immediate is a descriptor
        step(0x18, 0x11, 0, sockets),
        step(0x00, 0x00, 0, 0),
        // r3 = PASS
        step(0xb7, 0x03, 0, PASS),
        step(0x85, 0x00, 0, REDIRECT_MAP),
        step(0x95, 0x00, 0, 0),
    ]
}

// What bpf(2) reads, the beginnings of the parts of `union bpf_attr` (linux/bpf.h): the kernel takes what is left out
// for zero.

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkDetach {
    link: u32,
}

fn make_map(queues: u32) -> io::Result<OwnedFd> {
    let request = MapCreate { kind: XSKMAP, key_bytes: 4, value_bytes: 4, entries: queues };
    descriptor(bpf(MAP_CREATE, &request)?)
}

fn load(sockets: &OwnedFd) -> io::Result<OwnedFd> {
    let instructions = instructions(sockets.as_raw_fd());
    // The kernel asks for a licence; this one opens no more than redirect_map, which any does.
    let license = *b"Apache-2.0\0";
    let mut name = [0; 16];
    name[..7].copy_from_slice(b"viaduct");
    let request = ProgramLoad {
        kind: PROG_TYPE_XDP,
        count: 6,
        instructions: address_of(&instructions),
        license: address_of(&license),
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface: 0,
        attach_type: ATTACH_XDP,
    };
    descriptor(bpf(PROG_LOAD, &request)?)
}

fn link(program: &OwnedFd, interface: u32, mode: AttachMode) -> io::Result<OwnedFd> {
    let program = number(program.as_raw_fd());
    let request = LinkCreate { program, interface, attach_type: ATTACH_XDP, flags: mode.flags() };
    descriptor(bpf(LINK_CREATE, &request)?)
}

/// A descriptor as the kernel's structures have it.
fn number(descriptor: RawFd) -> u32 {
    u32::try_from(descriptor).unwrap_or(u32::MAX)
}

fn address_of<T>(value: &T) -> u64 {
    std::ptr::from_ref(value).expose_provenance() as u64
}

fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(returned).map_err(io::Error::other)?;
    // SAFETY: bpf(2) just returned it as a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Calls bpf(2) with one of the structures above.
fn bpf<T>(command: libc::c_long, request: &T) -> io::Result<libc::c_long> {
    let request = std::ptr::from_ref(request);
    // SAFETY: the kernel reads `size_of::<T>()` bytes of the structure, which has no hidden padding, and what the
    // addresses in it lead to; all of it lives during the call.
    let returned = unsafe { libc::syscall(libc::SYS_bpf, command, request, size_of::<T>()) };
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
