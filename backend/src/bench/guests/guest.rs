//! A guest: QEMU with the test image, and a shell on its serial line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use viaduct_qemu::{GuestPort, Listener, guest_memory_args, qemu_args};

use super::console::Console;
use super::initramfs::{self, Program};
use crate::bench::error::BenchError;
use crate::bench::process::{Process, find, run};

const QEMU: &str = "qemu-system-x86_64";
const QEMU_PACKAGE: &str = "qemu-system-x86";
const MEMORY: &str = "384M";
/// How long an emulated guest may take until its shell answers.
const BOOT_WITHIN: Duration = Duration::from_secs(90);
/// How long a guest under KVM may take; a machine that has KVM and cannot run a guest with it takes for ever.
const TRIAL_WITHIN: Duration = Duration::from_secs(10);

/// What carries a guest's frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wire {
    /// None: the guest is only to boot.
    Nothing,
    /// A port of Viaduct, which listens at this socket.
    Viaduct(PathBuf),
    /// A TAP device.
    Tap(String),
}

/// What all guests have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kit {
    qemu: PathBuf,
    folder: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// How a guest calls this program.
    pub(super) program: Program,
    /// `kvm` or `tcg`.
    pub(super) accelerator: &'static str,
}

impl Kit {
    /// Looks for QEMU, prepares the image in `folder`, and finds out whether KVM runs guests here.
    pub(super) fn new(image: &Path, folder: &Path) -> Result<Self, BenchError> {
        let qemu = find(QEMU, QEMU_PACKAGE)?;
        let part = |name: &str| {
            let path = image.join(name);
            let missing = || BenchError::Refused {
                what: format!("read {}", path.display()),
                error: "it is not there".to_owned(),
                remedy: "images/build makes the test guest; --image names another folder".to_owned(),
            };
            path.exists().then(|| path.clone()).ok_or_else(missing)
        };
        let (kernel, initramfs) = (part("vmlinuz")?, folder.join("initramfs"));
        let program = initramfs::write(&part("initramfs.gz")?, &initramfs)?;
        let mut kit =
            Self { qemu, folder: folder.to_owned(), kernel, initramfs, program, accelerator: "kvm" };
        if !Path::new("/dev/kvm").exists() || kit.boot("trial", 9, &Wire::Nothing, TRIAL_WITHIN).is_err() {
            kit.accelerator = "tcg";
        }
        Ok(kit)
    }

    /// QEMU's version.
    pub(super) fn version(&self) -> Result<String, BenchError> {
        let text = run((&self.qemu, QEMU_PACKAGE), &["--version"])?;
        let number = text.split_whitespace().nth(3).unwrap_or("of unknown version");
        Ok(format!("QEMU {number}"))
    }

    /// Turns a guest on; its address ends in `host`.
    pub(super) fn power_on(&self, name: &str, host: u8, wire: &Wire) -> Result<Guest, BenchError> {
        let socket = self.folder.join(format!("{name}.serial"));
        let listener = Console::listen(&socket)?;
        let arguments = self.arguments(name, host, wire, &socket);
        let mut process = Process::start(name, (&self.qemu, QEMU_PACKAGE), arguments, &self.folder)?;
        let console = Console::accept(name, &listener, &mut process)?;
        let _ = std::fs::remove_file(&socket);
        Ok(Guest { console, address: address(host), process })
    }

    fn boot(&self, name: &str, host: u8, wire: &Wire, limit: Duration) -> Result<Guest, BenchError> {
        let mut guest = self.power_on(name, host, wire)?;
        guest.console.await_shell(limit).map(|()| guest)
    }

    /// The same for every guest but for its network.
    fn arguments(&self, name: &str, host: u8, wire: &Wire, serial: &Path) -> Vec<String> {
        let mut words: Vec<String> =
            ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].map(str::to_owned).into();
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        add("-machine", "q35".to_owned());
        add("-accel", self.accelerator.to_owned());
        for argument in guest_memory_args(MEMORY) {
            add(argument.option, argument.value);
        }
        add("-kernel", self.kernel.display().to_string());
        add("-initrd", self.initramfs.display().to_string());
        let address = address(host);
        add(
            "-append",
            format!("console=ttyS0 quiet panic=-1 viaduct.hostname={name} viaduct.ip={address}/24"),
        );
        add("-chardev", format!("socket,id=serial,path={}", serial.display()));
        add("-serial", "chardev:serial".to_owned());
        add("-device", "virtio-rng-pci".to_owned());
        for (option, value) in network(host, wire) {
            add(option, value);
        }
        words
    }
}

fn address(host: u8) -> String {
    format!("198.18.0.{host}")
}

fn network(host: u8, wire: &Wire) -> Vec<(&'static str, String)> {
    let mac = format!("52:54:00:00:00:{host:02x}");
    match wire {
        Wire::Nothing => Vec::new(),
        Wire::Viaduct(socket) => {
            let (name, socket) = ("net".to_owned(), socket.display().to_string());
            let port = GuestPort {
                name,
                socket,
                listener: Listener::Switch,
                mac,
                queues: 1,
                mtu: 1500,
                packed: false,
            };
            qemu_args(&port).into_iter().map(|argument| (argument.option, argument.value)).collect()
        }
        Wire::Tap(device) => {
            // The kernel's own backend where the machine has it, as libvirt does.
            let vhost = if Path::new("/dev/vhost-net").exists() { ",vhost=on" } else { "" };
            let netdev = format!("tap,id=net,ifname={device},script=no,downscript=no{vhost}");
            let card = format!("virtio-net-pci,netdev=net,mac={mac},rx_queue_size=1024");
            vec![("-netdev", netdev), ("-device", card)]
        }
    }
}

/// A running guest, turned off when dropped.
#[derive(Debug)]
pub(super) struct Guest {
    /// Its shell.
    pub(super) console: Console,
    /// Its IPv4 address.
    pub(super) address: String,
    process: Process,
}

impl Guest {
    /// Waits until its shell is there.
    pub(super) fn await_shell(&mut self) -> Result<(), BenchError> {
        let ready = self.console.await_shell(BOOT_WITHIN);
        // What QEMU said when it gave up says more than the silence of the console.
        self.process.check().and(ready)
    }
}
