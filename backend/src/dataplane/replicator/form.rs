//! The forms in which receivers take a frame: each is made once, however many receivers share it.

use viaduct_switch::offload::{Checksums, Segmenter, Treatment, finish_checksum};
use viaduct_switch::{Claims, DropReason, TagStack};

use crate::dataplane::delivery::{Taker, Workshop, header_of, length_of};
use crate::dataplane::outlet::Outcome;

/// What a piece costs beside its bytes: its place in a ring.
const PIECE_COST: usize = 64;

/// A frame as some receivers take it: whole with its checksum finished, or cut; with tags before it, or without.
pub(super) struct Form {
    pub(super) made_for: MadeFor,
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Why there are no more pieces than these.
    refused: Option<DropReason>,
}

/// What tells forms of one frame apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MadeFor {
    pub(super) treatment: Treatment,
    pub(super) tags: TagStack,
    /// Payload bytes of a super-frame's segments: fewer for receivers that are reached by a tunnel.
    pub(super) size: Option<u16>,
}

/// One frame of a form, somewhere in its bytes.
struct Piece {
    header: [u8; 12],
    start: usize,
    len: usize,
}

impl Form {
    /// Makes the form of `frame` for receivers that ask for this treatment and these tags.
    pub(super) fn make(frame: &[u8], claims: Claims, made_for: MadeFor, workshop: &mut Workshop) -> Self {
        let room = frame.len() + frame.len() / 8;
        let mut form = Self { made_for, bytes: Vec::with_capacity(room), pieces: Vec::new(), refused: None };
        let MadeFor { treatment, tags, .. } = &made_for;
        let Some(claims) = claims.behind(tags) else {
            return Self { refused: Some(DropReason::BadOffload), ..form };
        };
        let mut whole = workshop.take_whole(frame, tags);
        let bytes = if tags.is_empty() { frame } else { &whole };
        form.refused = match treatment {
            Treatment::AsIs => Ok(()),
            Treatment::FinishChecksum => form.finish(bytes, claims),
            Treatment::Segment(checksums) => form.cut(bytes, claims, *checksums, workshop),
        }
        .err();
        whole.clear();
        workshop.give_back(whole);
        form
    }

    fn add(&mut self, bytes: &[u8], header: [u8; 12]) {
        self.pieces.push(Piece { header, start: self.bytes.len(), len: bytes.len() });
        self.bytes.extend_from_slice(bytes);
    }

    fn finish(&mut self, frame: &[u8], claims: Claims) -> Result<(), DropReason> {
        self.add(frame, [0; 12]);
        let finished = claims.checksum.map_or(Ok(()), |checksum| finish_checksum(&mut self.bytes, checksum));
        finished.inspect_err(|_| self.pieces.clear())
    }

    fn cut(
        &mut self,
        frame: &[u8],
        claims: Claims,
        checksums: Checksums,
        workshop: &mut Workshop,
    ) -> Result<(), DropReason> {
        let (segment, fragment_id) = workshop.for_cutting();
        let mut segmenter = Segmenter::new(frame, &claims, checksums, fragment_id)?;
        while let Some(next) = segmenter.next_into(segment)? {
            let bytes = segment.get(..next.length).unwrap_or_default();
            self.add(bytes, header_of(next.claims.to_raw(bytes)));
        }
        Ok(())
    }

    /// What putting it costs: its bytes, and some for each piece.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.pieces.len() * PIECE_COST
    }

    /// Bytes of memory that the form holds.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Lets a receiver's queue, or what stands before it, take the form.
    pub(super) fn put(&self, taker: &mut impl Taker, outcome: &mut Outcome) -> Result<(), DropReason> {
        for piece in &self.pieces {
            let bytes = self.bytes.get(piece.start..piece.start + piece.len).unwrap_or_default();
            taker.take(&piece.header, bytes, &[], length_of(bytes), outcome)?;
        }
        self.refused.map_or(Ok(()), Err)
    }
}
