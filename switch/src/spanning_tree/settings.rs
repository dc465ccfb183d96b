//! What a person may set: of a tree, and of each of its ports (IEEE 802.1D-2004, 17.13 and 17.14).

use std::ops::RangeInclusive;

use thiserror::Error;

use super::vector::{PortId, Times};

/// Which protocol a tree speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// The protocol of 1998: slow, for neighbours that cannot bear RSTP (Force Protocol Version 0).
    Stp,
    /// RSTP; with a neighbour that speaks STP alone, STP.
    Rstp,
}

/// A tree's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeSettings {
    /// Which protocol it speaks.
    pub version: Version,
    /// The bridge's priority, 0 to 61,440 in steps of 4096; the least of all becomes the root.
    pub priority: u16,
    /// Seconds between two hellos, 1 or 2.
    pub hello_time_s: u8,
    /// Seconds after which information is not believed any more, 6 to 40.
    pub max_age_s: u8,
    /// Seconds that a port listens, and then learns, when nobody agrees to less, 4 to 30.
    pub forward_delay_s: u8,
    /// How many messages a port may send in a second, 1 to 10.
    pub tx_hold_count: u8,
}

impl Default for TreeSettings {
    /// What the standard recommends (IEEE 802.1D-2004, table 17-1 and table 17-2).
    fn default() -> Self {
        Self {
            version: Version::Rstp,
            priority: 0x8000,
            hello_time_s: 2,
            max_age_s: 20,
            forward_delay_s: 15,
            tx_hold_count: 6,
        }
    }
}

/// Why settings are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SettingsError {
    /// The priority is no multiple of 4096.
    #[error("a bridge priority of {0} is no multiple of 4096 from 0 to 61440; use 32768 unless it matters")]
    BridgePriority(u16),
    /// The time is not within its bounds.
    #[error("{what} of {value} s is not within {min} to {max} s (IEEE 802.1D-2004, table 17-1)")]
    Time {
        /// Which time.
        what: &'static str,
        /// What it was to be.
        value: u8,
        /// The least.
        min: u8,
        /// The most.
        max: u8,
    },
    /// The number of messages is not within its bounds.
    #[error("a transmit hold count of {0} is not within 1 to 10; use 6 unless it matters")]
    HoldCount(u8),
    /// The times do not go together.
    #[error(
        "max age {max_age} s, hello time {hello_time} s and forward delay {forward_delay} s do not go together: \
         2 x (forward delay - 1) >= max age >= 2 x (hello time + 1) (IEEE 802.1D-2004, 17.14)"
    )]
    Relation {
        /// Seconds.
        max_age: u8,
        /// Seconds.
        hello_time: u8,
        /// Seconds.
        forward_delay: u8,
    },
    /// The priority is no multiple of 16.
    #[error("a port priority of {0} is no multiple of 16 from 0 to 240; use 128 unless it matters")]
    PortPriority(u8),
    /// The path cost is not within its bounds.
    #[error("a path cost of {0} is not within 1 to 200000000 (IEEE 802.1D-2004, table 17-3)")]
    PathCost(u32),
    /// The port's number is not within its bounds.
    #[error("a port number of {0} is not within 1 to 4095")]
    PortNumber(u16),
}

impl TreeSettings {
    /// What `hello_time_s` may be (IEEE 802.1D-2004, table 17-1).
    pub const HELLO_TIME_S: RangeInclusive<u8> = 1..=2;
    /// What `max_age_s` may be (IEEE 802.1D-2004, table 17-1).
    pub const MAX_AGE_S: RangeInclusive<u8> = 6..=40;
    /// What `forward_delay_s` may be (IEEE 802.1D-2004, table 17-1).
    pub const FORWARD_DELAY_S: RangeInclusive<u8> = 4..=30;

    /// Whether they are what the standard allows.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !self.priority.is_multiple_of(4096) {
            return Err(SettingsError::BridgePriority(self.priority));
        }
        let times = [
            ("a hello time", self.hello_time_s, Self::HELLO_TIME_S),
            ("a max age", self.max_age_s, Self::MAX_AGE_S),
            ("a forward delay", self.forward_delay_s, Self::FORWARD_DELAY_S),
        ];
        for (what, value, bounds) in times {
            if !bounds.contains(&value) {
                let (min, max) = bounds.into_inner();
                return Err(SettingsError::Time { what, value, min, max });
            }
        }
        if !(1..=10).contains(&self.tx_hold_count) {
            return Err(SettingsError::HoldCount(self.tx_hold_count));
        }
        let (max_age, hello_time, forward_delay) = (self.max_age_s, self.hello_time_s, self.forward_delay_s);
        if 2 * (forward_delay - 1) < max_age || max_age < 2 * (hello_time + 1) {
            return Err(SettingsError::Relation { max_age, hello_time, forward_delay });
        }
        Ok(())
    }

    pub(super) fn times(&self) -> Times {
        Times::from_seconds(self.max_age_s, self.hello_time_s, self.forward_delay_s)
    }
}

/// Whether end stations alone are behind a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgePort {
    /// Yes, until a bridge is heard.
    Yes,
    /// Not known: found out by listening for three seconds.
    Auto,
    /// No, however silent they are.
    No,
}

/// A port's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortSettings {
    /// Names the port within the tree: 1 to 4095.
    pub number: u16,
    /// The port's priority, 0 to 240 in steps of 16.
    pub priority: u8,
    /// What the way by this port costs, 1 to 200,000,000; `None`: by the link's speed.
    pub path_cost: Option<u32>,
    /// The link's speed in Mbit/s, if known.
    pub speed_mbit: Option<u32>,
    /// Whether there is one bridge at most at the other end.
    pub point_to_point: bool,
    /// Whether end stations alone are behind it.
    pub edge: EdgePort,
}

/// The most that a link may cost.
const COST_MAX: u32 = 200_000_000;

/// What a link costs whose speed nobody knows: as one of 10 Gbit/s, for those are mostly made of software.
const COST_UNKNOWN: u32 = 2_000;

impl PortSettings {
    /// Port `number` with everything by default.
    #[must_use]
    pub fn new(number: u16) -> Self {
        let (path_cost, speed_mbit) = (None, None);
        Self { number, priority: 128, path_cost, speed_mbit, point_to_point: true, edge: EdgePort::Auto }
    }

    /// Whether they are what the standard allows.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !(1..=4095).contains(&self.number) {
            return Err(SettingsError::PortNumber(self.number));
        }
        if !self.priority.is_multiple_of(16) {
            return Err(SettingsError::PortPriority(self.priority));
        }
        match self.path_cost {
            Some(cost) if !(1..=COST_MAX).contains(&cost) => Err(SettingsError::PathCost(cost)),
            _ => Ok(()),
        }
    }

    pub(super) fn id(&self) -> PortId {
        PortId::new(self.priority, self.number)
    }

    /// What is set, or what the speed suggests (IEEE 802.1D-2004, table 17-3: 2 x 10^13 / bits a second).
    pub(super) fn cost(&self) -> u32 {
        let of_speed = |mbit: u32| (20_000_000 / mbit.max(1)).max(1);
        self.path_cost.or_else(|| self.speed_mbit.map(of_speed)).unwrap_or(COST_UNKNOWN).clamp(1, COST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_cost_follows_from_its_speed_unless_it_is_set() {
        let cost = |speed_mbit| PortSettings { speed_mbit, ..PortSettings::new(1) }.cost();
        let table = [(1, 20_000_000), (10, 2_000_000), (100, 200_000), (1000, 20_000), (10_000, 2_000)];
        for (speed, expected) in table.into_iter().chain([(100_000, 200), (1_000_000, 20), (10_000_000, 2)]) {
            assert_eq!(cost(Some(speed)), expected, "{speed} Mbit/s");
        }
        assert_eq!((cost(Some(u32::MAX)), cost(Some(0)), cost(None)), (1, 20_000_000, 2_000));
        let set = PortSettings { path_cost: Some(7), speed_mbit: Some(10), ..PortSettings::new(1) };
        assert_eq!(set.cost(), 7);
    }

    #[test]
    fn a_trees_settings_are_what_the_standard_allows() {
        let standard = TreeSettings::default();
        let check = |settings: TreeSettings| settings.check();
        assert_eq!(check(standard), Ok(()));
        assert_eq!(check(TreeSettings { priority: 61_440, ..standard }), Ok(()));
        let slow = TreeSettings { hello_time_s: 3, ..standard };
        let what = "a hello time";
        assert_eq!(check(slow), Err(SettingsError::Time { what, value: 3, min: 1, max: 2 }));
        let odd = TreeSettings { priority: 4097, ..standard };
        assert_eq!(check(odd), Err(SettingsError::BridgePriority(4097)));
        for (hello_time_s, allowed) in [(0, false), (1, true), (2, true), (3, false)] {
            assert_eq!(check(TreeSettings { hello_time_s, ..standard }).is_ok(), allowed, "{hello_time_s}");
        }
        for (max_age_s, allowed) in [(5, false), (6, true), (28, true), (29, false), (40, false), (41, false)]
        {
            assert_eq!(check(TreeSettings { max_age_s, ..standard }).is_ok(), allowed, "{max_age_s}");
        }
        let long = |max_age_s, forward_delay_s| TreeSettings { max_age_s, forward_delay_s, ..standard };
        for (max_age, delay, allowed) in
            [(40, 30, true), (41, 30, false), (6, 3, false), (6, 4, true), (7, 4, false), (40, 31, false)]
        {
            assert_eq!(check(long(max_age, delay)).is_ok(), allowed, "{max_age} and {delay}");
        }
        for (tx_hold_count, allowed) in [(0, false), (1, true), (10, true), (11, false)] {
            assert_eq!(check(TreeSettings { tx_hold_count, ..standard }).is_ok(), allowed, "{tx_hold_count}");
        }
        let relation = check(long(6, 4)).and(check(long(20, 10)));
        let expected = SettingsError::Relation { max_age: 20, hello_time: 2, forward_delay: 10 };
        assert_eq!(relation, Err(expected));
    }

    #[test]
    fn a_ports_settings_are_what_the_standard_allows() {
        let port = PortSettings::new(1);
        for (number, allowed) in [(0, false), (1, true), (4095, true), (4096, false)] {
            assert_eq!(PortSettings::new(number).check().is_ok(), allowed, "{number}");
        }
        for (priority, allowed) in [(0, true), (240, true), (8, false), (241, false)] {
            assert_eq!(PortSettings { priority, ..port }.check().is_ok(), allowed, "{priority}");
        }
        for (cost, allowed) in [(0, false), (1, true), (COST_MAX, true), (COST_MAX + 1, false)] {
            let port = PortSettings { path_cost: Some(cost), ..port };
            assert_eq!(port.check().is_ok(), allowed, "{cost}");
        }
    }
}
