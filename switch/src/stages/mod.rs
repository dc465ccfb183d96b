//! The stages, in their order. A stage is one file; adding one is that file and its line here.

mod admit;
mod control;
mod forward;
mod gateway;
mod learn;
mod multicast;
mod spanning_tree;
mod storm;
mod vlan;

use crate::decision::{Decision, Recording, Scene, Step, Subject};
use crate::explain::Observer;

/// Declares the stages once, in the order in which they are asked.
macro_rules! stages {
    ($($(#[doc = $doc:literal])* $stage:ident $name:literal => $module:ident,)*) => {
        /// A stage of the pipeline.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Stage { $($(#[doc = $doc])* $stage),* }

        impl Stage {
            /// The stage's name for people and programs.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$stage => $name),* }
            }
        }

        /// The pipeline: every stage, in the order in which a frame meets them.
        pub const STAGES: &[Stage] = &[$(Stage::$stage),*];

        /// Asks the stages in their order until one is done. Written out stage by stage, and all of them are inlined, so that
        /// the compiler makes one function of them: before a call, all that was recorded so far would have to be put into
        /// memory.
        #[inline]
        fn ask_all<O: Observer>(recording: &mut Recording<'_, O>) {
            $(
                recording.observer.stage(Stage::$stage);
                if $module::decide(recording) == Step::Done {
                    return;
                }
            )*
        }
    };
}

stages! {
    /// Refuses frames that no port of a bridge may send.
    Admit "admit" => admit,
    /// Hands control frames to the control side, or drops them.
    Control "control" => control,
    /// Refuses frames that belong to no network of their port, or that its guest may not send.
    Vlan "vlan" => vlan,
    /// Refuses frames of ports that a spanning tree has closed.
    SpanningTree "spanning-tree" => spanning_tree,
    /// Notes at which port the source address was seen.
    Learn "learn" => learn,
    /// Hands packets over that are for the network's gateway.
    Gateway "gateway" => gateway,
    /// Meters frames that reach many ports.
    Storm "storm" => storm,
    /// Sends frames to multicast groups where they are wanted.
    Multicast "multicast" => multicast,
    /// Chooses the ports by which the frame leaves.
    Forward "forward" => forward,
}

/// Decides about one frame, without any effect.
#[inline]
pub(crate) fn decide(scene: &Scene<'_>, subject: &Subject<'_>) -> Decision {
    decide_observed(scene, subject, &())
}

/// The same while somebody listens.
#[inline]
pub(crate) fn decide_observed(
    scene: &Scene<'_>,
    subject: &Subject<'_>,
    observer: &impl Observer,
) -> Decision {
    let mut recording = Recording::new(scene, subject, observer);
    ask_all(&mut recording);
    recording.finish()
}

#[cfg(test)]
mod tests;
