//! Tests of MIME by streaming, and what they share.

#![allow(clippy::unwrap_used, reason = "tests")]

mod charset;
mod codec;
mod edit;
mod edit_garbage;
mod scan;
mod scan_garbage;
mod splice;

use super::scan::scan_in_chunks;
use super::{Kind, Structure};
use crate::message::{ContentSource, HeaderBlock, HeaderSplitter, MemorySource};
use bytes::Bytes;
use futures_util::FutureExt;
use std::future::Future;
use std::sync::Arc;

/// A message in memory: its header block and its body section.
#[derive(Clone, Debug)]
struct Sample {
    header: HeaderBlock,
    section: Bytes,
}

impl Sample {
    fn new(content: &[u8]) -> Self {
        let mut splitter = HeaderSplitter::new(1 << 20);
        let (header, section) = match splitter.push(content).unwrap() {
            Some(split) => split,
            None => splitter.finish().unwrap(),
        };
        Self { header: HeaderBlock::parse(&header), section }
    }

    fn source(&self) -> Arc<dyn ContentSource> {
        Arc::new(MemorySource(self.section.clone()))
    }

    fn scan(&self) -> Structure {
        self.scan_by(64 << 10)
    }

    fn scan_by(&self, chunk: usize) -> Structure {
        now(scan_in_chunks(&self.header, &*self.source(), chunk)).unwrap()
    }

    fn text(&self, range: &std::ops::Range<u64>) -> String {
        String::from_utf8_lossy(&self.section[range.start as usize..range.end as usize]).into_owned()
    }

    /// One line for each part: section number, what it is, its header and (unless it is made of parts) its body.
    fn outline(&self, structure: &Structure) -> Vec<String> {
        let line = |part: &super::Part| {
            let seal = if part.is_sealed { " sealed" } else { "" };
            let (kind, body) = match part.kind {
                Kind::Leaf => ("leaf", format!(" {:?}", self.text(&part.body))),
                Kind::Opaque => ("opaque", format!(" {:?}", self.text(&part.body))),
                Kind::Multipart => ("parts", String::new()),
            };
            format!("{:3} {kind} {}{seal} {:?}{body}", part.section, part.media_type, self.text(&part.header))
        };
        structure.parts().iter().map(line).collect()
    }
}

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("sources in memory are always ready")
}

/// All of a source, read by `step` octets.
fn read_all(source: &dyn ContentSource, step: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while (all.len() as u64) < source.len() {
        let piece = now(source.read(all.len() as u64, step)).unwrap();
        assert!(!piece.is_empty() && piece.len() <= step);
        all.extend_from_slice(&piece);
    }
    assert!(now(source.read(source.len(), step)).unwrap().is_empty());
    all
}

/// Multiparts within each other, with a preamble, an epilogue, an empty part and all encodings.
const NESTED: &str = "Subject: nested\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"outer b\"\r\n\r\n\
    preamble\r\n--outer b\r\nContent-Type: multipart/alternative;\r\n\tboundary=inner\r\nX-Note: a\r\n b\r\n\r\n\
    --inner\r\n\r\nplain\r\n--inner \t\r\nContent-Type: TEXT/HTML; charset=\"utf-8\"\r\n\
    Content-Transfer-Encoding: Quoted-Printable (what else)\r\n\r\n<b>caf=C3=A9</b>\r\n\r\n--inner--\r\ninner epilogue\r\n\
    --outer b\r\nContent-Type: application/pdf; name=\"old.pdf\"\r\nContent-Transfer-Encoding: BASE64\r\n\
    Content-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf\r\nContent-ID: <id@x>\r\n\r\nAAEC\r\nAwQF\r\n\
    --outer b\r\n\r\n\r\n--outer b--\r\nepilogue\r\n";

/// Malformed in several ways: no empty lines, an inner multipart never closed, no close delimiter at the end.
const BROKEN: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=c\r\n\
    --c\r\nContent-Type: text/plain\r\nno empty line\r\n--c\r\n--b\r\n--b\r\nX: y\r\n--b\r\n\r\n--b\r\nContent-Type: x\r\n\r\nlast";
