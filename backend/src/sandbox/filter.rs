//! Which system calls the process may make (seccomp(2)), and what becomes of all others.
//!
//! Three filters, of whose verdicts the strictest holds:
//!
//! * what no switch ever does ends the process;
//! * `clone3`, whose flags a filter cannot see, does not exist, so that threads are made by `clone`, which makes threads only;
//! * whatever is not on the list fails and is told ([`super::refusals`]).
//!
//! Workers have a fourth one, which is a shorter list. The kernel keeps verdicts that depend on the call's number alone in a
//! bitmap, so that calls of the data path run through none of it.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

use super::refusals;

/// Which calls pass: none of the conditions means always.
type Calls = BTreeMap<c_long, Vec<SeccompRule>>;

/// Only a process that somebody else has taken over calls these.
const NEVER: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setgroups,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// What any thread of the process may do at any time, workers too.
const EVERYWHERE: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Descriptors that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv2,
    libc::SYS_close,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockopt,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    // Time, other threads, signals, and the end.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getcpu,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What all but workers may do beside.
const PROCESS: &[c_long] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_msync,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_umask,
    libc::SYS_memfd_create,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    // Sockets and events.
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // The process and its threads.
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getppid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrlimit,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_get_robust_list,
    libc::SYS_clock_getres,
    // Threads that confine themselves further.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Older forms of calls above, which only some processors' kernels have.
#[cfg(target_arch = "x86_64")]
const OLDER: (&[c_long], &[c_long], &[c_long]) = (
    &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt],
    &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time],
    &[
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_readlink,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_dup2,
        libc::SYS_pipe,
        libc::SYS_eventfd,
        libc::SYS_select,
    ],
);
#[cfg(not(target_arch = "x86_64"))]
const OLDER: (&[c_long], &[c_long], &[c_long]) = (&[], &[], &[]);

/// Families of sockets that the switch has of any kind: guests' and the API's, and those of frames.
const FAMILIES: [libc::c_int; 3] = [libc::AF_UNIX, libc::AF_PACKET, libc::AF_XDP];

/// Bits of a socket's type that are no flags (linux/net.h: SOCK_TYPE_MASK).
const TYPE: u64 = 0xf;

/// What is asked of devices and sockets by ioctl(2): `SIOCETHTOOL` is 0x8946 (linux/sockios.h).
const REQUESTS: [u64; 15] = [
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFNAME,
    libc::SIOCGIFMTU,
    libc::SIOCGIFFLAGS,
    libc::SIOCGIFHWADDR,
    libc::SIOCSIFMTU,
    libc::SIOCSIFFLAGS,
    0x8946,
    libc::TUNSETIFF,
    libc::TUNSETVNETHDRSZ,
    libc::TUNSETOFFLOAD,
];

/// Commands of bpf(2) for AF_XDP: a map, its elements, a program, and its place (linux/bpf.h).
const BPF_COMMANDS: [u64; 5] = [0, 2, 5, 28, BPF_LINK_DETACH];
const BPF_LINK_DETACH: u64 = 34;

/// What of prctl(2) is used: names and sleeps of threads, and what confines them.
const OPTIONS: [libc::c_int; 10] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_TIMERSLACK,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_CAPBSET_READ,
    libc::PR_CAP_AMBIENT,
    // What the kernel told of itself at the start, as how long a tick is (PR_GET_AUXV, linux/prctl.h).
    0x4155_5856,
    // glibc gives memory a name, in later versions.
    libc::PR_SET_VMA,
    libc::PR_GET_DUMPABLE,
];

/// Confines the calling thread, and those that it starts.
pub(super) fn enter() -> Result<(), String> {
    refusals::install().map_err(|error| error.to_string())?;
    // What is allowed last: before it, the others can still be put in force.
    for program in programs().map_err(|error| error.to_string())? {
        apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Confines the calling thread further, if the process is confined.
pub(super) fn enter_worker(process: &Result<(), String>) -> Result<(), String> {
    if process.is_err() {
        return Ok(());
    }
    let program = worker().map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}

/// The filters of the process.
pub(super) fn programs() -> Result<[BpfProgram; 3], BackendError> {
    let mut never = always(&[NEVER, OLDER.0]);
    never.insert(libc::SYS_clone, vec![all_of(&[(0, MaskedEq(flag(libc::CLONE_THREAD)), 0)])?]);
    let clone3 = always(&[&[libc::SYS_clone3]]);
    Ok([
        compile(never, SeccompAction::Allow, SeccompAction::KillProcess)?,
        compile(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))?,
        compile(process_calls()?, SeccompAction::Trap, SeccompAction::Allow)?,
    ])
}

/// The filter of workers.
pub(super) fn worker() -> Result<BpfProgram, BackendError> {
    let mut calls = always(&[EVERYWHERE, OLDER.1]);
    calls.extend(data_only()?);
    calls.insert(libc::SYS_bpf, any_of(0, [BPF_LINK_DETACH])?);
    compile(calls, SeccompAction::Trap, SeccompAction::Allow)
}

fn process_calls() -> Result<Calls, BackendError> {
    let mut calls = always(&[EVERYWHERE, OLDER.1, PROCESS, OLDER.2]);
    calls.extend(data_only()?);
    // The other filters judge them.
    calls.extend(always(&[&[libc::SYS_clone, libc::SYS_clone3]]));
    calls.insert(libc::SYS_socket, sockets()?);
    calls.insert(libc::SYS_ioctl, any_of(1, REQUESTS)?);
    calls.insert(libc::SYS_bpf, any_of(0, BPF_COMMANDS)?);
    calls.insert(libc::SYS_prctl, any_of(0, OPTIONS.map(flag))?);
    calls.insert(libc::SYS_move_pages, vec![asking_where_pages_are()?]);
    calls.insert(libc::SYS_setns, any_of(1, [flag(libc::CLONE_NEWNET)])?);
    Ok(calls)
}

/// Of this process, and without nodes to move them to, of which both halves of the address are looked at.
fn asking_where_pages_are() -> Result<SeccompRule, BackendError> {
    let own = SeccompCondition::new(0, Dword, Eq, 0)?;
    let nowhere = SeccompCondition::new(3, Qword, Eq, 0)?;
    SeccompRule::new(vec![own, nowhere])
}

/// Sockets of IP are for other servers, and those of netlink for interfaces.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let mut sockets = any_of(0, FAMILIES.map(flag))?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            sockets.push(all_of(&[(0, Eq, flag(family)), (1, MaskedEq(TYPE), flag(kind))])?);
        }
    }
    sockets.push(all_of(&[(0, Eq, flag(libc::AF_NETLINK)), (2, Eq, flag(libc::NETLINK_ROUTE))])?);
    Ok(sockets)
}

/// Memory never becomes code.
fn data_only() -> Result<Calls, BackendError> {
    let data = || Ok::<_, BackendError>(vec![all_of(&[(2, MaskedEq(flag(libc::PROT_EXEC)), 0)])?]);
    Ok([(libc::SYS_mmap, data()?), (libc::SYS_mprotect, data()?)].into_iter().collect())
}

fn always(lists: &[&[c_long]]) -> Calls {
    lists.iter().flat_map(|list| list.iter().map(|call| (*call, Vec::new()))).collect()
}

/// Argument `argument` is one of `values`.
fn any_of<const N: usize>(argument: u8, values: [u64; N]) -> Result<Vec<SeccompRule>, BackendError> {
    values.into_iter().map(|value| all_of(&[(argument, Eq, value)])).collect()
}

/// All of these hold: an argument's number, how it is compared, and with what. All of these arguments have 32 bits.
fn all_of(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let condition = |(argument, how, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, Dword, how.clone(), *value)
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

fn flag(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

fn compile(
    calls: Calls,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(calls, otherwise, listed, std::env::consts::ARCH.try_into()?)?.try_into()
}
