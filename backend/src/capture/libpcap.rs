//! Filters in tcpdump's words (pcap-filter(7)), compiled by libpcap.
//!
//! The library is opened when a filter is compiled, by the command that was given one: linked, it would bring nine others (D-Bus,
//! libsystemd, libgcrypt...) into the daemon, which needs none of them.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

use super::program::Instruction;

/// Names of the library: Debian's, and those of others.
const NAMES: [&CStr; 3] = [c"libpcap.so.0.8", c"libpcap.so.1", c"libpcap.so"];

/// DLT_EN10MB: Ethernet.
const ETHERNET: c_int = 1;

/// PCAP_NETMASK_UNKNOWN.
const NETMASK_UNKNOWN: u32 = u32::MAX;

/// The longest frame, for filters that ask for it.
const LENGTH_MAX: c_int = 65_600;

/// Why there is no program for a filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// The library is not there.
    #[error("filters need libpcap, which cannot be opened: {0}; apt-get install libpcap0.8")]
    Library(String),
    /// The filter is wrong.
    #[error("the filter `{filter}` is wrong: {error}; `man pcap-filter` tells how one is written")]
    Wrong {
        /// The filter.
        filter: String,
        /// What libpcap says.
        error: String,
    },
}

/// `struct bpf_insn`.
#[repr(C)]
struct RawInstruction {
    code: u16,
    yes: u8,
    no: u8,
    constant: u32,
}

/// `struct bpf_program`.
#[repr(C)]
struct RawProgram {
    length: c_uint,
    instructions: *mut RawInstruction,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut RawProgram, *const c_char, c_int, u32) -> c_int;
type GetError = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type FreeCode = unsafe extern "C" fn(*mut RawProgram);
type Close = unsafe extern "C" fn(*mut c_void);

/// The functions of the library that are needed; it stays open as long as the process runs.
struct Library {
    open_dead: OpenDead,
    compile: Compile,
    get_error: GetError,
    free_code: FreeCode,
    close: Close,
}

/// The program of a filter for Ethernet frames.
///
/// # Errors
/// libpcap is not there, or the filter is wrong.
pub fn compile(filter: &str) -> Result<Vec<Instruction>, FilterError> {
    let wrong = |error: String| FilterError::Wrong { filter: filter.to_owned(), error };
    let text = CString::new(filter).map_err(|_| wrong("it contains a zero byte".to_owned()))?;
    let library = Library::open()?;
    library.compile(&text).map_err(wrong)
}

impl Library {
    fn open() -> Result<Self, FilterError> {
        // SAFETY: the names end with zero; what the library does when it is opened is nothing.
        let open = |name: &CStr| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let handle = NAMES.into_iter().map(open).find(|handle| !handle.is_null());
        let handle = handle.ok_or_else(|| FilterError::Library(loader_error()))?;
        let find = |name: &CStr| {
            // SAFETY: the handle is an open library's, the name ends with zero.
            let function = unsafe { libc::dlsym(handle, name.as_ptr()) };
            if function.is_null() { Err(FilterError::Library(loader_error())) } else { Ok(function) }
        };
        // SAFETY: these are functions of libpcap, whose prototypes (pcap.h) the types repeat.
        unsafe {
            Ok(Self {
                open_dead: std::mem::transmute::<*mut c_void, OpenDead>(find(c"pcap_open_dead")?),
                compile: std::mem::transmute::<*mut c_void, Compile>(find(c"pcap_compile")?),
                get_error: std::mem::transmute::<*mut c_void, GetError>(find(c"pcap_geterr")?),
                free_code: std::mem::transmute::<*mut c_void, FreeCode>(find(c"pcap_freecode")?),
                close: std::mem::transmute::<*mut c_void, Close>(find(c"pcap_close")?),
            })
        }
    }

    fn compile(&self, filter: &CStr) -> Result<Vec<Instruction>, String> {
        // SAFETY: makes a handle without an interface; closed below.
        let pcap = unsafe { (self.open_dead)(ETHERNET, LENGTH_MAX) };
        if pcap.is_null() {
            return Err("libpcap has no memory".to_owned());
        }
        let mut program = RawProgram { length: 0, instructions: ptr::null_mut() };
        // SAFETY: the handle is open, `program` is ours, the filter ends with zero.
        let outcome = unsafe { (self.compile)(pcap, &raw mut program, filter.as_ptr(), 1, NETMASK_UNKNOWN) };
        let compiled = if outcome == 0 {
            // SAFETY: pcap_compile succeeded: there are `length` instructions until pcap_freecode.
            let raw = unsafe { std::slice::from_raw_parts(program.instructions, program.length as usize) };
            let instructions = raw.iter().map(|it| (it.code, it.yes, it.no, it.constant)).collect();
            // SAFETY: frees what pcap_compile made, once.
            unsafe { (self.free_code)(&raw mut program) };
            Ok(instructions)
        } else {
            // SAFETY: a text that ends with zero and lasts until the handle is closed.
            Err(unsafe { CStr::from_ptr((self.get_error)(pcap)) }.to_string_lossy().into_owned())
        };
        // SAFETY: closes what was opened above, once.
        unsafe { (self.close)(pcap) };
        compiled
    }
}

fn loader_error() -> String {
    // SAFETY: gives a text that ends with zero, or nothing; it is copied before anything else is loaded.
    let error = unsafe { libc::dlerror() };
    if error.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned()
}
