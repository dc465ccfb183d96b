//! On which nodes (NUMA) of the machine processors and guests' memory are.
//!
//! A worker copies each frame from one guest's memory into another's. Where that is another node's, each cache line crosses from node to
//! node: slower, and by a link that all share. So it is told where memory lies, and workers near to it are preferred where several would do
//! ([`crate::dataplane`]); memory is never moved, since it is the guest's, and whoever starts the guest says where it belongs.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// Where the kernel tells of nodes (Documentation/ABI/stable/sysfs-devices-node).
const NODES: &str = "/sys/devices/system/node";

/// The machine's nodes and their processors. One whose kernel tells of none has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Topology(BTreeMap<u32, Vec<RangeInclusive<usize>>>);

impl Topology {
    /// That of this machine.
    #[must_use]
    pub(crate) fn of_this_machine() -> Self {
        Self::read(Path::new(NODES))
    }

    /// What stands in a folder like the kernel's: `nodeN/cpulist` for each node.
    #[must_use]
    pub(crate) fn read(folder: &Path) -> Self {
        let node = |entry: fs::DirEntry| {
            let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
            Some((number, cpu_list(&list)?))
        };
        Self(fs::read_dir(folder).into_iter().flatten().flatten().filter_map(node).collect())
    }

    /// The node of a processor, if the kernel tells of it.
    #[must_use]
    pub(crate) fn node_of(&self, cpu: usize) -> Option<u32> {
        let has = |ranges: &[RangeInclusive<usize>]| ranges.iter().any(|range| range.contains(&cpu));
        self.0.iter().find_map(|(node, ranges)| has(ranges).then_some(*node))
    }

    /// Whether there is more than one node, so that memory may be far.
    #[must_use]
    pub(crate) fn has_several(&self) -> bool {
        self.0.len() > 1
    }
}

/// Numbers as the kernel lists them, like `0-3,8`; of nodes without processors nothing. `None`: it is no such list.
fn cpu_list(text: &str) -> Option<Vec<RangeInclusive<usize>>> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter(|text| !text.is_empty()).map(part).collect()
}

/// The node on which most of these pages of ours are; `None`: none of them is anywhere yet, or the kernel does not tell.
#[must_use]
pub(crate) fn node_of_pages(pages: &[*mut u8]) -> Option<u32> {
    let mut nodes: Vec<libc::c_int> = vec![-1; pages.len()];
    let (whose, nowhere, flags) = (0, std::ptr::null::<libc::c_int>(), 0);
    // SAFETY: move_pages(2) without nodes to move to moves nothing: it reads `pages.len()` addresses, behind which it touches nothing, and
    // writes as many numbers.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            whose,
            pages.len(),
            pages.as_ptr(),
            nowhere,
            nodes.as_mut_ptr(),
            flags,
        )
    };
    // What is not there yet has a negative number.
    if done < 0 { None } else { most(nodes.into_iter().filter_map(|node| u32::try_from(node).ok())) }
}

/// What comes most often; of several the lowest.
fn most(nodes: impl Iterator<Item = u32>) -> Option<u32> {
    let mut counts = BTreeMap::<u32, usize>::new();
    nodes.for_each(|node| *counts.entry(node).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(node, _)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these nodes, as the kernel would tell of it.
    fn machine(nodes: &[(&str, &str)]) -> Topology {
        let folder = tempfile::tempdir().unwrap();
        for (node, list) in nodes {
            fs::create_dir(folder.path().join(node)).unwrap();
            fs::write(folder.path().join(node).join("cpulist"), list).unwrap();
        }
        fs::write(folder.path().join("online"), "0-1\n").unwrap();
        Topology::read(folder.path())
    }

    #[test]
    fn processors_belong_to_the_nodes_that_list_them() {
        let two = machine(&[("node0", "0-3,8-11\n"), ("node1", "4-7,12,14\n"), ("node10", "\n")]);
        let nodes: Vec<Option<u32>> = [0, 3, 4, 7, 8, 11, 12, 13, 14].map(|cpu| two.node_of(cpu)).to_vec();
        let expected = [Some(0), Some(0), Some(1), Some(1), Some(0), Some(0), Some(1), None, Some(1)];
        assert_eq!(nodes, expected);
        assert_eq!(two.0.len(), 3, "a node may have memory alone");
        assert!(two.has_several() && !machine(&[("node0", "0-3\n")]).has_several());
    }

    #[test]
    fn what_is_no_topology_tells_of_no_node() {
        let odd = machine(&[("node0", "0-x\n"), ("node1", "5\n"), ("nodes", "0\n"), ("power", "0\n")]);
        assert_eq!([odd.node_of(0), odd.node_of(5)], [None, Some(1)]);
        assert_eq!(Topology::read(Path::new("/nowhere")), Topology::default());
        assert_eq!(cpu_list("\n"), Some(Vec::new()));
        assert_eq!(cpu_list("0-"), None);
    }

    #[test]
    fn the_node_of_most_pages_counts() {
        assert_eq!(most([1, 0, 1].into_iter()), Some(1));
        assert_eq!(most([1, 0].into_iter()), Some(0));
        assert_eq!(most(std::iter::empty()), None);
    }

    #[test]
    fn pages_that_were_touched_are_on_a_node_of_this_machine() {
        let mut memory = vec![1_u8; 1 << 16];
        let page = memory.as_mut_ptr();
        let node = node_of_pages(&[page]).expect("a kernel with NUMA, as all distributions have");
        assert!(Topology::of_this_machine().0.contains_key(&node), "{node}");
        assert_eq!(node_of_pages(&[std::ptr::null_mut()]), None);
        assert_eq!(node_of_pages(&[]), None);
    }
}
