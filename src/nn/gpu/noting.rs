//! What a queue was asked for from one moment to another, so that it can be asked for again without being written down: lists of
//! calls, and the bytes that were sent with each, of which some are others every time.

use super::graph::Again;

/// What some of the sent bytes come from, by the number that whoever asked for them gave it.
pub(in crate::nn) type Source = usize;

/// Bytes that are others every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Where they begin, among those that are sent with the list.
    pub at: usize,
    pub len: usize,
    pub source: Source,
}

/// A list, with what is sent with it.
#[derive(Debug)]
pub(super) struct NotedList {
    pub list: Again,
    pub sent: Vec<u8>,
    pub spans: Vec<Span>,
}

impl NotedList {
    /// Writes the bytes that are others every time to their places.
    pub fn fill(&self, sent: &mut [u8], fill: &mut impl FnMut(Source, &mut [u8])) {
        for Span { at, len, source } in &self.spans {
            fill(*source, &mut sent[*at..][..*len]);
        }
    }
}

/// In what state a queue must be so that what was noted can be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// A digest of the blocks that are in use: all others may be written to.
    pub live: u64,
    /// How often memory that calls may name was given back, or what is sent got another place.
    pub moved: u64,
}

/// What was asked for before, and not handed over yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Words of its calls.
    pub words: usize,
    /// Bytes that are sent with them.
    pub sent: usize,
}

/// What is being noted.
#[derive(Debug)]
pub(super) struct Noting {
    pub begin: Memory,
    pub pending: Pending,
    pub lists: Vec<NotedList>,
    /// Those of the list that is being written down.
    pub spans: Vec<Span>,
    /// Whether nothing was asked for that cannot be noted, such as values for the host.
    pub is_whole: bool,
}

/// What a queue was asked for.
#[derive(Debug)]
pub(in crate::nn) struct NotedCalls {
    pub(super) begin: Memory,
    /// What stands at the beginning of the first list, and is asked for anew every time.
    pub(super) pending: Pending,
    pub(super) lists: Vec<NotedList>,
}

impl NotedCalls {
    /// How this, asked for again with the bytes that `fill` writes for each source, differs from `other`; `None` where every call
    /// and every byte is the same.
    pub fn differs(&self, other: &Self, mut fill: impl FnMut(Source, &mut [u8])) -> Option<String> {
        if self.begin != other.begin {
            return Some("the memory that is in use is other memory".to_owned());
        }
        if self.pending != other.pending {
            return Some("other calls come before it".to_owned());
        }
        if self.lists.len() != other.lists.len() {
            let (one, other) = (self.lists.len(), other.lists.len());
            return Some(format!(
                "it is {one} lists of calls in one case and {other} in the other"
            ));
        }
        for (number, (list, other)) in self.lists.iter().zip(&other.lists).enumerate() {
            if list.list != other.list || list.spans != other.spans {
                return Some(format!("list {number} has other calls"));
            }
            let mut sent = list.sent.clone();
            if sent.len() != other.sent.len() {
                return Some(format!("more or less is sent with list {number}"));
            }
            list.fill(&mut sent, &mut fill);
            if number == 0 {
                sent[..self.pending.sent].copy_from_slice(&other.sent[..self.pending.sent]);
            }
            if sent != other.sent {
                let at = sent.iter().zip(&other.sent).position(|(one, other)| one != other);
                let at = at.expect("one of them differs");
                return Some(format!("what is sent with list {number} differs from byte {at} on"));
            }
        }
        None
    }
}
