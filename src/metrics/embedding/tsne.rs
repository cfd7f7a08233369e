//! t-SNE (van der Maaten & Hinton 2008; Barnes-Hut form, van der Maaten 2014).
//!
//! The crate `bhtsne` moves the points. It gives the same bits every time because nothing is left to
//! chance or to threads: the layout to begin with and the nearest neighbours come from here, and it
//! runs on one thread, where its parallel sums have one order.

use bhtsne::{Neighbor, tSNE};
use rayon::prelude::*;

/// How far the Barnes-Hut tree approximates; 0.5 is everybody's.
const THETA: f64 = 0.5;

/// Deviation of the first coordinate in the layout to begin with.
const START: f64 = 1e-4;

/// The fewest rows that a perplexity needs: three times as many neighbours as it says.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
pub fn rows_for(perplexity: f64) -> usize {
    (3.0 * perplexity).ceil() as usize + 1
}

/// Points in the plane for `rows` `[N, width]`: those that are neighbours there are neighbours here.
/// Begins with `layout`, the rows' principal components; learning rate max(N / 48, 50), 1,000
/// rounds, the first 250 with attraction 12-fold.
///
/// # Errors
/// When the rows are fewer than [`rows_for`] the perplexity, or the system gives no thread.
pub fn tsne(
    rows: &[f32],
    width: usize,
    layout: &[[f64; 2]],
    perplexity: f64,
) -> Result<Vec<[f64; 2]>, String> {
    let count = layout.len();
    let least = rows_for(perplexity);
    if count < least {
        return Err(format!("perplexity {perplexity} needs at least {least} points, not {count}"));
    }
    let neighbours = neighbours(rows, width, least - 1);
    let points: Vec<usize> = (0..count).collect();
    let begin: Vec<f64> = start(layout);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|error| format!("no thread for t-SNE: {error}"))?;
    let plane = pool.install(|| {
        let mut tsne: tSNE<f64, usize, 2> = tSNE::new(&points);
        tsne.perplexity(perplexity).initial_embedding(begin);
        tsne.barnes_hut_with_neighbors(THETA, &neighbours);
        tsne.embedding()
    });
    Ok(plane.chunks_exact(2).map(|point| [point[0], point[1]]).collect())
}

/// The layout made small, so that the first rounds are free to move.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn start(layout: &[[f64; 2]]) -> Vec<f64> {
    let square: f64 = layout.iter().map(|point| point[0] * point[0]).sum();
    let deviation = (square / layout.len() as f64).sqrt();
    let scale = if deviation > 0.0 { START / deviation } else { 1.0 };
    layout.iter().flatten().map(|it| it * scale).collect()
}

/// The `wanted` nearest rows of each row but itself, the nearest first, and of equally near ones the
/// first.
fn neighbours(rows: &[f32], width: usize, wanted: usize) -> Vec<Vec<Neighbor<f64>>> {
    let all: Vec<&[f32]> = rows.chunks_exact(width).collect();
    let of = |(at, row): (usize, &&[f32])| {
        let mut near: Vec<(f64, usize)> = all
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(other, values)| (square_distance(row, values), other))
            .collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(wanted);
        near.into_iter()
            .map(|(square, index)| Neighbor { index, distance: square.sqrt() })
            .collect()
    };
    all.par_iter().enumerate().map(of).collect()
}

/// In eight sums side by side, in an order that never changes.
pub(crate) fn square_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0_f32; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let rest: f64 = rest.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::pca;
    use super::*;
    use crate::random;

    /// Three clouds of 40 rows in ten dimensions.
    fn clouds() -> Vec<f32> {
        let mut stream = random::stream(5, "clouds", 0, 0);
        let value = |at: usize| if at % 10 == at / 400 { 8.0 } else { 0.0 };
        (0..1200).map(|at| value(at) + stream.normal()).collect()
    }

    #[test]
    fn clouds_stay_apart_and_the_bits_do_not_depend_on_threads() {
        let rows = clouds();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| tsne(&rows, 10, &pca(&rows, 10), 10.0).unwrap())
        };
        let plane = run(1);
        assert_eq!(plane, run(3));
        for (at, point) in plane.iter().enumerate() {
            let near = (0..plane.len()).filter(|other| *other != at).min_by(|a, b| {
                let far =
                    |other: usize| (plane[other][0] - point[0]).hypot(plane[other][1] - point[1]);
                far(*a).total_cmp(&far(*b))
            });
            assert_eq!(near.unwrap() / 40, at / 40, "the nearest point is of the same cloud");
        }
    }

    #[test]
    fn too_few_points_for_a_perplexity_are_an_error() {
        let error = tsne(&[0.0; 30], 1, &[[0.0; 2]; 30], 10.0).unwrap_err();
        assert_eq!(error, "perplexity 10 needs at least 31 points, not 30");
    }
}
