//! Identifications of IPv4: counted up, or without a meaning (RFC 6864).

use super::*;

#[test]
fn identifications_that_are_all_the_same_are_merged_where_they_have_no_meaning() {
    for (tags, id, udp) in [(0, 0, false), (2, 0xffff, false), (1, 7, true)] {
        let stream = Stream { tags, id, udp, numbering: Numbering::Constant, ..STREAM };
        let frames = stream.segments();
        let merged = merge(&frames, ALL);
        assert_eq!(merged.len(), 1, "{stream:?}");
        // The whole is what it was before it was cut: the first one's identification, and DF.
        assert!(assemble(&merged[0], &frames) == stream.whole().0, "{stream:?}");
        check_inverse(&frames, &merged);
        // Where a packet may be fragmented, its fragments are told from others by it: those stay apart.
        let frames = Stream { numbering: Numbering::Wrong, ..stream.clone() }.segments();
        assert_eq!(merge(&frames, ALL).len(), frames.len());
        let frames = Stream { numbering: Numbering::Fragmentable, ..stream }.segments();
        let merged = merge(&frames, ALL);
        assert_eq!(merged.len(), 1);
        check_inverse(&frames, &merged);
    }
}

#[test]
fn identifications_go_on_as_they_began() {
    let numbered = |ids: [u16; 6]| {
        let mut frames = Stream { payload: 6 * 1448, ..STREAM }.segments();
        frames.iter_mut().zip(ids).for_each(|(frame, id)| put_id(frame, id));
        let merged = merge(&frames, ALL);
        check_inverse(&frames, &merged);
        places(&merged)
    };
    assert_eq!(numbered([0, 0, 0, 1, 2, 3]), [[0, 1, 2], [3, 4, 5]]);
    assert_eq!(numbered([0, 1, 1, 1, 1, 2]), [vec![0, 1], vec![2, 3, 4], vec![5]]);
    assert_eq!(numbered([0xffff, 0, 0, 2, 4, 4]), [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    assert_eq!(numbered([9, 7, 9, 7, 9, 7]), [[0], [1], [2], [3], [4], [5]]);
}
