//! What a client counts.

/// What happened to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientCounters {
    /// Messages that were sent.
    pub sent: u64,
    /// Offers that came while servers were looked for.
    pub offers: u64,
    /// Acknowledgements that were believed.
    pub acknowledged: u64,
    /// Refusals that were believed.
    pub refused: u64,
    /// Addresses that turned out to be in use.
    pub declined: u64,
    /// Leases that ended because no server went on.
    pub expired: u64,
    /// Messages for other clients or other questions, or from another server than the one that was asked.
    pub ignored: u64,
    /// Messages that were wrong.
    pub malformed: u64,
}
