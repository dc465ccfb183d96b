//! The test guest's initramfs with this very program added: the guest's side of requests and responses.
//!
//! Linux takes several archives one behind the other (Documentation/driver-api/early-userspace/buffer-format); ours is
//! a plain cpio one in the format "newc".

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::error::BenchError;

/// Where everything of ours is in the guest.
const FOLDER: &str = "bench";
/// Each archive begins at a multiple of 4 bytes.
const ALIGNMENT: usize = 512;
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// How a guest calls this program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Program(String);

impl Program {
    /// A shell's words for it.
    pub(super) fn words(&self) -> &str {
        &self.0
    }
}

/// Writes to `to` the initramfs `image` with this program and the libraries that it runs with.
pub(super) fn write(image: &Path, to: &Path) -> Result<Program, BenchError> {
    let read = |path: &Path| fs::read(path).map_err(BenchError::system(format!("read {}", path.display())));
    let mut bytes = read(image)?;
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    let program = std::env::current_exe().map_err(BenchError::system("find this program's own file"))?;
    let libraries = libraries();
    add(&mut bytes, FOLDER, DIRECTORY, &[]);
    add(&mut bytes, &format!("{FOLDER}/viaduct"), EXECUTABLE, &read(&program)?);
    let mut loader = None;
    for library in &libraries {
        let Some(name) = library.file_name().and_then(|name| name.to_str()) else { continue };
        add(&mut bytes, &format!("{FOLDER}/{name}"), EXECUTABLE, &read(library)?);
        if name.starts_with("ld-") {
            loader = Some(name.to_owned());
        }
    }
    add(&mut bytes, "TRAILER!!!", 0, &[]);
    fs::write(to, bytes).map_err(BenchError::system(format!("write {}", to.display())))?;
    Ok(Program(match loader {
        Some(loader) => format!("/{FOLDER}/{loader} --library-path /{FOLDER} /{FOLDER}/viaduct"),
        None => format!("/{FOLDER}/viaduct"),
    }))
}

/// The libraries that this process has mapped, and the loader that mapped them.
fn libraries() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // proc_pid_maps(5): the path is the sixth field; code is mapped executable.
    let paths =
        maps.lines().filter(|line| line.contains("r-xp")).filter_map(|line| line.split_whitespace().nth(5));
    let mut libraries: Vec<PathBuf> =
        paths.filter(|path| path.starts_with('/') && path.contains(".so")).map(PathBuf::from).collect();
    libraries.sort();
    libraries.dedup();
    libraries
}

/// Appends one file: a header of thirteen numbers, its name and its contents, each to a multiple of 4.
fn add(archive: &mut Vec<u8>, name: &str, mode: u32, contents: &[u8]) {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let links = if mode == DIRECTORY { 2 } else { 1 };
    let fields = [0, mode, 0, 0, links, 0, length(contents.len()), 0, 0, 0, 0, length(name.len() + 1), 0];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08X}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn cpio_reads_the_archive() {
        let mut archive = Vec::new();
        add(&mut archive, "bench", DIRECTORY, &[]);
        add(&mut archive, "bench/viaduct", EXECUTABLE, b"contents");
        add(&mut archive, "TRAILER!!!", 0, &[]);
        let mut cpio = Command::new("cpio")
            .args(["-t", "-v", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is missing: scripts/setup installs it");
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        let listing = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        assert!(listing.contains("drwxr-xr-x") && listing.contains("8 "), "{listing}");
        assert!(listing.lines().last().unwrap().ends_with("bench/viaduct"), "{listing}");
    }

    #[test]
    fn the_loader_and_the_c_library_of_this_program_are_found() {
        let names: Vec<String> = libraries().iter().map(|path| path.display().to_string()).collect();
        assert!(names.iter().any(|name| name.contains("libc.so")), "{names:?}");
        assert!(names.iter().any(|name| name.contains("/ld-")), "{names:?}");
    }
}
