//! What is done with a burst before anything is decided: marks are written, and what a port sends too much is told.

use crate::decision::Scene;
use crate::filter::Carried;
use crate::frame::Frame;
use crate::policy::Ingress;
use crate::time::Nanos;

/// How frames come in.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// By their port.
    Anew,
    /// Once more, after they were metered and marked.
    Again,
    /// The same, and this was decided about them.
    Decided(Carried),
}

/// Marks and meters a burst, if its port wants that and it was not done before; gives which of its frames are to be dropped, or nothing
/// if none is, and what was decided about all. The mark comes first: a meter believes of a frame what its port does, and has the
/// last word.
#[inline]
pub(super) fn condition<'a, P>(
    scene: &Scene<'_>,
    ingress: Ingress<'_>,
    entry: Entry,
    burst: &mut [Frame<P>],
    now: Nanos,
    refused: &'a mut Vec<bool>,
) -> (&'a [bool], Option<Carried>) {
    match entry {
        Entry::Anew => {}
        Entry::Again => {
            mark_again(scene, burst);
            return (&[], None);
        }
        Entry::Decided(decided) => return (&[], Some(decided)),
    }
    let Some(port) = scene.port else { return (&[], None) };
    if let Some(marking) = port.marking.as_deref() {
        marking.mark(burst, ingress, port.priority);
    }
    let Some(meter) = port.police.as_deref() else { return (&[], None) };
    meter.police(burst, now, refused);
    (refused, None)
}

#[cold]
fn mark_again<P>(scene: &Scene<'_>, burst: &mut [Frame<P>]) {
    if let Some(port) = scene.port
        && let Some(marking) = port.marking.as_deref()
    {
        marking.mark_again(burst, port.priority);
    }
}
