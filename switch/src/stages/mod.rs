//! The stages, in their order. A stage is one file; adding one is that file and its line here.

mod admit;
mod control;
mod forward;
mod learn;
mod multicast;
mod spanning_tree;
mod storm;
mod vlan;

use crate::decision::{Decision, Recording, Scene, Step, Subject};

/// Declares the stages once, in the order in which they are asked.
macro_rules! stages {
    ($($(#[doc = $doc:literal])* $stage:ident => $module:ident,)*) => {
        /// A stage of the pipeline.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Stage { $($(#[doc = $doc])* $stage),* }

        /// The pipeline: every stage, in the order in which a frame meets them.
        pub const STAGES: &[Stage] = &[$(Stage::$stage),*];

        /// Asks the stages in their order until one is done. Written out stage by stage, so that the compiler makes one
        /// function of them.
        #[inline]
        fn ask_all(recording: &mut Recording<'_>) {
            $(
                if $module::decide(recording) == Step::Done {
                    return;
                }
            )*
        }
    };
}

stages! {
    /// Refuses frames that no port of a bridge may send.
    Admit => admit,
    /// Hands control frames to the control side, or drops them.
    Control => control,
    /// Refuses frames that belong to no network of their port, or that its guest may not send.
    Vlan => vlan,
    /// Refuses frames of ports that a spanning tree has closed.
    SpanningTree => spanning_tree,
    /// Notes at which port the source address was seen.
    Learn => learn,
    /// Meters frames that reach many ports.
    Storm => storm,
    /// Sends frames to multicast groups where they are wanted.
    Multicast => multicast,
    /// Chooses the ports by which the frame leaves.
    Forward => forward,
}

/// Decides about one frame, without any effect.
#[inline]
pub(crate) fn decide(scene: &Scene<'_>, subject: &Subject<'_>) -> Decision {
    let mut recording = Recording::new(scene, subject);
    ask_all(&mut recording);
    recording.finish()
}

#[cfg(test)]
mod tests;
