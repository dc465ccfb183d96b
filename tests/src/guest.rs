//! A real guest: QEMU with the test image, its console and its monitor.
//!
//! A test reads like a session at a terminal: boot, type, expect. What goes wrong shows the last lines
//! of the console and of QEMU.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::console::{CommandResult, Console};
use crate::daemon::Daemon;
use crate::deadline::wait_for;
use crate::process::Process;
use crate::qmp::Qmp;

/// How long a guest may take from power-on to its shell; plain emulation on a busy machine is slow.
const BOOT_WITHIN: Duration = Duration::from_secs(60);
/// How long a command in the guest may take unless the test says otherwise.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// What the guest prints when it is up (images/README.md).
const READY: &str = "VIADUCT-GUEST-READY";

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
}

impl Machine {
    /// A guest with the address `address`, such as `10.0.1.1/24`, and no NIC yet.
    #[must_use]
    pub fn new(name: &str, address: &str) -> Self {
        let words = vec![format!("viaduct.hostname={name}"), format!("viaduct.ip={address}")];
        Self { name: name.to_owned(), words, network: Vec::new(), processors: 1 }
    }

    /// Plugged into the port of `daemon` that has the guest's name, as `viaduct qemu-args` says.
    #[must_use]
    pub fn on_port_of(mut self, daemon: &Daemon) -> Self {
        self.network = qemu_arguments(daemon, &self.name);
        self
    }

    /// With these arguments for QEMU's command line.
    #[must_use]
    pub fn with_network(mut self, arguments: &[&str]) -> Self {
        self.network = arguments.iter().map(|&argument| argument.to_owned()).collect();
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

    /// With this largest packet, in bytes without the Ethernet header.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u16) -> Self {
        self.words.push(format!("viaduct.mtu={mtu}"));
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

    /// Turns it on; its shell is there after [`Guest::await_shell`].
    ///
    /// # Panics
    /// If QEMU does not start.
    #[must_use]
    pub fn power_on(&self) -> Guest {
        let folder =
            tempfile::Builder::new().prefix("viaduct-guest-").tempdir().expect("a folder for the guest");
        let (serial, monitor) =
            (listen(&folder.path().join("serial")), listen(&folder.path().join("monitor")));
        let mut qemu = Process::start(
            &self.name,
            "qemu-system-x86_64",
            &self.command_line(folder.path()),
            folder.path(),
        );
        let console = Console::new(accept(&serial, &mut qemu)).expect("a thread for the console");
        let qmp = Qmp::new(accept(&monitor, &mut qemu))
            .unwrap_or_else(|error| panic!("the monitor of {}: {error}", self.name));
        Guest { machine: self.clone(), qemu, console, qmp, folder }
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
        if !self.network.iter().any(|argument| argument == "-machine") {
            add("-machine", "q35".to_owned());
        }
        line.extend(self.network.iter().cloned());
        line
    }
}

/// The network part of a guest's command line, as the product prints it for a port of `daemon`.
fn qemu_arguments(daemon: &Daemon, port: &str) -> Vec<String> {
    let output = daemon.command(&["qemu-args", port, "--json"]);
    assert!(output.status.success(), "qemu-args {port} failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("qemu-args --json prints a list of arguments")
}

/// A running guest, turned off when dropped.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    qemu: Process,
    console: Console,
    qmp: Qmp,
    folder: tempfile::TempDir,
}

impl Guest {
    /// Waits until the guest's shell is there, after power-on or a reboot.
    ///
    /// # Panics
    /// If it does not come.
    pub fn await_shell(&mut self) {
        let name = self.name().to_owned();
        if let Err(error) = self.console.expect(READY, BOOT_WITHIN) {
            panic!(
                "{name} did not boot: {error}\nQEMU ({}): {}",
                self.folder.path().display(),
                self.qemu.tail()
            );
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.machine.name
    }

    /// QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.qemu.pid()
    }

    /// Runs a command that must succeed, and returns its output.
    ///
    /// # Panics
    /// If it fails or takes longer than half a minute; the message has its output.
    pub fn run(&mut self, command: &str) -> String {
        self.run_within(COMMAND_WITHIN, command)
    }

    /// Runs a command that must succeed `within` a time, and returns its output.
    ///
    /// # Panics
    /// If it fails or takes longer; the message has its output.
    pub fn run_within(&mut self, within: Duration, command: &str) -> String {
        let result = self.try_run(within, command);
        assert!(
            result.status == 0,
            "{}: {command:?} failed with status {}:\n{}",
            self.name(),
            result.status,
            result.output
        );
        result.output
    }

    /// Runs a command to its end, however it ends.
    ///
    /// # Panics
    /// If it has not ended `within` the time.
    pub fn try_run(&mut self, within: Duration, command: &str) -> CommandResult {
        let result = self.console.run(command, within);
        result.unwrap_or_else(|error| panic!("{}: {command:?}: {error}", self.machine.name))
    }

    /// Starts a command in the background; [`Guest::finish`] has its output.
    pub fn start(&mut self, job: &str, command: &str) {
        self.run(&format!(
            "rm -f /tmp/{job}.*; ( ( {command} ) >/tmp/{job}.out 2>&1; echo $? >/tmp/{job}.status ) & true"
        ));
    }

    /// Waits for the end of a command that [`Guest::start`] began and returns its output.
    ///
    /// # Panics
    /// If it fails or has not ended `within` the time.
    pub fn finish(&mut self, job: &str, within: Duration) -> String {
        let done = format!("the job {job} of {} to end", self.name());
        wait_for(&done, within, || {
            let ended = self.try_run(COMMAND_WITHIN, &format!("test -s /tmp/{job}.status")).status == 0;
            // Asking costs the guest's slow processor something.
            if !ended {
                thread::sleep(Duration::from_millis(300));
            }
            ended.then_some(())
        });
        let output = self.run(&format!("cat /tmp/{job}.out"));
        let status = self.run(&format!("cat /tmp/{job}.status"));
        assert_eq!(status.trim(), "0", "{}: the job {job} failed:\n{output}", self.name());
        output
    }

    /// Reboots from inside and waits for the shell.
    ///
    /// # Panics
    /// If it does not come up again.
    pub fn reboot(&mut self) {
        self.console.type_line("reboot -f");
        self.await_shell();
    }

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
        let event = self.qmp.await_event("DEVICE_DELETED");
        event.unwrap_or_else(|error| panic!("{} did not let go of {device}: {error}", self.machine.name));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the last lines on the console of {}:\n{}", self.machine.name, self.console.tail());
        }
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
    let stream = wait_for("QEMU to connect its console and monitor", COMMAND_WITHIN, || {
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
