//! What became of a captured frame, in words.

use viaduct_switch::{Claims, DropReason, NetworkIndex, PortIndex};

use crate::control::Names;
use crate::dataplane::{Captured, SampleFate};

/// The comment of a frame.
pub(super) fn of(record: &Captured, names: &Names) -> String {
    let verdict = if record.left { leaving(record, names) } else { entering(record, names) };
    verdict + &unfinished(&record.claims)
}

fn leaving(record: &Captured, names: &Names) -> String {
    match record.lost {
        Some((port, reason)) if port == record.port => dropped(reason),
        _ => format!("from {}", port(names, record.source)),
    }
}

fn entering(record: &Captured, names: &Names) -> String {
    let lost = record.lost.map(|(at, reason)| (port(names, at), reason));
    match (record.fate, lost) {
        (SampleFate::Sent(ports), lost) => {
            let receivers: Vec<_> = ports.into_iter().flatten().map(|to| port(names, to)).collect();
            match lost {
                Some((at, reason)) if receivers.len() == 1 => format!("{} (at {at})", dropped(reason)),
                Some((at, reason)) => {
                    format!("forwarded to {}; at {at} {}", receivers.join(", "), dropped(reason))
                }
                None => format!("forwarded to {}", receivers.join(", ")),
            }
        }
        (SampleFate::Flooded(network, ports), _) => {
            format!("flooded to {ports} ports of network {}", self::network(names, network))
        }
        (SampleFate::Punted, _) => "for the switch itself".to_owned(),
        (SampleFate::Dropped(reason), _) => dropped(reason),
        (SampleFate::Kept, _) => {
            "not decided: a fragment that waits for its datagram's first one, or refused by a tunnel's end"
                .to_owned()
        }
    }
}

fn dropped(reason: DropReason) -> String {
    format!("dropped: {} - {}", reason.name(), reason.sentence())
}

fn port(names: &Names, port: PortIndex) -> String {
    names.ports.get(&port).cloned().unwrap_or_else(|| format!("port number {port}"))
}

fn network(names: &Names, network: NetworkIndex) -> String {
    names.networks.get(&network).cloned().unwrap_or_else(|| format!("number {network}"))
}

/// What the wire would see of it, if that is not the same.
fn unfinished(claims: &Claims) -> String {
    match (claims.gso, claims.checksum) {
        (Some(gso), _) => format!("; super-frame, on a wire cut to {} bytes of payload each", gso.size),
        (None, Some(_)) => "; its checksum is left to the receiver".to_owned(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use viaduct_switch::{Gso, GsoKind, Nanos};

    use super::*;

    fn number(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    fn names() -> Names {
        let named = |index, name: &str| (number(index), name.to_owned());
        Names { ports: [named(1, "web"), named(2, "db")].into(), ..Names::default() }
    }

    fn sent(to: &[usize]) -> SampleFate {
        let mut ports = [None; 8];
        ports.iter_mut().zip(to).for_each(|(place, to)| *place = Some(number(*to)));
        SampleFate::Sent(ports)
    }

    fn record(fate: SampleFate) -> Captured {
        Captured { fate, ..Captured::at(number(1), Nanos(0)) }
    }

    #[test]
    fn what_became_of_a_frame_is_told_with_names_and_reasons_with_their_sentence() {
        let sentence = DropReason::NoBuffer.sentence();
        for (record, told) in [
            (record(sent(&[2])), "forwarded to db".to_owned()),
            (record(sent(&[2, 9])), "forwarded to db, port number 9".to_owned()),
            (record(SampleFate::Punted), "for the switch itself".to_owned()),
            (record(SampleFate::Dropped(DropReason::NoBuffer)), format!("dropped: no-buffer - {sentence}")),
            (
                Captured { lost: Some((number(2), DropReason::NoBuffer)), ..record(sent(&[2])) },
                format!("dropped: no-buffer - {sentence} (at db)"),
            ),
            (
                Captured { lost: Some((number(2), DropReason::NoBuffer)), ..record(sent(&[2, 9])) },
                format!("forwarded to db, port number 9; at db dropped: no-buffer - {sentence}"),
            ),
            (Captured { port: number(2), left: true, ..record(sent(&[2])) }, "from web".to_owned()),
        ] {
            assert_eq!(of(&record, &names()), told);
        }
        let gso = Some(Gso { kind: GsoKind::Tcp4, size: 1448, ecn: false });
        let record = Captured { claims: Claims { checksum: None, gso }, ..record(sent(&[2])) };
        assert_eq!(
            of(&record, &names()),
            "forwarded to db; super-frame, on a wire cut to 1448 bytes of payload each"
        );
    }
}
