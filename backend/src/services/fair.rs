//! Sharing between ports: a queue that takes from each in turn, and places in use of which each has its share.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use viaduct_switch::ids::PortIndex;

/// How much of something there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// The most for one port.
    pub(super) port: usize,
    /// The most for all of them.
    pub(super) total: usize,
}

/// First in, first out for each port, and one port after the other.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    limits: Limits,
    queues: HashMap<PortIndex, VecDeque<T>>,
    /// The ports that have something, in the order of their turns.
    turns: VecDeque<PortIndex>,
    length: usize,
}

impl<T> FairQueue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, queues: HashMap::new(), turns: VecDeque::new(), length: 0 }
    }

    /// Takes `item` in. Where there is no room left, the last item of the port with most gives way to one with less.
    ///
    /// # Errors
    /// What found no room: `item`, or what gave way to it.
    pub(super) fn push(&mut self, port: PortIndex, item: T) -> Result<(), T> {
        let held = self.queues.get(&port).map_or(0, VecDeque::len);
        if held >= self.limits.port {
            return Err(item);
        }
        let displaced = if self.length < self.limits.total { None } else { self.displace(held) };
        if self.length >= self.limits.total {
            return Err(item);
        }
        let queue = self.queues.entry(port).or_default();
        if queue.is_empty() {
            self.turns.push_back(port);
        }
        queue.push_back(item);
        self.length += 1;
        displaced.map_or(Ok(()), Err)
    }

    /// The last item of the port with most, if that has more than a port would have that has `held`.
    fn displace(&mut self, held: usize) -> Option<T> {
        let (&port, queue) = self.queues.iter_mut().max_by_key(|(_, queue)| queue.len())?;
        if queue.len() <= held + 1 {
            return None;
        }
        let item = queue.pop_back()?;
        self.length -= 1;
        if queue.is_empty() {
            self.forget(port);
        }
        Some(item)
    }

    /// The next item of the next port that `may` have its turn.
    pub(super) fn pop_where(&mut self, may: impl Fn(PortIndex) -> bool) -> Option<(PortIndex, T)> {
        let at = self.turns.iter().position(|port| may(*port))?;
        let port = self.turns.remove(at)?;
        let queue = self.queues.get_mut(&port)?;
        let item = queue.pop_front()?;
        self.length -= 1;
        if queue.is_empty() {
            self.queues.remove(&port);
        } else {
            self.turns.push_back(port);
        }
        Some((port, item))
    }

    /// The next item of the next port.
    pub(super) fn pop(&mut self) -> Option<(PortIndex, T)> {
        self.pop_where(|_| true)
    }

    fn forget(&mut self, port: PortIndex) {
        self.queues.remove(&port);
        self.turns.retain(|other| *other != port);
    }
}

/// Places that are taken for a while, such as those of questions to name servers: whoever finds none free waits for
/// its port's turn.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: HashMap<PortIndex, usize>,
    total: usize,
    waiting: FairQueue<oneshot::Sender<Place>>,
}

/// A place; dropping it gives it to the next one that waits.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    port: PortIndex,
    is_given_back: bool,
}

impl Places {
    pub(super) fn new(limits: Limits, waiting: Limits) -> Arc<Self> {
        let state = State { taken: HashMap::new(), total: 0, waiting: FairQueue::new(waiting) };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// A place, at once or when it is the port's turn; `None`: too many wait already.
    pub(super) async fn take(self: &Arc<Self>, port: PortIndex) -> Option<Place> {
        let turn = {
            let mut state = self.state.lock();
            if state.may(port, self.limits) {
                state.enter(port);
                return Some(self.place(port));
            }
            let (sender, turn) = oneshot::channel();
            // Whose place in the queue is lost learns it by the end of its channel.
            let _ = state.waiting.push(port, sender);
            turn
        };
        turn.await.ok()
    }

    /// A place, if one is free now.
    pub(super) fn try_take(self: &Arc<Self>, port: PortIndex) -> Option<Place> {
        let mut state = self.state.lock();
        if !state.may(port, self.limits) {
            return None;
        }
        state.enter(port);
        Some(self.place(port))
    }

    fn place(self: &Arc<Self>, port: PortIndex) -> Place {
        Place { places: Arc::clone(self), port, is_given_back: false }
    }

    /// Hands the place of `port` on.
    fn give_back(self: &Arc<Self>, port: PortIndex) {
        self.state.lock().leave(port);
        while let Some((next, sender)) = self.next() {
            let Err(mut unwanted) = sender.send(self.place(next)) else { return };
            // Nobody waits there any more; dropping it must not lead back here.
            unwanted.is_given_back = true;
            self.state.lock().leave(next);
        }
    }

    fn next(&self) -> Option<(PortIndex, oneshot::Sender<Place>)> {
        let mut state = self.state.lock();
        if state.total >= self.limits.total {
            return None;
        }
        let State { taken, waiting, .. } = &mut *state;
        let next =
            waiting.pop_where(|port| taken.get(&port).is_none_or(|taken| *taken < self.limits.port))?;
        state.enter(next.0);
        Some(next)
    }
}

impl State {
    fn may(&self, port: PortIndex, limits: Limits) -> bool {
        self.total < limits.total && self.taken.get(&port).is_none_or(|taken| *taken < limits.port)
    }

    fn enter(&mut self, port: PortIndex) {
        *self.taken.entry(port).or_default() += 1;
        self.total += 1;
    }

    fn leave(&mut self, port: PortIndex) {
        self.total = self.total.saturating_sub(1);
        if let Some(taken) = self.taken.get_mut(&port) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&port);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.places.give_back(self.port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    #[test]
    fn ports_take_turns_and_who_has_most_gives_way() {
        let mut queue = FairQueue::new(Limits { port: 6, total: 8 });
        for item in 0..7 {
            assert_eq!(queue.push(port(1), item).is_ok(), item < 6);
        }
        assert!(queue.push(port(2), 10).is_ok() && queue.push(port(2), 11).is_ok());
        assert_eq!(queue.push(port(3), 20), Err(5), "the last one of the longest queue");
        assert_eq!(queue.push(port(2), 12), Err(4));
        assert_eq!(queue.push(port(2), 13), Err(13), "nobody has more than one beyond its own");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect();
        assert_eq!(order, [0, 10, 20, 1, 11, 2, 12, 3]);
        assert!(queue.queues.is_empty() && queue.turns.is_empty() && queue.length == 0);
    }

    #[test]
    fn one_ports_questions_leave_places_for_another() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let places = Places::new(Limits { port: 3, total: 4 }, Limits { port: 2, total: 4 });
            let mut held = Vec::new();
            for _ in 0..3 {
                held.push(places.take(port(1)).await.unwrap());
            }
            let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(take(Arc::clone(&places), 1))).collect();
            tokio::task::yield_now().await;
            assert!(places.try_take(port(1)).is_none(), "a port has its share and no more");
            let other = places.try_take(port(2)).unwrap();
            assert!(places.try_take(port(3)).is_none(), "all are taken");
            drop((held, other));
            let mut got = 0;
            for task in waiting {
                got += usize::from(task.await.unwrap());
            }
            assert_eq!(got, 2, "the third found no room to wait");
            let state = places.state.lock();
            assert!(state.total == 0 && state.taken.is_empty());
        });
    }

    async fn take(places: Arc<Places>, index: usize) -> bool {
        places.take(port(index)).await.is_some()
    }

    #[test]
    fn who_no_longer_waits_gets_no_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let limits = Limits { port: 1, total: 1 };
            let places = Places::new(limits, Limits { port: 9, total: 9 });
            let held = places.take(port(1)).await.unwrap();
            let gone: Vec<_> = (1..4).map(|index| tokio::spawn(take(Arc::clone(&places), index))).collect();
            tokio::task::yield_now().await;
            gone.iter().for_each(|task| task.abort());
            tokio::task::yield_now().await;
            drop(held);
            assert!(places.try_take(port(5)).is_some());
        });
    }
}
