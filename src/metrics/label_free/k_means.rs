//! k-means clusters (Lloyd 1982) from k-means++ starts (Arthur & Vassilvitskii 2007).

use rayon::prelude::*;

use crate::metrics::embedding::square_distance;
use crate::random::{self, Stream};

/// Starts, of which the one with the smallest sum of squared distances counts.
const STARTS: u64 = 3;

/// Rounds of a start at most.
const ROUNDS: usize = 100;

/// The cluster of each row `[N, width]`, below `clusters`. Drawn from a fixed stream; a cluster that
/// loses all its rows stays where it is.
pub(super) fn k_means(rows: &[f32], width: usize, clusters: usize) -> Vec<u32> {
    let all: Vec<&[f32]> = rows.chunks_exact(width).collect();
    let mut best: Option<(f64, Vec<u32>)> = None;
    for start in 0..STARTS {
        let mut stream = random::stream(0, "k-means", 0, start);
        let mut centres = seeds(&all, clusters, &mut stream);
        let mut found = assign(&all, &centres);
        for _ in 0..ROUNDS {
            centres = means(&all, &found.1, &centres);
            let next = assign(&all, &centres);
            let same = next.1 == found.1;
            found = next;
            if same {
                break;
            }
        }
        if best.as_ref().is_none_or(|best| found.0 < best.0) {
            best = Some(found);
        }
    }
    best.map(|it| it.1).unwrap_or_default()
}

/// Rows drawn with probability in their squared distance from those drawn before.
fn seeds(all: &[&[f32]], clusters: usize, stream: &mut Stream) -> Vec<Vec<f32>> {
    let mut centres = vec![all[stream.below(all.len())].to_vec()];
    let mut nearest = vec![f64::INFINITY; all.len()];
    while centres.len() < clusters {
        let last = centres.last().expect("one at least");
        for (nearest, row) in nearest.iter_mut().zip(all) {
            *nearest = nearest.min(square_distance(row, last));
        }
        let mut left = stream.uniform_f64() * nearest.iter().sum::<f64>();
        let past = nearest.iter().position(|square| {
            left -= square;
            left < 0.0
        });
        centres.push(all[past.unwrap_or(all.len() - 1)].to_vec());
    }
    centres
}

/// The sum of squared distances from the nearest centres, and which those are; the first of equal ones.
fn assign(all: &[&[f32]], centres: &[Vec<f32>]) -> (f64, Vec<u32>) {
    let nearest = |row: &&[f32]| {
        let mut best = (f64::INFINITY, 0);
        for (at, centre) in (0_u32..).zip(centres) {
            let square = square_distance(row, centre);
            if square < best.0 {
                best = (square, at);
            }
        }
        best
    };
    let found: Vec<(f64, u32)> = all.par_iter().map(nearest).collect();
    (found.iter().map(|it| it.0).sum(), found.into_iter().map(|it| it.1).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "features are f32")]
fn means(all: &[&[f32]], of: &[u32], before: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let width = before.first().map_or(0, Vec::len);
    let mut sums = vec![(vec![0.0_f64; width], 0.0_f64); before.len()];
    for (row, cluster) in all.iter().zip(of) {
        let (sum, count) = &mut sums[*cluster as usize];
        sum.iter_mut().zip(*row).for_each(|(sum, x)| *sum += f64::from(*x));
        *count += 1.0;
    }
    let mean = |((sum, count), before): ((Vec<f64>, f64), &Vec<f32>)| {
        if count == 0.0 {
            return before.clone();
        }
        sum.into_iter().map(|it| (it / count) as f32).collect()
    };
    sums.into_iter().zip(before).map(mean).collect()
}
