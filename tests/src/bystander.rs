//! Two cards that exchange numbered frames all the time, while something happens to somebody else.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::nic::{Nic, NicOptions};
use crate::rounds::{Pace, Rounds};
use crate::stream::Flow;

/// The two cards' addresses.
pub const ADDRESSES: [[u8; 6]; 2] = [[2, 0, 0, 0xb0, 0, 1], [2, 0, 0, 0xb0, 0, 2]];
/// Frames of one round, each way.
const BURST: usize = 16;
/// Between two rounds.
const PAUSE: Duration = Duration::from_micros(500);
/// A round in which nothing is lost ends within this time, whatever others do.
const ROUND_LIMIT: Duration = Duration::from_secs(2);

/// The pair at work, in a thread of its own. In each round, 16 frames go both ways, none is lost and all keep their order.
pub struct Bystander(Rounds);

impl Bystander {
    /// Connects to the two ports' sockets and begins.
    #[must_use]
    pub fn start(sockets: [PathBuf; 2]) -> Self {
        let options = NicOptions { queue_size: 1024, ..NicOptions::default() };
        let [mut a, mut b] = sockets.map(|path| Nic::connect(&path, &options));
        let pace = Pace { who: "bystanders", pause: PAUSE, patience: Duration::from_secs(10) };
        let bystander = Self(Rounds::start(pace, move || {
            let [here, there] = ADDRESSES;
            let mut flows = [Flow::new(here, there), Flow::new(there, here)];
            flows.iter_mut().for_each(|flow| flow.limit = ROUND_LIMIT);
            move || {
                flows[0].carry(&mut a, &mut b, (0..BURST).map(|index| 60 + 90 * index));
                flows[1].carry(&mut b, &mut a, (0..BURST).map(|index| 60 + 90 * index));
            }
        }));
        bystander.wait_for_rounds(3);
        bystander
    }

    /// Ends the traffic; panics when a frame was lost, doubled, out of order or changed.
    pub fn finish(self) {
        self.0.finish();
    }
}

impl Deref for Bystander {
    type Target = Rounds;

    fn deref(&self) -> &Rounds {
        &self.0
    }
}
