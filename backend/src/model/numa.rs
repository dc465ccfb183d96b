//! Where guests' memory lies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a guest's memory lies on a machine with nodes (NUMA), and who reads it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NumaStatus {
    /// The node that has most of what was looked at of the guest's memory.
    pub memory_node: u32,
    /// The processors of the workers that read the guest's rings, ascending.
    pub cpus: Vec<usize>,
    /// Whether all of these are on that node.
    pub is_local: bool,
}
