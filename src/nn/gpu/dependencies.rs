//! Which calls of a list must wait for which others, by the memory that they name, so that all else may run side by side. In doubt
//! a call waits: an address in a block stands for the whole block, and one that nobody knows for all memory.

use std::collections::HashMap;

use super::recording::{Access, Calls};

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    /// In the block that begins at this address.
    InBlock(u64),
    /// Among what the host sent, which was there before the first call.
    Sent,
    /// In data that stay there and are never written.
    Resident,
    /// In no memory that is known.
    Nowhere,
}

/// For each call of a list those that it must wait for, by their places in the list, the last one first: the calls that wrote what
/// it reads or writes, and those that read what it writes. What another of them waits for is left out.
pub(super) fn needs(calls: &Calls, lies: impl Fn(u64) -> Lies) -> Vec<Vec<usize>> {
    let (mut past, mut reduced) = (Past::default(), Reduced::default());
    for (place, call) in calls.iter().enumerate() {
        let touched = Touched::by(&call.accesses(), &lies);
        reduced.add(past.add(place, &touched));
    }
    reduced.needs
}

/// The memory that a call names.
#[derive(Debug)]
enum Touched {
    /// These blocks, each once, and whether they are written.
    Blocks(Vec<(u64, bool)>),
    /// Any.
    All,
}

impl Touched {
    fn by(accesses: &[Access], lies: impl Fn(u64) -> Lies) -> Self {
        let mut blocks: Vec<(u64, bool)> = Vec::with_capacity(accesses.len());
        for Access { at, is_write } in accesses {
            let block = match lies(*at) {
                Lies::InBlock(block) => block,
                Lies::Sent | Lies::Resident if !is_write => continue,
                Lies::Sent | Lies::Resident | Lies::Nowhere => return Self::All,
            };
            match blocks.iter_mut().find(|(known, _)| *known == block) {
                Some((_, is_written)) => *is_written |= is_write,
                None => blocks.push((block, *is_write)),
            }
        }
        Self::Blocks(blocks)
    }
}

/// Who used a block last.
#[derive(Debug, Default)]
struct Users {
    writer: Option<usize>,
    /// Those that read it since it was written.
    readers: Vec<usize>,
}

/// Who used what so far.
#[derive(Debug, Default)]
struct Past {
    blocks: HashMap<u64, Users>,
    /// The last call that touched all memory.
    barrier: Option<usize>,
}

impl Past {
    /// Adds a call; whom it must wait for, some of them perhaps twice or without need.
    fn add(&mut self, place: usize, touched: &Touched) -> Vec<usize> {
        let Touched::Blocks(blocks) = touched else {
            self.blocks.clear();
            self.barrier = Some(place);
            return (0..place).collect();
        };
        let mut found: Vec<usize> = self.barrier.into_iter().collect();
        for (block, is_written) in blocks {
            let users = self.blocks.entry(*block).or_default();
            found.extend(users.writer);
            if *is_written {
                found.append(&mut users.readers);
                users.writer = Some(place);
            } else {
                users.readers.push(place);
            }
        }
        found
    }
}

/// Whom each call waits for, without those that another one of them waits for.
#[derive(Debug, Default)]
struct Reduced {
    needs: Vec<Vec<usize>>,
    /// All that come before a call, directly or not: a bit for each.
    before: Vec<Vec<u64>>,
}

impl Reduced {
    /// Adds the next call, which must wait for `found`.
    fn add(&mut self, mut found: Vec<usize>) {
        let place = self.needs.len();
        let mut before = vec![0_u64; place / 64 + 1];
        // A call comes only before later ones, so what is implied is found when its turn comes.
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.retain(|one| {
            let (word, bit) = (one / 64, 1 << (one % 64));
            let is_new = before[word] & bit == 0;
            if is_new {
                before[word] |= bit;
                for (all, more) in before.iter_mut().zip(&self.before[*one]) {
                    *all |= more;
                }
            }
            is_new
        });
        self.needs.push(found);
        self.before.push(before);
    }
}

/// The number of calls on the longest path.
#[cfg(test)]
pub(super) fn longest_path(needs: &[Vec<usize>]) -> usize {
    let mut lengths: Vec<usize> = Vec::with_capacity(needs.len());
    for needs in needs {
        lengths.push(1 + needs.iter().map(|place| lengths[*place]).max().unwrap_or_default());
    }
    lengths.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gpu::{Arg, Grid, Kernel};

    /// Blocks begin at multiples of a thousand, what was sent at a million, what stays there at two, and further on nothing is known.
    fn lies(at: u64) -> Lies {
        match at {
            0..1_000_000 => Lies::InBlock(at / 1000),
            1_000_000..2_000_000 => Lies::Sent,
            2_000_000..3_000_000 => Lies::Resident,
            _ => Lies::Nowhere,
        }
    }

    /// Asks for a kernel that reads `from` and writes `into`.
    fn scale(calls: &mut Calls, from: u64, into: u64) {
        let by = Arg::Address(1_000_000);
        let arguments = [Arg::count(10), by, Arg::Address(from), Arg::Address(into)];
        calls.launch(Kernel::Scale, Grid { blocks: [1, 1, 1], threads: 256 }, &arguments);
    }

    fn found(ask: impl FnOnce(&mut Calls)) -> Vec<Vec<usize>> {
        let mut calls = Calls::default();
        ask(&mut calls);
        needs(&calls, lies)
    }

    #[test]
    fn chains_that_share_nothing_but_what_they_read_do_not_wait_for_each_other() {
        let needs = found(|calls| {
            for chain in [10_000, 20_000] {
                scale(calls, 1000, chain);
                scale(calls, chain, chain + 1000);
                calls.copy(chain + 2000, chain + 1000, 40);
            }
        });
        assert_eq!(needs, [vec![], vec![0], vec![1], vec![], vec![3], vec![4]]);
        assert_eq!(longest_path(&needs), 3);
    }

    #[test]
    fn what_is_read_was_written_before_and_what_is_written_was_read_before() {
        // Read after write, write after read, write after write.
        assert_eq!(found(|it| (scale(it, 1000, 2000), scale(it, 2000, 3000)).1)[1], [0]);
        assert_eq!(found(|it| (scale(it, 1000, 2000), scale(it, 3000, 1000)).1)[1], [0]);
        assert_eq!(found(|it| (scale(it, 1000, 2000), scale(it, 3000, 2000)).1)[1], [0]);
        // The same with copies and zeros.
        assert_eq!(found(|it| (it.copy(2000, 1000, 4), it.copy(3000, 2000, 4)).1)[1], [0]);
        assert_eq!(found(|it| (it.copy(2000, 1000, 4), it.zero(1000, 4)).1)[1], [0]);
        assert_eq!(found(|it| (it.zero(2000, 4), it.zero(2000, 4)).1)[1], [0]);
        // Two that read may run side by side.
        assert!(found(|it| (scale(it, 1000, 2000), scale(it, 1000, 3000)).1)[1].is_empty());
    }

    #[test]
    fn data_that_stay_there_are_read_beside_anything_and_written_by_no_one() {
        let needs = found(|calls| {
            scale(calls, 2_000_000, 1000);
            scale(calls, 2_000_400, 3000);
            scale(calls, 1000, 4000);
        });
        assert_eq!(needs, [vec![], vec![], vec![0]]);
        assert_eq!(found(|it| (scale(it, 1000, 2000), it.zero(2_000_000, 4)).1)[1], [0]);
    }

    #[test]
    fn an_address_within_a_block_stands_for_the_whole_block() {
        assert_eq!(found(|it| (scale(it, 1000, 2004), scale(it, 2800, 3000)).1)[1], [0]);
    }

    #[test]
    fn every_reader_is_waited_for_and_what_another_one_waits_for_is_left_out() {
        let needs = found(|calls| {
            scale(calls, 1000, 2000);
            scale(calls, 2000, 3000);
            scale(calls, 2000, 4000);
            // It waits for both readers, and thereby for the writer.
            scale(calls, 5000, 2000);
            // It waits for the last writer, and thereby for everything.
            scale(calls, 2000, 3000);
        });
        assert_eq!(needs, [vec![], vec![0], vec![0], vec![2, 1], vec![3]]);
    }

    #[test]
    fn places_of_joined_launches_are_all_counted() {
        let add = |calls: &mut Calls, from, into| {
            let arguments = [Arg::count(10), Arg::Address(from), Arg::Address(into)];
            let grid = Grid { blocks: [1, 1, 1], threads: 256 };
            calls.launch(Kernel::Accumulate, grid, &arguments);
        };
        let needs = found(|calls| {
            scale(calls, 1000, 2000);
            scale(calls, 1000, 3000);
            add(calls, 2000, 4000);
            add(calls, 3000, 5000);
            scale(calls, 5000, 6000);
        });
        assert_eq!(needs, [vec![], vec![], vec![1, 0], vec![2]]);
    }

    #[test]
    fn an_unknown_address_waits_for_everything_and_everything_for_it() {
        let far = 3_000_000;
        let needs = found(|calls| {
            scale(calls, 1000, 2000);
            scale(calls, 3000, 4000);
            scale(calls, 2000, 5000);
            scale(calls, far, 6000);
            scale(calls, 7000, 8000);
            scale(calls, 2000, 9000);
            calls.zero(far, 4);
        });
        assert_eq!(needs[3..], [vec![2, 1], vec![3], vec![3], vec![5, 4]]);
        // Nor may what the host sent be written beside anything.
        assert_eq!(found(|it| (scale(it, 1000, 2000), it.zero(1_000_000, 4)).1)[1], [0]);
    }

    #[test]
    fn more_calls_than_a_word_has_bits_are_reduced_as_well() {
        let needs = found(|calls| {
            for at in 1..200 {
                scale(calls, 1000 * at, 1000 * (at + 1));
                scale(calls, 1000, 300_000);
            }
        });
        assert!(needs.iter().all(|it| it.len() <= 1), "{needs:?}");
        assert_eq!(longest_path(&needs), 199);
    }
}
