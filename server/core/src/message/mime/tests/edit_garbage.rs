//! Edits of foreign octets of any kind: what was not edited stays, what was edited is found as it was given.

use super::edit::replace;
use super::scan_garbage::{assert_sound, mutate};
use super::{BROKEN, NESTED, Sample};
use crate::message::mime::{Edit, Kind, Structure, TransferEncoding};

/// Sections, headers and bodies of leaves: what must survive edits of other parts.
fn leaves(sample: &Sample, structure: &Structure, but: impl Fn(usize) -> bool) -> Vec<(String, String)> {
    let leaves =
        structure.parts().iter().enumerate().filter(|(index, part)| part.kind != Kind::Multipart && !but(*index));
    leaves.map(|(_, part)| (sample.text(&part.header), sample.text(&part.body))).collect()
}

/// Messages with their structures.
fn mutated(rounds: usize, seed: u64, mut each: impl FnMut(&Sample, &Structure, &mut fastrand::Rng)) {
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let sample = Sample::new(&mutate([NESTED, BROKEN][round % 2].as_bytes(), &mut random));
        each(&sample, &sample.scan(), &mut random);
    }
}

#[test]
fn a_replaced_leaf_has_its_new_content_and_the_others_their_old() {
    let mut replaced = 0;
    mutated(3000, 3, |sample, structure, random| {
        let index = random.usize(..structure.parts().len());
        let part = &structure.parts()[index];
        if part.kind != Kind::Leaf {
            return;
        }
        let Ok(edited) =
            sample.edit(vec![(index, replace("new=20", TransferEncoding::QuotedPrintable, Some("text/x")))])
        else {
            return;
        };
        replaced += 1;
        let after = edited.scan();
        assert_sound(&after, edited.section.len() as u64);
        let new = &after.parts()[index];
        // At the end of the content, the line end belongs to the body.
        let body = if part.next.is_some() { "new=20" } else { "new=20\r\n" };
        assert_eq!((edited.text(&new.body).as_str(), new.media_type.as_str()), (body, "text/x"), "{sample:?}");
        assert_eq!(new.encoding, TransferEncoding::QuotedPrintable);
        let but = |other: usize| other == index;
        assert_eq!(leaves(sample, structure, but), leaves(&edited, &after, but));
    });
    assert!(replaced > 1000, "{replaced}");
}

#[test]
fn a_removed_part_is_gone_and_the_others_are_there() {
    mutated(3000, 4, |sample, structure, random| {
        let index = random.usize(..structure.parts().len());
        let parent = structure.parts()[index].parent;
        let edited = sample.edit(vec![(index, Edit::Remove)]).unwrap();
        let after = edited.scan();
        assert_sound(&after, edited.section.len() as u64);
        let gone = |other: usize| other == index || structure.ancestors(other).any(|outer| outer == index);
        let mut expected = leaves(sample, structure, gone);
        let is_only = parent.is_none_or(|parent| structure.children(parent).count() == 1);
        if is_only {
            let header = if parent.is_none() { "" } else { "Content-Type: text/plain\r\n" };
            let before = structure.parts()[..index].iter().filter(|part| part.kind != Kind::Multipart).count();
            expected.insert(before, (header.into(), String::new()));
        }
        assert_eq!(leaves(&edited, &after, |_| false), expected, "{:?} of {sample:?}", index);
    });
}

#[test]
fn many_edits_at_once_never_fail_badly() {
    mutated(3000, 5, |sample, structure, random| {
        let mut edits = Vec::new();
        for index in 0..structure.parts().len() {
            match random.u8(..5) {
                0 => edits.push((index, Edit::Remove)),
                1 => edits.push((index, replace("x\r\ny", TransferEncoding::SevenBit, Some("text/plain")))),
                2 => edits.push((index, Edit::SetHeader { name: "Content-X".into(), value: "y".into() })),
                3 => edits.push((index, Edit::RemoveHeader { name: "Content-ID".into() })),
                _ => {}
            }
        }
        if let Ok(edited) = sample.edit(edits) {
            assert_sound(&edited.scan(), edited.section.len() as u64);
        }
    });
}
