//! Sequences by hand, with what each of the two makes of every segment.

use crate::step::Fate::{Established, Invalid, New};
use crate::step::{ACK, FIN, RST, SYN, Step, back, there};

/// Why the two differ.
const GUESSED: &str =
    "the kernel believes a reset of a SYN whatever it acknowledges, and is done with the connection";
const OLD: &str = "the kernel lets through what is too old to matter, and takes no note of it";
const REUSED: &str =
    "the kernel goes on with the entry of a connection that was reset; the switch asks the rules anew";
const ANSWERED: &str =
    "for the kernel anything that comes back is an answer; for the switch only what belongs to the SYN";

/// A connection that is open, from 1000 and 5000.
fn opened(rest: &[Step]) -> Vec<Step> {
    let opening = [
        there(SYN, 1000, 0, 0, New),
        back(SYN | ACK, 5000, 1001, 0, Established),
        there(ACK, 1001, 5001, 0, Established),
    ];
    [&opening, rest].concat()
}

/// Sequences, each on a flow of its own.
pub(crate) fn sequences() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        (
            "opened, used and ended",
            opened(&[
                there(ACK, 1001, 5001, 100, Established),
                back(ACK, 5001, 1101, 500, Established),
                there(FIN | ACK, 1101, 5501, 0, Established),
                back(ACK, 5501, 1102, 0, Established),
                back(FIN | ACK, 5501, 1102, 0, Established),
                there(ACK, 1102, 5502, 0, Established),
                there(ACK, 1102, 5502, 0, Established),
                there(SYN, 90_000, 0, 0, New),
            ]),
        ),
        (
            "in the midst",
            vec![
                there(ACK, 1, 1, 10, Invalid),
                back(SYN | ACK, 1, 1, 0, Invalid),
                there(RST, 1, 0, 0, Invalid),
            ],
        ),
        (
            "flags that contradict",
            vec![
                there(SYN | FIN, 1, 0, 0, Invalid),
                there(SYN | RST, 1, 0, 0, Invalid),
                there(0, 1, 0, 0, Invalid),
                there(FIN, 1, 0, 0, Invalid),
            ],
        ),
        (
            "a SYN again",
            vec![
                there(SYN, 1000, 0, 0, New),
                there(SYN, 1000, 0, 0, New),
                back(SYN | ACK, 5000, 1001, 0, Established),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(ACK, 1001, 5001, 0, Established),
            ],
        ),
        (
            "a SYN again with another number",
            vec![
                there(SYN, 1000, 0, 0, New),
                there(SYN, 700_000, 0, 0, New),
                back(SYN | ACK, 5000, 700_001, 0, Established),
                there(ACK, 700_001, 5001, 0, Established),
            ],
        ),
        (
            "both open at the same time",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(SYN, 5000, 0, 0, Established),
                there(SYN | ACK, 1000, 5001, 0, Established),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(ACK, 1001, 5001, 50, Established),
                back(ACK, 5001, 1051, 50, Established),
            ],
        ),
        (
            "refused",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(RST | ACK, 0, 1001, 0, Established),
                there(SYN, 2000, 0, 0, New),
            ],
        ),
        (
            "refused by somebody who guesses",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(RST | ACK, 0, 77, 0, Invalid).but_kernel(Established, GUESSED),
                back(SYN | ACK, 5000, 1001, 0, Established).but_kernel(Invalid, GUESSED),
            ],
        ),
        (
            "data again and out of order",
            opened(&[
                there(ACK, 1501, 5001, 400, Established),
                there(ACK, 1001, 5001, 500, Established),
                there(ACK, 1501, 5001, 400, Established),
                back(ACK, 5001, 1901, 0, Established),
                back(ACK, 5001, 1501, 0, Established),
            ]),
        ),
        (
            "outside of the window",
            opened(&[
                there(ACK, 2001, 5001, 0, Established),
                there(ACK, 500_000, 5001, 10, Invalid),
                there(ACK, 1001u32.wrapping_sub(5000), 5001, 10, Invalid).but_kernel(Established, OLD),
                back(ACK, 500_000, 1001, 10, Invalid),
                there(ACK, 1001, 5001, 10, Established),
            ]),
        ),
        (
            "acknowledging what was not sent",
            opened(&[
                there(ACK, 1001, 500_000, 0, Invalid),
                back(ACK, 5001, 500_000, 0, Invalid),
                there(ACK, 1001, 5001u32.wrapping_sub(70_000), 0, Invalid).but_kernel(Established, OLD),
                there(ACK, 1001, 5001, 0, Established),
            ]),
        ),
        (
            "scaled windows",
            vec![
                there(SYN, 1000, 0, 0, New).scaled(7),
                back(SYN | ACK, 5000, 1001, 0, Established).scaled(2),
                there(ACK, 1001, 5001, 0, Established),
                back(ACK, 5001 + 127_000, 1001, 100, Established),
                back(ACK, 5001 + 400_000, 1001, 100, Invalid),
                back(ACK, 5001, 1001, 0, Established),
                there(ACK, 1001 + 3900, 5001, 50, Established),
            ],
        ),
        (
            "windows of which one side does not scale",
            vec![
                there(SYN, 1000, 0, 0, New).scaled(7),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(ACK, 1001, 5001, 0, Established),
                back(ACK, 5001 + 100_000, 1001, 100, Invalid),
            ],
        ),
        (
            "a closed window is probed",
            opened(&[
                there(ACK, 1001, 5001, 1000, Established),
                back(ACK, 5001, 2001, 0, Established).window(0),
                there(ACK, 2001, 5001, 1, Established),
            ]),
        ),
        (
            "numbers that wrap",
            vec![
                there(SYN, u32::MAX - 1, 0, 0, New),
                back(SYN | ACK, u32::MAX, u32::MAX, 0, Established),
                there(ACK, u32::MAX, 0, 100, Established),
                back(ACK, 0, 99, 100, Established),
                there(ACK, 99, 100, 0, Established),
            ],
        ),
        (
            "a reset with the next number",
            opened(&[
                back(RST, 5001, 0, 0, Established),
                there(SYN, 9000, 0, 0, New).but_kernel(Established, REUSED),
            ]),
        ),
        (
            "a reset in the window",
            opened(&[
                back(RST, 5100, 0, 0, Established),
                there(ACK, 1001, 5001, 10, Established),
                back(ACK, 5001, 1011, 10, Established),
            ]),
        ),
        (
            "a reset outside of the window",
            opened(&[
                back(RST, 500_000, 0, 0, Invalid),
                back(RST, 4000, 0, 0, Invalid),
                there(ACK, 1001, 5001, 10, Established),
            ]),
        ),
        (
            "a reset behind data",
            opened(&[
                back(ACK, 5001, 1001, 300, Established),
                back(RST | ACK, 5301, 1001, 0, Established),
                there(SYN, 9000, 0, 0, New).but_kernel(Established, REUSED),
            ]),
        ),
        (
            "a SYN to an open connection",
            opened(&[
                there(SYN, 700_000, 0, 0, Established),
                back(ACK, 5001, 1001, 0, Established),
                there(ACK, 1001, 5001, 10, Established),
            ]),
        ),
        (
            "a SYN from the other side of an open connection",
            opened(&[back(SYN, 700_000, 0, 0, Invalid), there(ACK, 1001, 5001, 10, Established)]),
        ),
        (
            "both end at the same time",
            opened(&[
                there(FIN | ACK, 1001, 5001, 0, Established),
                back(FIN | ACK, 5001, 1001, 0, Established),
                there(ACK, 1002, 5002, 0, Established),
                back(ACK, 5002, 1002, 0, Established),
                there(SYN, 90_000, 0, 0, New),
            ]),
        ),
        (
            "one side has no more to say, the other goes on",
            opened(&[
                there(FIN | ACK, 1001, 5001, 20, Established),
                back(ACK, 5001, 1022, 900, Established),
                there(ACK, 1022, 5901, 0, Established),
                back(ACK, 5901, 1022, 900, Established),
                there(ACK, 1022, 6801, 0, Established),
                there(FIN | ACK, 1001, 5001, 20, Established),
                there(ACK, 100_000, 6801, 10, Invalid),
                back(FIN | ACK, 6801, 1022, 0, Established),
                there(ACK, 1022, 6802, 0, Established),
            ]),
        ),
        (
            "kept alive, with a byte that was sent already and without",
            opened(&[
                there(ACK, 1001, 5001, 100, Established),
                back(ACK, 5001, 1101, 0, Established),
                there(ACK, 1100, 5001, 0, Established),
                back(ACK, 5001, 1101, 0, Established),
                there(ACK, 1100, 5001, 1, Established),
                back(ACK, 5001, 1101, 0, Established),
                back(ACK, 5000, 1101, 0, Established),
                there(ACK, 1101, 5001, 0, Established),
            ]),
        ),
        (
            "a reset in the window, asked back and repeated",
            opened(&[
                there(ACK, 1001, 5001, 300, Established),
                back(RST, 5400, 0, 0, Established),
                there(ACK, 1301, 5001, 0, Established),
                back(RST, 5001, 0, 0, Established),
                there(SYN, 9000, 0, 0, New).but_kernel(Established, REUSED),
            ]),
        ),
        (
            "a peer that forgot the connection opens it anew",
            opened(&[
                there(ACK, 1001, 5001, 100, Established),
                there(SYN, 700_000, 0, 0, Established),
                back(SYN | ACK, 90_000, 700_001, 0, Established),
                there(ACK, 700_001, 90_001, 50, Established),
                back(ACK, 90_001, 700_051, 50, Established),
            ]),
        ),
        (
            "a window that is drawn back",
            opened(&[
                back(ACK, 5001, 1001, 0, Established),
                back(ACK, 5001, 1001, 0, Established).window(10),
                there(ACK, 1001, 5001, 900, Established),
                back(ACK, 5001, 1901, 0, Established).window(0),
                back(ACK, 5001, 1901, 0, Established).window(1000),
                there(ACK, 1901, 5001, 900, Established),
            ]),
        ),
        (
            "data with the SYN",
            vec![
                there(SYN, 1000, 0, 50, New),
                back(SYN | ACK, 5000, 1051, 0, Established),
                there(ACK, 1051, 5001, 10, Established),
            ],
        ),
        (
            "both open at the same time, with data at once",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(SYN, 5000, 0, 0, Established),
                back(SYN | ACK, 5000, 1001, 0, Established),
                there(SYN | ACK, 1000, 5001, 0, Established),
                back(ACK, 5001, 1001, 100, Established),
                there(ACK, 1001, 5101, 100, Established),
                there(FIN | ACK, 1101, 5101, 0, Established),
            ],
        ),
        (
            "what one side forgot",
            vec![
                there(SYN, 1000, 0, 0, New),
                back(ACK, 300_000, 400_000, 0, Established),
                there(RST, 400_000, 0, 0, New).but_kernel(Established, ANSWERED),
                there(SYN, 1000, 0, 0, New),
                back(SYN | ACK, 5000, 1001, 0, Established),
            ],
        ),
        (
            "an opening that the opener completes himself",
            vec![there(SYN, 1000, 0, 0, New), there(ACK, 1001, 5001, 0, Invalid)],
        ),
        (
            "an answer to another number",
            vec![there(SYN, 1000, 0, 0, New), back(SYN | ACK, 5000, 500_000, 0, Invalid)],
        ),
    ]
}
