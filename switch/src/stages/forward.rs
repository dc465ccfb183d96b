//! Forwarding: by the learned port, or to all members of the network (IEEE 802.1Q-2018, 8.6).

use super::storm;
use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;
use crate::ids::NetworkIndex;
use crate::storm::StormClass;

/// Chooses the ports by which the frame leaves.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let network = match recording.network() {
        Ok(network) => network,
        Err(reason) => return recording.drop(reason),
    };
    let destination = recording.destination();
    if destination.is_group() {
        return flood(recording, network);
    }
    let known = recording.look_up(network, destination);
    // A frame to its own sender may come before its address was learned.
    if known == Some(recording.source()) || destination == recording.source_address() {
        return recording.drop(DropReason::SamePort);
    }
    match known {
        Some(port) if recording.is_from_vtep() && recording.is_vtep(port) => {
            recording.drop(DropReason::TunnelSplitHorizon)
        }
        Some(port) => {
            let is_judged = recording.is_judged(port);
            recording.act(if is_judged { Action::Judge(port) } else { Action::Output(port) });
            Step::Done
        }
        None => {
            if recording.has_others(network) {
                storm::meter(recording, StormClass::UnknownUnicast);
            }
            flood(recording, network)
        }
    }
}

fn flood<O: Observer>(recording: &mut Recording<'_, O>, network: NetworkIndex) -> Step {
    if !recording.has_others(network) {
        return recording.drop(DropReason::NoReceiver);
    }
    recording.act(Action::Flood(network));
    Step::Done
}
