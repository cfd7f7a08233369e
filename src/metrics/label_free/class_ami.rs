//! Agreement of clusters with predictions: images that lie together shall be taken for the same class
//! (ClassAMI: Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking for
//! Unsupervised Domain Adaptation").

use super::{Outputs, k_means};

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The adjusted mutual information between the predicted classes and k-means clusters of the features,
/// as many as there are classes; at most 1, about 0 for chance.
pub fn class_ami(outputs: &Outputs) -> f64 {
    let predicted = outputs.predicted();
    let clusters = outputs.classes.min(predicted.len());
    let clusters = k_means::k_means(&outputs.features, outputs.width, clusters);
    adjusted_mutual_information(&predicted, &clusters)
}

/// `(I - E[I]) / ((H(a) + H(b)) / 2 - E[I])` of two labellings of the same things, E being the expectation
/// over labellings with the same counts (Vinh et al. 2010, "Information Theoretic Measures for
/// Clusterings Comparison"). 1 where both have only one class.
pub fn adjusted_mutual_information(a: &[u32], b: &[u32]) -> f64 {
    let (a, rows) = numbered(a);
    let (b, columns) = numbered(b);
    if rows == columns && rows <= 1 {
        return 1.0;
    }
    let mut table = vec![0_usize; rows * columns];
    a.iter().zip(&b).for_each(|(a, b)| table[a * columns + b] += 1);
    let of_rows: Vec<usize> = table.chunks_exact(columns).map(|row| row.iter().sum()).collect();
    let of_columns: Vec<usize> =
        (0..columns).map(|at| table.iter().skip(at).step_by(columns).sum()).collect();
    let information = information(&table, &of_rows, &of_columns, a.len());
    let expected = expected(&of_rows, &of_columns, a.len());
    let mean = (entropy(&of_rows, a.len()) + entropy(&of_columns, a.len())) / 2.0;
    let rest = mean - expected;
    // As scikit-learn keeps the denominator from 0.
    let rest = if rest < 0.0 { rest.min(-f64::EPSILON) } else { rest.max(f64::EPSILON) };
    (information - expected) / rest
}

/// The labels as numbers from 0 without gaps, and how many there are.
fn numbered(labels: &[u32]) -> (Vec<usize>, usize) {
    let mut known = labels.to_vec();
    known.sort_unstable();
    known.dedup();
    let place = |label: &u32| known.binary_search(label).expect("of these labels");
    (labels.iter().map(place).collect(), known.len())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn entropy(counts: &[usize], all: usize) -> f64 {
    let share = |count: &usize| *count as f64 / all as f64;
    -counts.iter().map(share).map(|p| p * p.ln()).sum::<f64>()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn information(table: &[usize], rows: &[usize], columns: &[usize], all: usize) -> f64 {
    let mut sum = 0.0;
    for (cells, row) in table.chunks_exact(columns.len()).zip(rows) {
        for (cell, column) in cells.iter().zip(columns).filter(|it| *it.0 > 0) {
            let (cell, row, column) = (*cell as f64, *row as f64, *column as f64);
            sum += cell / all as f64 * (cell * all as f64 / (row * column)).ln();
        }
    }
    sum.max(0.0)
}

/// The mean of the information over all labellings with these counts: hypergeometric cells.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn expected(rows: &[usize], columns: &[usize], all: usize) -> f64 {
    let mut ln_factorial = vec![0.0; all + 1];
    for at in 1..=all {
        ln_factorial[at] = ln_factorial[at - 1] + (at as f64).ln();
    }
    let f = |n: usize| ln_factorial[n];
    let mut sum = 0.0;
    for a in rows {
        for b in columns {
            let fixed = f(*a) + f(*b) + f(all - a) + f(all - b) - f(all);
            for cell in (a + b).saturating_sub(all).max(1)..=*a.min(b) {
                let ways = fixed - f(cell) - f(a - cell) - f(b - cell) - f(all + cell - a - b);
                let (share, pair) = (cell as f64 / all as f64, *a as f64 * *b as f64);
                sum += share * (all as f64 * cell as f64 / pair).ln() * ways.exp();
            }
        }
    }
    sum
}
