//! The parts of a message: found alike however they are read, in order and within bounds; decoded alike whole and cut;
//! and edited so that the other parts stay. The first octet chooses the edits, content follows.

use crate::cut::{ShortReads, cut, random};
use bytes::Bytes;
use futures_util::FutureExt as _;
use postern_core::message::mime::{
    Coding, Decoder, Edit, Encoder, Kind, MAX_DEPTH, MAX_PARTS, Part, Replacement, Structure, TransferEncoding, edit,
    scan,
};
use postern_core::message::{ContentSource, HeaderBlock, HeaderSplitter, MemorySource};
use std::future::Future;
use std::sync::Arc;

pub fn run(input: &[u8]) {
    let Some((kind, content)) = input.split_first() else { return };
    let mut splitter = HeaderSplitter::new(1 << 20);
    let Ok((block, section)) =
        splitter.push(content).map(|found| found.unwrap_or_else(|| splitter.finish().expect("small")))
    else {
        return;
    };
    let header = HeaderBlock::parse(&block);
    let structure = now(scan(&header, &MemorySource(section.clone()))).expect("memory is readable");
    let in_pieces = now(scan(&header, &ShortReads::new(section.clone()))).expect("memory is readable");
    assert_eq!(format!("{structure:?}"), format!("{in_pieces:?}"));
    check_structure(&structure, section.len() as u64);
    structure.parts().iter().for_each(|part| check_body(part, &section));
    check_encoders(&section);
    check_edits(*kind, &structure, &header, section);
}

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory is always ready")
}

fn check_structure(structure: &Structure, len: u64) {
    let parts = structure.parts();
    assert!((1..=MAX_PARTS).contains(&parts.len()));
    let mut at = 0;
    for (index, part) in parts.iter().enumerate() {
        assert!(at <= part.header.start && part.header.start <= part.header.end);
        assert!(part.header.end <= part.body.start && part.body.start <= part.body.end && part.body.end <= len);
        assert_eq!(part.parent.is_none(), index == 0);
        let (mut depth, mut outer) = (0, part.parent);
        while let Some(parent) = outer {
            assert!(parent < index && parts[parent].kind == Kind::Multipart);
            assert!(parts[parent].body.start <= part.header.start && part.body.end <= parts[parent].body.end);
            (depth, outer) = (depth + 1, parts[parent].parent);
        }
        assert!(depth <= MAX_DEPTH + 1);
        at = if part.kind == Kind::Multipart { part.body.start } else { part.body.end };
        assert_eq!(part.kind == Kind::Multipart, structure.children(index).next().is_some());
    }
}

fn check_body(part: &Part, section: &Bytes) {
    let body = &section[part.body.start as usize..part.body.end as usize];
    let decoded = |pieces: &[&[u8]]| {
        let (mut decoder, mut out) = (Decoder::new(part.encoding), Vec::new());
        pieces.iter().for_each(|piece| decoder.push(piece, &mut out));
        decoder.finish(&mut out);
        out
    };
    let whole = decoded(&[body]);
    assert_eq!(whole, decoded(&cut(body)));
    assert!(whole.len() <= body.len() + 2);
    assert!(part.header_block().count() <= part.header.end as usize);
}

/// What is encoded has no octet that can't be sent, and decodes to what it was.
fn check_encoders(octets: &[u8]) {
    for coding in [Coding::Base64, Coding::QuotedPrintable] {
        let encoded = |pieces: &[&[u8]]| {
            let (mut encoder, mut out) = (Encoder::new(coding), Vec::new());
            pieces.iter().for_each(|piece| encoder.push(piece, &mut out));
            encoder.finish(&mut out);
            out
        };
        let whole = encoded(&[octets]);
        assert_eq!(whole, encoded(&cut(octets)));
        crate::wire::assert_clean(&whole, "what was encoded");
        crate::wire::assert_lines(&whole, 76, "what was encoded");
        let (mut decoder, mut back) = (Decoder::new(coding.into()), Vec::new());
        decoder.push(&whole, &mut back);
        decoder.finish(&mut back);
        let expected = if coding == Coding::Base64 { octets.to_vec() } else { with_crlf(octets) };
        assert_eq!(back.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{coding:?}");
    }
}

/// Bare CRs and LFs become line ends.
fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = octets;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'\r' => {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            octet => out.push(*octet),
        }
    }
    out
}

fn check_edits(kind: u8, structure: &Structure, header: &HeaderBlock, section: Bytes) {
    let mut random = random(&[kind, structure.parts().len() as u8]);
    let mut edits = Vec::new();
    for index in 0..structure.parts().len() {
        match random.u8(..8) {
            0 => edits.push((index, Edit::Remove)),
            1 => {
                let encoded = Arc::new(MemorySource(Bytes::from_static(b"new=20")));
                let content_type = Some("text/x-new".to_owned());
                let encoding = TransferEncoding::QuotedPrintable;
                edits.push((index, Edit::Replace(Replacement { encoded, encoding, content_type })));
            }
            2 => edits.push((index, Edit::SetHeader { name: "Content-X".into(), value: "y".into() })),
            3 => edits.push((index, Edit::RemoveHeader { name: "Content-ID".into() })),
            _ => {}
        }
    }
    let unchanged = |index: usize| edits.iter().all(|(edited, _)| *edited != index);
    let has_removal = edits.iter().any(|(_, edit)| matches!(edit, Edit::Remove));
    let has_whole_change = edits.iter().any(|(_, edit)| !edit.is_of_header());
    let source: Arc<dyn ContentSource> = Arc::new(ShortReads::new(section.clone()));
    let Ok(edited) = now(edit(structure, header, &source, edits.clone())) else { return };
    let mut after = Vec::new();
    while (after.len() as u64) < edited.section.len() {
        let piece = now(edited.section.read(after.len() as u64, 4096)).expect("memory is readable");
        assert!(!piece.is_empty());
        after.extend_from_slice(&piece);
    }
    if edits.is_empty() {
        assert_eq!((&after[..], &edited.header), (&section[..], header));
    }
    let again = now(scan(&edited.header, &MemorySource(after.clone().into()))).expect("memory is readable");
    check_structure(&again, after.len() as u64);
    // Header fields alone change no part's number nor content.
    if !has_removal && !has_whole_change && structure.parts().len() < MAX_PARTS {
        assert_eq!(again.parts().len(), structure.parts().len());
        for (index, (part, new)) in structure.parts().iter().zip(again.parts()).enumerate() {
            if part.kind != Kind::Multipart {
                let body = |part: &Part, all: &[u8]| all[part.body.start as usize..part.body.end as usize].to_vec();
                assert_eq!(body(part, &section), body(new, &after), "part {index}, {}", unchanged(index));
            }
        }
    }
}
