//! Forbidden things are tried for real: in processes and threads of their own, which are confined as the daemon is.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use libc::{c_int, c_long};

use super::*;
use crate::config::{PlainHost, parse};
use crate::numa::node_of_pages;

/// Runs `work` in a process of its own, which has been confined before; gives what waitpid(2) says.
fn status_of(confine: fn() -> Result<(), String>, work: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the child has this thread alone, makes no use of locks that others may have had, and ends in `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            let ended = if confine().is_ok() { work() } else { 250 };
            // SAFETY: ends the process.
            unsafe { libc::_exit(ended) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `child` is our own child, and `status` lives during the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        }
    }
}

/// Calls the kernel; gives the error's number, or 0.
fn call(number: c_long, arguments: [u64; 5]) -> c_int {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the calls of these tests are refused before they do anything, or get arguments that are harmless.
    let returned = unsafe { libc::syscall(number, a, b, c, d, e) };
    if returned == -1 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

fn number(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

#[test]
fn what_no_switch_does_ends_the_process() {
    let never = [
        (libc::SYS_execve, [0; 5]),
        (libc::SYS_execveat, [0; 5]),
        (libc::SYS_ptrace, [0; 5]),
        (libc::SYS_process_vm_readv, [0; 5]),
        (libc::SYS_unshare, [0; 5]),
        (libc::SYS_mount, [0; 5]),
        (libc::SYS_setresuid, [0; 5]),
        (libc::SYS_init_module, [0; 5]),
        (libc::SYS_io_uring_setup, [0; 5]),
        // A new process instead of a thread.
        (libc::SYS_clone, [number(libc::SIGCHLD), 0, 0, 0, 0]),
    ];
    for (name, arguments) in never {
        let status = status_of(filter::enter, || call(name, arguments));
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS,
            "call {name}: {status:#x}"
        );
    }
}

/// Ends with the place of the first call that is not refused, from 1.
fn first_not_refused(calls: &[(c_long, [u64; 5])]) -> c_int {
    for (place, (name, arguments)) in (1..).zip(calls) {
        if call(*name, *arguments) != libc::EPERM || refused_calls() != number(place) {
            return place;
        }
    }
    0
}

#[test]
fn what_is_not_listed_fails_and_is_counted() {
    let socket =
        |family, kind, protocol| (libc::SYS_socket, [number(family), number(kind), number(protocol), 0, 0]);
    let executable = number(libc::PROT_READ | libc::PROT_EXEC);
    let anonymous = number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let refused = [
        socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT),
        (libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0]),
        (libc::SYS_mmap, [0, 4096, executable, anonymous, u64::MAX]),
        (libc::SYS_mprotect, [0, 4096, executable, 0, 0]),
        (libc::SYS_kill, [1, 0, 0, 0, 0]),
        (libc::SYS_prctl, [number(libc::PR_SET_DUMPABLE), 1, 0, 0, 0]),
        // BPF_MAP_LOOKUP_ELEM: maps are filled, never read.
        (libc::SYS_bpf, [1, 0, 0, 0, 0]),
        (libc::SYS_setns, [0, number(libc::CLONE_NEWUSER), 0, 0, 0]),
        // Pages of another process, and pages that would move.
        (libc::SYS_move_pages, [1, 0, 0, 0, 0]),
        (libc::SYS_move_pages, [0, 0, 0, 1 << 40, 0]),
        (libc::SYS_mknodat, [0; 5]),
        (libc::SYS_symlinkat, [0; 5]),
    ];
    let status = status_of(filter::enter, || first_not_refused(&refused));
    assert!(libc::WIFEXITED(status), "{status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0, "the call at that place, from 1, was not refused");
}

#[test]
fn what_a_switch_does_passes() {
    let status = status_of(filter::enter, || {
        let socket = |family, kind| call(libc::SYS_socket, [number(family), number(kind), 0, 0, 0]);
        let mut page = 1_u8;
        let opened = File::open("/proc/self/status").is_ok()
            && thread::Builder::new().spawn(|| 7).is_ok_and(|thread| thread.join().is_ok())
            && socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC) == 0
            && socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK) == 0
            && socket(libc::AF_NETLINK, libc::SOCK_RAW) == 0
            && node_of_pages(&[&raw mut page]).is_some();
        c_int::from(!(opened && refused_calls() == 0))
    });
    assert_eq!(status, 0, "{status:#x}");
}

#[test]
fn workers_have_their_descriptors_and_memory_alone() {
    let confine = || filter::enter().and_then(|()| filter::enter_worker(&Ok(())));
    let refused = [
        (libc::SYS_openat, [0; 5]),
        (libc::SYS_socket, [number(libc::AF_UNIX), number(libc::SOCK_STREAM), 0, 0, 0]),
        (libc::SYS_connect, [0; 5]),
        (libc::SYS_prctl, [number(libc::PR_SET_NAME), 0, 0, 0, 0]),
        (libc::SYS_bpf, [5, 0, 0, 0, 0]),
        (libc::SYS_unlinkat, [0; 5]),
        (libc::SYS_fcntl, [0; 5]),
        (libc::SYS_seccomp, [0; 5]),
    ];
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let status = status_of(confine, || {
        let written = writer.write_all(&vec![7; 300_000][..4096]).is_ok();
        if written { first_not_refused(&refused) } else { 200 }
    });
    assert_eq!(status, 0, "{status:#x}");
    drop(writer);
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut got).unwrap();
    assert_eq!(got, [7; 4096]);
}

#[test]
fn files_are_changed_where_the_configuration_says_and_nowhere_else() {
    let ours = tempfile::tempdir().unwrap();
    let others = tempfile::tempdir().unwrap();
    fs::write(others.path().join("theirs"), "text").unwrap();
    let grants = Grants {
        changed: [ours.path().to_owned()].into(),
        read: [PathBuf::from("/proc")].into(),
        ..Grants::default()
    };
    let confined = || {
        let files = files::enter(&grants);
        let error = |result: std::io::Result<()>| result.map_err(|error| error.kind());
        let denied = Err(ErrorKind::PermissionDenied);
        fs::write(ours.path().join("a"), "text").unwrap();
        fs::rename(ours.path().join("a"), ours.path().join("b")).unwrap();
        drop(UnixListener::bind(ours.path().join("s")).unwrap());
        fs::remove_file(ours.path().join("s")).unwrap();
        fs::read_to_string("/proc/self/status").unwrap();
        for path in ["/etc/shadow", "/proc/self/comm", "/dev/null"] {
            assert_eq!(error(File::options().write(true).open(path).map(drop)), denied, "{path}");
        }
        let theirs = others.path().join("theirs");
        assert_eq!(error(fs::read(&theirs).map(drop)), denied);
        assert_eq!(error(fs::remove_file(&theirs)), denied);
        assert_eq!(error(fs::rename(&theirs, ours.path().join("mine"))), denied);
        assert_eq!(error(UnixListener::bind(others.path().join("s")).map(drop)), denied);
        assert_eq!(error(std::net::TcpListener::bind("127.0.0.1:0").map(drop)), denied);
        files.check(&ours.path().join("new.sock")).unwrap();
        let told = files.check(Path::new("/srv/new.sock")).unwrap_err().to_string();
        assert!(
            told.contains("/srv/new.sock") && told.contains(&ours.path().display().to_string()),
            "{told}"
        );
        files.give_up().unwrap();
        assert_eq!(error(File::open(ours.path().join("b")).map(drop)), denied);
        assert_eq!(error(File::open("/proc/self/status").map(drop)), denied);
    };
    thread::scope(|scope| scope.spawn(confined).join()).unwrap();
}

/// The line of /proc/thread-self/status that begins so, as a number in hexadecimal.
fn own_status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(value.trim(), 16).unwrap()
}

#[test]
fn capabilities_are_given_up_for_good() {
    let confined = || {
        let [raw, admin, chown] = [13, 12, 0].map(|bit| 1 << bit);
        let before = own_status("CapEff:");
        let kept = capabilities::keep(&Grants::default()).unwrap();
        let after = own_status("CapEff:");
        assert_eq!(after & (raw | admin | chown), before & (raw | admin | chown));
        assert_eq!(after, own_status("CapPrm:"));
        assert_eq!((after.count_ones() as usize, after & 1 << 21), (kept.len(), 0), "{kept:?}");
        for none in ["CapInh:", "CapAmb:"] {
            assert_eq!(own_status(none), 0, "{none}");
        }
        capabilities::give_up().unwrap();
        assert_eq!((own_status("CapEff:"), own_status("CapPrm:")), (0, 0));
    };
    thread::spawn(confined).join().unwrap();
}

#[test]
fn a_configuration_says_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let place = folder.path().display();
    let text = format!(
        "[switch]\nruntime_dir = '{place}/run'\nstate_dir = '{place}/state'\n[network.lab]\n\
         [port.a]\nnetwork = 'lab'\nsocket = '{place}/else/a.sock'\n\
         [port.b]\nnetwork = 'lab'\nrole = 'client'\nsocket = '{place}/theirs/b.sock'\n"
    );
    fs::write(at("real.toml"), &text).unwrap();
    fs::create_dir(at("etc")).unwrap();
    std::os::unix::fs::symlink("../real.toml", at("etc/viaduct.toml")).unwrap();
    let config = |text: &str| parse(text.as_bytes(), "x", &PlainHost).unwrap().config;
    let grants = Grants::of(&[&config(&text)], &at("etc/viaduct.toml"));
    assert_eq!(
        grants.changed,
        ["run", "state", "else"].map(at).into(),
        "a client's socket is its listener's"
    );
    assert!(grants.changed.iter().all(|folder| folder.is_dir()), "what does not exist cannot be granted");
    assert!(grants.read.contains(&at("etc")) && grants.read.contains(&folder.path().canonicalize().unwrap()));
    assert_eq!((grants.namespaces, grants.process), (false, None));
    std::os::unix::fs::symlink("../later/sub/x.toml", at("etc/later.toml")).unwrap();
    let later = Grants::of(&[&config(&text)], &at("etc/later.toml")).read;
    let above = at("etc/../");
    assert!(later.iter().any(|folder| folder.canonicalize().ok() == above.canonicalize().ok()), "{later:?}");
    let container = format!("{text}[port.c]\nnetwork = 'lab'\ntype = 'veth'\ninterface = 'c'\nnetns = ");
    let named = Grants::of(&[&config(&format!("{container}'c'"))], Path::new("x"));
    assert_eq!((named.namespaces, named.process), (true, None));
    assert!(named.read.contains(Path::new("/run/netns")) && !grants.read.contains(Path::new("/run/netns")));
    let process = Grants::of(&[&config(&format!("{container}4711"))], Path::new("x"));
    assert_eq!((process.namespaces, process.process), (true, Some(PathBuf::from("/proc/4711/ns/net"))));
}
