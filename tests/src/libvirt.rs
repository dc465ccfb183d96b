//! A libvirt of our own: its daemon sees private folders, devices, processes and network interfaces, so
//! the machine's own libvirt is never touched, and everything that it started ends with it.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon::Daemon;
use crate::deadline::wait_for;
use crate::guest::Shell;
use crate::machine::image_folder;
use crate::process::{Process, run_to_end};

/// How long libvirtd or virsh may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// Binds the private folders over the machine's and waits for libvirtd, as the first process of a namespace
/// must: libvirt waits for helpers to be gone, and that takes someone who reaps them.
/// A `/dev/kvm` that cannot be used, as some machines have, makes libvirt ask QEMU for its abilities again
/// and again; these domains are emulated, so it is hidden.
const SCRIPT: &str = "set -e
mount --bind \"$1/run\" /run
for name in lib log cache; do mount --bind \"$1/$name\" /var/$name/libvirt; done
mount --bind \"$1/etc\" /etc/libvirt
[ ! -e /dev/kvm ] || mount --bind \"$1/hidden\" /dev/kvm
libvirtd --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirtd.pid &
wait $!
";

/// Who may connect: this test's user.
const LIBVIRTD_CONF: &str = "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nunix_sock_group = \"root\"\n";

/// No helpers beside libvirtd, no control groups and no nested namespaces. QEMU runs as Debian's user for it.
const QEMU_CONF: &str =
    "stdio_handler = \"file\"\nsecurity_driver = \"none\"\ncgroup_controllers = [ ]\nnamespaces = [ ]\n";

/// A running libvirtd.
#[derive(Debug)]
pub struct Libvirt {
    _libvirtd: Process,
    folder: tempfile::TempDir,
}

impl Libvirt {
    /// Starts libvirtd.
    ///
    /// # Panics
    /// If it is not installed, does not start, or this user is not root.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// As [`Libvirt::start`], with this script as hook of QEMU's domains.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn start_with_hook(script: &str) -> Self {
        Self::launch(Some(script))
    }

    fn launch(hook: Option<&str>) -> Self {
        let folder =
            tempfile::Builder::new().prefix("viaduct-libvirt-").tempdir().expect("a folder for libvirt");
        let path = folder.path();
        open_to(path, 0o755);
        for name in ["run", "lib", "log", "cache", "etc", "guests"] {
            fs::create_dir(path.join(name)).expect("libvirt's folders");
        }
        // QEMU makes its sockets here, under its own user.
        open_to(&path.join("guests"), 0o777);
        fs::write(path.join("etc/libvirtd.conf"), LIBVIRTD_CONF).expect("libvirtd's configuration");
        fs::write(path.join("etc/qemu.conf"), QEMU_CONF).expect("libvirt's configuration of QEMU");
        if let Some(script) = hook {
            let hooks = path.join("etc/hooks/qemu.d");
            fs::create_dir_all(&hooks).expect("a folder for hooks");
            fs::write(hooks.join("viaduct"), script).expect("the hook");
            open_to(&hooks.join("viaduct"), 0o755);
        }
        fs::write(path.join("hidden"), "").expect("a file to hide devices with");
        open_to(&path.join("hidden"), 0o600);
        // libvirt changes the owner of what a domain boots: it gets copies.
        for name in ["vmlinuz", "initramfs.gz"] {
            fs::copy(image_folder().join(name), path.join(name)).expect("a copy of the guest's image");
        }
        let namespaces = "--mount --net --pid --fork --kill-child --mount-proc --propagation private";
        let mut arguments: Vec<&str> = namespaces.split(' ').collect();
        arguments.extend(["sh", "-c", SCRIPT, "sh", path.to_str().expect("a path in UTF-8")]);
        let mut libvirtd = Process::start("libvirtd", "unshare", &arguments, path);
        wait_for("libvirtd to listen", ANSWER_WITHIN, || {
            if let Some(status) = libvirtd.ended() {
                panic!("libvirtd ended at once ({status}): {}", libvirtd.tail());
            }
            path.join("run/libvirt/libvirt-sock").exists().then_some(())
        });
        Self { _libvirtd: libvirtd, folder }
    }

    /// Where a domain's QEMU may make a socket of this name.
    #[must_use]
    pub fn guest_socket(&self, name: &str) -> PathBuf {
        self.folder.path().join("guests").join(name)
    }

    /// Runs virsh and returns what it printed.
    ///
    /// # Panics
    /// If it fails; the message has what it said.
    pub fn virsh(&self, arguments: &[&str]) -> String {
        run_to_end(ANSWER_WITHIN, "virsh", &[&["--quiet", "--connect", &self.uri()], arguments].concat())
    }

    /// What virsh says when it refuses.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("virsh").args(["--quiet", "--connect", &self.uri()]).args(arguments).output();
        let output = output.expect("virsh is missing: scripts/setup installs it");
        assert!(!output.status.success(), "virsh {arguments:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn uri(&self) -> String {
        let socket = self.folder.path().join("run/libvirt/libvirt-sock");
        format!("qemu+unix:///system?socket={}", socket.display())
    }

    /// A file with this XML, for virsh.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, xml: &str) -> String {
        let file = self.folder.path().join(format!("{name}.xml"));
        fs::write(&file, xml).expect("a file of XML");
        file.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Defines the domain `name`, or defines it anew.
    ///
    /// # Panics
    /// If libvirt refuses the XML.
    pub fn define(&self, name: &str, xml: &str) {
        self.virsh(&["define", "--validate", &self.file(name, xml)]);
    }

    /// Defines and starts the domain `name` with the XML that `viaduct libvirt-xml` prints for the port of
    /// that name, and waits for its shell.
    ///
    /// # Panics
    /// If libvirt refuses the XML or the guest does not come up.
    #[must_use]
    pub fn boot(&self, daemon: &Daemon, name: &str, address: &str) -> Domain<'_> {
        self.boot_with(daemon, name, address, "")
    }

    /// As [`Libvirt::boot`], with packed rings: `viaduct libvirt-xml --packed`.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn boot_packed(&self, daemon: &Daemon, name: &str, address: &str) -> Domain<'_> {
        self.define(name, &self.domain_xml(daemon, name, address, &["--packed"]));
        self.boot_again(name)
    }

    /// As [`Libvirt::boot`], with these elements in the domain.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn boot_with(&self, daemon: &Daemon, name: &str, address: &str, elements: &str) -> Domain<'_> {
        let name_element = format!("<name>{name}</name>");
        let xml = self.domain_xml(daemon, name, address, &[]);
        self.define(name, &xml.replacen(&name_element, &format!("{name_element}\n  {elements}"), 1));
        self.boot_again(name)
    }

    /// Starts the domain `name`, which was defined earlier, and waits for its shell.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn boot_again(&self, name: &str) -> Domain<'_> {
        let serial = self.serial_socket(name);
        // What the last run left behind, if anything.
        let _ = fs::remove_file(&serial);
        let listener = UnixListener::bind(&serial).expect("a socket for the console");
        listener.set_nonblocking(true).expect("a socket that does not wait");
        open_to(&serial, 0o777);
        self.virsh(&["start", name]);
        let console = wait_for("QEMU to connect its console", ANSWER_WITHIN, || listener.accept().ok()).0;
        console.set_nonblocking(false).expect("a blocking stream");
        let mut domain = Domain { libvirt: self, shell: Shell::new(name, console) };
        domain.await_shell();
        domain
    }

    fn serial_socket(&self, name: &str) -> PathBuf {
        self.guest_socket(&format!("{name}-serial"))
    }

    fn domain_xml(&self, daemon: &Daemon, name: &str, address: &str, words: &[&str]) -> String {
        let output = daemon.command(&[&["libvirt-xml", name, "--json"], words].concat());
        assert!(
            output.status.success(),
            "libvirt-xml {name} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let printed: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("libvirt-xml --json prints JSON");
        let part = |key: &str| {
            printed[key].as_str().unwrap_or_else(|| panic!("libvirt-xml --json has no {key}: {printed}"))
        };
        format!(
            "<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>512</memory>
  {memory}
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{folder}/vmlinuz</kernel>
    <initrd>{folder}/initramfs.gz</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 viaduct.ip={address} viaduct.hostname={name}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    {interface}
    <serial type='unix'><source mode='connect' path='{serial}'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
",
            memory = part("domain"),
            interface = part("interface"),
            folder = self.folder.path().display(),
            serial = self.serial_socket(name).display(),
        )
    }
}

/// A running domain, turned off when dropped.
#[derive(Debug)]
pub struct Domain<'a> {
    libvirt: &'a Libvirt,
    shell: Shell,
}

impl Drop for Domain<'_> {
    fn drop(&mut self) {
        // While a test fails, libvirtd's end is enough: a second panic would hide the first.
        if !std::thread::panicking() {
            self.libvirt.virsh(&["destroy", self.shell.name()]);
        }
    }
}

impl Deref for Domain<'_> {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

impl DerefMut for Domain<'_> {
    fn deref_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("cannot change the mode of {}: {error}", path.display()));
}
