//! Guests and workers on made-up nodes (NUMA): memory is where the kernel put it, and processors are where the test says.

use std::fs;

use super::*;
use crate::model::NumaStatus;
use crate::numa::{Topology, node_of_pages};

/// A machine whose nodes have these processors.
fn machine(nodes: &[(u32, &str)]) -> Topology {
    let folder = tempfile::tempdir().unwrap();
    for (node, processors) in nodes {
        let node = folder.path().join(format!("node{node}"));
        fs::create_dir(&node).unwrap();
        fs::write(node.join("cpulist"), processors).unwrap();
    }
    Topology::read(folder.path())
}

/// The node on which a guest's memory really is.
fn home(guest: &Guest) -> u32 {
    let page = guest.memory.translate(&mut 0, 0, 1).unwrap().host;
    // SAFETY: a byte of mapped memory; that it is read brings it there.
    let _ = unsafe { page.read_volatile() };
    node_of_pages(&[page]).expect("a kernel with NUMA")
}

/// Waits until the control thread says this of a guest's memory.
fn wait_for(dataplane: &mut Dataplane, index: usize, expected: &NumaStatus) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while dataplane.numa(port(index)).as_ref() != Some(expected) {
        assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", dataplane.numa(port(index)));
        dataplane.tick();
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_guest_gets_the_worker_on_the_node_of_its_memory_and_a_far_one_is_told_until_it_can_move() {
    let mut dataplane = dataplane(&[0, 1]);
    let (a, b) = (Guest::new(0), Guest::new(1));
    let memory_node = home(&a);
    assert_eq!(home(&b), memory_node);
    dataplane.set_topology(machine(&[(memory_node, "1\n"), (memory_node + 1, "0\n")]));
    let nodes: Vec<_> = dataplane.workers().iter().map(|worker| worker.node).collect();
    assert_eq!(nodes, [Some(memory_node + 1), Some(memory_node)]);
    assert_eq!(dataplane.numa(port(0)), None, "nobody is there");
    let near = NumaStatus { memory_node, cpus: vec![1], is_local: true };
    let far = NumaStatus { memory_node, cpus: vec![0], is_local: false };
    dataplane.attach(a.setup([0, 0]));
    wait_for(&mut dataplane, 0, &near);
    // An even load comes first, and the near worker has something to do.
    dataplane.attach(b.setup([0, 0]));
    wait_for(&mut dataplane, 1, &far);
    dataplane.detach(port(0));
    assert_eq!(dataplane.numa(port(0)), None, "it is gone");
    wait_for(&mut dataplane, 1, &near);
}

#[test]
fn where_the_kernel_tells_of_no_nodes_nobody_is_called_near_or_far() {
    let mut dataplane = dataplane(&[0]);
    let a = Guest::new(0);
    let memory_node = home(&a);
    dataplane.set_topology(Topology::default());
    assert_eq!(dataplane.workers()[0].node, None);
    dataplane.attach(a.setup([0, 0]));
    dataplane.tick();
    assert_eq!(dataplane.numa(port(0)), None);
    dataplane.detach(port(0));
    dataplane.set_topology(machine(&[(memory_node, "0\n")]));
    dataplane.attach(a.setup([0, 0]));
    wait_for(&mut dataplane, 0, &NumaStatus { memory_node, cpus: vec![0], is_local: true });
}
