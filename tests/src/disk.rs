//! Small disks of a test's own, which get full and which nobody may write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own at a folder, until this is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// One in memory, with these options of mount(8).
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn mount(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        mount(&["-t", "tmpfs", "-o", options, "viaduct-test", path.to_str().unwrap()]);
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Changes its options: `ro` is for reading alone.
    ///
    /// # Panics
    /// If that is refused.
    pub fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }

    /// The same for a process in a network namespace too, which has a view of its own of what is mounted (`ip netns exec`): each view may be
    /// for reading alone.
    ///
    /// # Panics
    /// If that is refused.
    pub fn remount_for(&self, process: u32, options: &str) {
        self.remount(options);
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--mount=/proc/{process}/ns/mnt")).args(["mount", "-o"]);
        enter.arg(format!("remount,{options}")).arg(&self.0);
        assert!(enter.status().expect("nsenter is installed").success());
    }

    /// Fills it to the last byte.
    ///
    /// # Panics
    /// If there is room for 16 MiB.
    pub fn fill(&self) {
        fs::write(self.ballast(), vec![0; 16 << 20]).unwrap_err();
    }

    /// Makes room again.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str]) {
    assert!(Command::new("mount").args(arguments).status().expect("mount is installed").success());
}
