//! Following: what a packet of a connection that is known changes in it.

use super::*;

impl Conntrack {
    /// Takes note of a packet of a connection: checks it as [`Conntrack::look_up`] does, without searching, for whoever
    /// knows its connection from an earlier packet. ICMP errors change nothing and need no note (RFC 5508, 7, REQ-6).
    ///
    /// # Errors
    /// The packet does not belong to the connection, or that has ended: it has to be looked up anew.
    #[inline]
    pub fn track(&self, found: Reference, packet: &Packet, now: Nanos) -> Result<(), Invalid> {
        let tracked = self.try_track(found, packet, now.seconds());
        if let Err(reason) = tracked {
            count(&self.counters.invalid[reason as usize]);
        }
        tracked
    }

    /// Loads what taking note of a packet looks at.
    #[inline]
    pub(crate) fn touch(&self, id: ConnectionId) -> u64 {
        self.backs.get(id.entry as usize).map_or(0, Back::touch)
    }

    /// Takes note of a whole packet as [`Conntrack::track`] does, if it belongs to the connection; says whether it does. For whoever
    /// looks it up anew if not, and counts it then. No more is told of it than its header of TCP, if it has one.
    #[inline]
    pub(crate) fn follows_whole(&self, found: Reference, tcp: Option<&Tcp>, now: Nanos) -> bool {
        self.try_follow(found, tcp, false, now.seconds()).is_ok()
    }

    /// The same of a whole packet of a connection that one look has just found.
    ///
    /// It goes by the state that the look saw instead of loading it once more: whatever is loaded may be another one a moment later anyway. Who
    /// changes the state does so by an exchange that fails if it is another one by now, and gives up if the connection has ended
    /// ([`Entry::change`](super::entry::Entry::change)).
    #[inline(always)]
    pub(crate) fn follows_vouched(&self, vouched: &Vouched<'_>, tcp: Option<&Tcp>, now: Nanos) -> bool {
        let Vouched { found, word, back, .. } = *vouched;
        self.go_on(found, (back, word), tcp, false, now.seconds()).is_ok()
    }

    #[inline]
    fn try_track(&self, found: Reference, packet: &Packet, now_s: u32) -> Result<(), Invalid> {
        let tcp = if let Transport::Tcp(tcp) = &packet.transport { Some(tcp) } else { None };
        self.try_follow(found, tcp, packet.fragment.is_some(), now_s)
    }

    #[inline]
    fn try_follow(
        &self,
        found: Reference,
        tcp: Option<&Tcp>,
        is_cut: bool,
        now_s: u32,
    ) -> Result<(), Invalid> {
        let back = self.backs.get(found.id.entry as usize).ok_or(Invalid::Gone)?;
        let word = back.word();
        if word.life() != found.id.life || back.is_over(word, now_s) {
            return Err(Invalid::Gone);
        }
        self.go_on(found, (back, word), tcp, is_cut, now_s)
    }

    /// Takes note of a packet of a connection that lives, with this state.
    #[inline(always)]
    fn go_on(
        &self,
        found: Reference,
        (back, word): (&Back, Word),
        tcp: Option<&Tcp>,
        is_cut: bool,
        now_s: u32,
    ) -> Result<(), Invalid> {
        match tcp {
            Some(tcp) if word.is_tcp() => self.track_tcp(found, word, tcp, is_cut)?,
            _ if found.direction == Direction::Reply && !word.is_assured() => self.assure(found, word),
            _ => {}
        }
        back.hear(found.direction, now_s);
        Ok(())
    }

    #[inline]
    fn track_tcp(&self, found: Reference, word: Word, tcp: &Tcp, is_cut: bool) -> Result<(), Invalid> {
        let segment = self.segment(found, word, tcp, is_cut);
        let after = match segment.judge()? {
            Effect::Nothing => return Ok(()),
            Effect::Counts(after) => {
                segment.count();
                after
            }
            Effect::Begins(after) => {
                segment.begin();
                after
            }
            Effect::Asks(after) => {
                segment.ask();
                after
            }
            Effect::Reopens(after) => {
                segment.reopen();
                after
            }
            Effect::Learns(after) => {
                segment.learn();
                after
            }
        };
        if after != word { self.change(found, word, after) } else { Ok(()) }
    }

    /// Puts the state after a segment in place.
    #[cold]
    pub(super) fn change(&self, found: Reference, word: Word, after: Word) -> Result<(), Invalid> {
        let assured = self.entry(found.id.entry).change(word, after).map_err(|Ended| Invalid::Gone)?;
        if let Some(port) = assured {
            self.held[port.get()].embryonic.fetch_sub(1, Relaxed);
            count(&self.counters.assured);
        }
        Ok(())
    }

    /// Something came back.
    #[cold]
    fn assure(&self, found: Reference, word: Word) {
        // Gone meanwhile, or done by another worker: nothing is left to do.
        let _ = self.change(found, word, word.assured());
    }

    #[inline]
    pub(super) fn segment<'a>(
        &'a self,
        found: Reference,
        word: Word,
        tcp: &'a Tcp,
        is_cut: bool,
    ) -> Segment<'a> {
        Segment { tcp, from: found.direction, word, entry: self.entry(found.id.entry), is_cut }
    }
}
