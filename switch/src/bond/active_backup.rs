//! Which link of an active-backup bond is the active one.

use super::steering::LinkSet;

/// When the active link is given up for the primary one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preference {
    /// As soon as the primary link works.
    Always,
    /// When it works and is faster.
    Better,
    /// Not before the active link fails.
    #[default]
    Failure,
}

/// The choice.
#[derive(Debug)]
pub(super) struct ActiveBackup {
    primary: Option<usize>,
    preference: Preference,
    active: Option<usize>,
}

impl ActiveBackup {
    pub(super) fn new(primary: Option<usize>, preference: Preference) -> Self {
        Self { primary, preference, active: None }
    }

    pub(super) fn active(&self) -> Option<usize> {
        self.active
    }

    /// Chooses among links that work; says whether another one became active.
    pub(super) fn choose(&mut self, up: LinkSet, speed: impl Fn(usize) -> u32) -> bool {
        let primary = self.primary.filter(|primary| up.has(*primary));
        let chosen = match self.active.filter(|active| up.has(*active)) {
            Some(active) => primary.filter(|primary| self.prefers(*primary, active, speed)).or(Some(active)),
            None => primary.or_else(|| up.iter().next()),
        };
        let changed = chosen.is_some() && chosen != self.active;
        self.active = chosen;
        changed
    }

    fn prefers(&self, primary: usize, active: usize, speed: impl Fn(usize) -> u32) -> bool {
        match self.preference {
            Preference::Always => true,
            Preference::Better => speed(primary) > speed(active),
            Preference::Failure => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(links: &[usize]) -> LinkSet {
        links.iter().copied().collect()
    }

    #[test]
    fn the_first_link_that_works_is_active_until_it_fails() {
        let mut choice = ActiveBackup::new(None, Preference::default());
        assert!(!choice.choose(set(&[]), |_| 0));
        assert!(choice.choose(set(&[1, 2]), |_| 0));
        assert!(!choice.choose(set(&[0, 1, 2]), |_| 0));
        assert_eq!(choice.active(), Some(1));
        assert!(choice.choose(set(&[2]), |_| 0));
        assert!(!choice.choose(set(&[]), |_| 0), "there is nobody to tell");
        assert_eq!(choice.active(), None);
        assert!(choice.choose(set(&[2]), |_| 0), "the network may have forgotten meanwhile");
    }

    #[test]
    fn the_primary_link_is_gone_back_to_as_was_said() {
        for (preference, slow, fast) in
            [(Preference::Always, 0, 0), (Preference::Better, 1, 0), (Preference::Failure, 1, 1)]
        {
            let mut choice = ActiveBackup::new(Some(0), preference);
            assert!(choice.choose(set(&[1]), |_| 0));
            choice.choose(set(&[0, 1]), |_| 1000);
            assert_eq!(choice.active(), Some(slow), "{preference:?}, as fast");
            choice.choose(set(&[1]), |_| 0);
            choice.choose(set(&[0, 1]), |link| if link == 0 { 2000 } else { 1000 });
            assert_eq!(choice.active(), Some(fast), "{preference:?}, faster");
            choice.choose(set(&[0, 2]), |_| 0);
            assert_eq!(choice.active(), Some(0), "after a failure always");
        }
    }
}
