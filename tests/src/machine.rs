//! A machine of our own: QEMU with the test image, plugged in as the product says.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::deadline::wait_for;
use crate::guest::Shell;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::qmp::Qmp;

/// The program.
const QEMU: &str = "qemu-system-x86_64";

/// How long QEMU may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// The folder with the test guest's kernel and initramfs: `VIADUCT_IMAGE_DIR`, else images/cache.
///
/// # Panics
/// If the image was not made; the message says how.
#[must_use]
pub fn image_folder() -> PathBuf {
    let folder = std::env::var_os("VIADUCT_IMAGE_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/cache"), PathBuf::from);
    for name in ["vmlinuz", "initramfs.gz"] {
        assert!(
            folder.join(name).exists(),
            "{} is missing: run images/build first",
            folder.join(name).display()
        );
    }
    folder
}

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    words: Vec<String>,
    network: Vec<String>,
    processors: u8,
    /// The network namespace in which QEMU runs, by name.
    namespace: Option<String>,
}

impl Machine {
    /// A guest with the address `address`, such as `10.0.1.1/24`, and no NIC yet.
    #[must_use]
    pub fn new(name: &str, address: &str) -> Self {
        let words = vec![format!("viaduct.hostname={name}"), format!("viaduct.ip={address}")];
        Self { name: name.to_owned(), words, network: Vec::new(), processors: 1, namespace: None }
    }

    /// Plugged into the port of `daemon` that has the guest's name, as `viaduct qemu-args` says.
    #[must_use]
    pub fn on_port_of(mut self, daemon: &Daemon) -> Self {
        self.network = qemu_arguments(daemon, &self.name, &[]);
        self
    }

    /// As [`Machine::on_port_of`], with packed rings: `viaduct qemu-args --packed`.
    #[must_use]
    pub fn packed_on_port_of(mut self, daemon: &Daemon) -> Self {
        self.network = qemu_arguments(daemon, &self.name, &["--packed"]);
        self
    }

    /// Plugged into a TAP device of a namespace by QEMU itself, as guests are without a switch like ours.
    #[must_use]
    pub fn on_tap(mut self, namespace: &Namespace, tap: &str) -> Self {
        self.network =
            ["-netdev", "tap,id=net", "-device", "virtio-net-pci,netdev=net"].map(str::to_owned).into();
        self.network[1] += &format!(",ifname={tap},script=no,downscript=no,vhost=off");
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// With a card on each of these TAP devices of a namespace; QEMU knows them as `net0`, `net1` and so on.
    #[must_use]
    pub fn on_taps(mut self, namespace: &Namespace, taps: &[&str]) -> Self {
        let card = |(number, tap): (usize, &&str)| {
            let netdev = format!("tap,id=net{number},ifname={tap},script=no,downscript=no,vhost=off");
            let mac = format!("52:54:00:99:00:{number:02x}");
            // Without a speed, the bonding driver takes a card for one that cannot speak LACP.
            let device = format!("virtio-net-pci,netdev=net{number},mac={mac},speed=1000,duplex=full");
            ["-netdev".to_owned(), netdev, "-device".to_owned(), device]
        };
        self.network = taps.iter().enumerate().flat_map(card).collect();
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// Plugged into another port, and waiting there for the same guest to be migrated from `uri`.
    ///
    /// # Panics
    /// If a port has no virtio-net device.
    #[must_use]
    pub fn arriving(mut self, daemon: &Daemon, port: &str, uri: &str) -> Self {
        let mac_in = |arguments: &[String]| {
            let device = arguments.iter().find(|argument| argument.starts_with("virtio-net-pci"));
            let mac =
                device.and_then(|device| device.split(',').find(|property| property.starts_with("mac=")));
            mac.expect("a port's arguments name its address").to_owned()
        };
        let there = qemu_arguments(daemon, port, &[]);
        let (own, other) = (mac_in(&self.network), mac_in(&there));
        self.network = there.iter().map(|argument| argument.replace(&other, &own)).collect();
        self.network.extend(["-incoming".to_owned(), uri.to_owned()]);
        self
    }

    /// With more properties for its virtio-net device, such as `mrg_rxbuf=off`.
    ///
    /// # Panics
    /// If it has no such device yet.
    #[must_use]
    pub fn with_device_properties(mut self, properties: &str) -> Self {
        let device = self.network.iter_mut().find(|argument| argument.starts_with("virtio-net-pci"));
        let device = device.unwrap_or_else(|| panic!("{} has no virtio-net-pci device", self.name));
        device.push(',');
        device.push_str(properties);
        self
    }

    /// With more than one processor.
    #[must_use]
    pub fn with_processors(mut self, processors: u8) -> Self {
        self.processors = processors;
        self
    }

    /// Turns it on and waits for its shell.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn boot(&self) -> Guest {
        let mut guest = self.power_on();
        guest.await_shell();
        guest
    }

    /// Turns it on; its shell is there after [`Shell::await_shell`](crate::guest::Shell::await_shell).
    ///
    /// # Panics
    /// If QEMU does not start.
    #[must_use]
    pub fn power_on(&self) -> Guest {
        let folder =
            tempfile::Builder::new().prefix("viaduct-guest-").tempdir().expect("a folder for the guest");
        let (serial, monitor) =
            (listen(&folder.path().join("serial")), listen(&folder.path().join("monitor")));
        let mut command = match &self.namespace {
            Some(_) => Command::new("ip"),
            None => Command::new(QEMU),
        };
        if let Some(namespace) = &self.namespace {
            command.args(["netns", "exec", namespace, QEMU]);
        }
        command.args(self.command_line(folder.path()));
        let mut qemu = Process::spawn(&self.name, &command, folder.path());
        let shell = Shell::new(&self.name, accept(&serial, &mut qemu));
        let qmp = Qmp::new(accept(&monitor, &mut qemu))
            .unwrap_or_else(|error| panic!("the monitor of {}: {error}", self.name));
        Guest { machine: self.clone(), shell, qemu, qmp, _folder: folder }
    }

    fn command_line(&self, folder: &Path) -> Vec<String> {
        let (image, socket) = (image_folder(), |name: &str| format!("path={}", folder.join(name).display()));
        let mut line: Vec<String> = [
            "-nodefaults -no-user-config -display none -device virtio-rng-pci,max-bytes=1024,period=1000",
            "-accel tcg -m 512",
        ]
        .iter()
        .flat_map(|words| words.split(' '))
        .map(str::to_owned)
        .collect();
        let mut add = |option: &str, value: String| line.extend([option.to_owned(), value]);
        add("-smp", self.processors.to_string());
        add("-kernel", image.join("vmlinuz").display().to_string());
        add("-initrd", image.join("initramfs.gz").display().to_string());
        add("-append", format!("console=ttyS0 quiet panic=-1 {}", self.words.join(" ")));
        add("-chardev", format!("socket,id=serial,{}", socket("serial")));
        add("-serial", "chardev:serial".to_owned());
        add("-chardev", format!("socket,id=monitor,{}", socket("monitor")));
        add("-mon", "chardev=monitor,mode=control".to_owned());
        add("-machine", "q35".to_owned());
        // Where a NIC can be pulled out and plugged in; the root bus of this machine allows neither.
        add("-device", "pcie-root-port,id=nic-slot,chassis=1".to_owned());
        line.extend(self.network.iter().cloned());
        line
    }
}

/// The network part of a guest's command line, as the product prints it for a port of `daemon` with these words more.
fn qemu_arguments(daemon: &Daemon, port: &str, words: &[&str]) -> Vec<String> {
    let output = daemon.command(&[&["qemu-args", port, "--json"], words].concat());
    assert!(output.status.success(), "qemu-args {port} failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("qemu-args --json prints a list of arguments")
}

/// A running guest, turned off when dropped.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    shell: Shell,
    qemu: Process,
    qmp: Qmp,
    _folder: tempfile::TempDir,
}

impl Guest {
    /// Kills QEMU, as a crash would, and boots the same machine again.
    #[must_use]
    pub fn crash_and_boot(mut self) -> Self {
        self.qemu.kill();
        self.machine.boot()
    }

    /// Executes a command of QEMU's monitor.
    ///
    /// # Panics
    /// If QEMU refuses it.
    pub fn monitor(&mut self, command: &str, arguments: &Value) -> Value {
        let answer = self.qmp.execute(command, arguments);
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.machine.name))
    }

    /// Pulls a device out of the running guest and waits until it has let go.
    ///
    /// # Panics
    /// If the guest does not.
    pub fn unplug(&mut self, device: &str) {
        self.monitor("device_del", &json!({ "id": device }));
        let gone = self.qmp.await_deleted(device);
        gone.unwrap_or_else(|error| panic!("{} did not let go of {device}: {error}", self.machine.name));
    }
}

impl Deref for Guest {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

impl DerefMut for Guest {
    fn deref_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

/// Listens where QEMU will connect, so that not a byte of the guest's first words is lost.
fn listen(path: &Path) -> UnixListener {
    let listener =
        UnixListener::bind(path).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.unwrap_or_else(|error| panic!("cannot listen on {}: {error}", path.display()))
}

/// Waits for QEMU to connect.
fn accept(listener: &UnixListener, qemu: &mut Process) -> UnixStream {
    let stream = wait_for("QEMU to connect its console and monitor", START_WITHIN, || {
        if let Some(status) = qemu.ended() {
            panic!("QEMU ended at once ({status}): {}", qemu.tail());
        }
        match listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("cannot accept QEMU's connection: {error}"),
        }
    });
    stream.set_nonblocking(false).expect("a blocking stream");
    stream
}
