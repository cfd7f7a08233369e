//! Two-class logistic regression: tells two sets of features apart. Draws nothing and runs on one
//! thread, so that the same rows give the same bits.

use super::newton::{Convex, newton};

/// A trained regression on features `[N, width]`.
#[derive(Debug)]
pub struct Logistic {
    mean: Vec<f32>,
    /// 1 / (deviation sqrt(width)); 0 for a feature that never varies.
    scale: Vec<f32>,
    weights: Vec<f64>,
    bias: f64,
}

impl Logistic {
    /// Minimises ||w||^2 / 2 + sum log(1 + exp(-y (w x + b))), where x are the features with mean 0
    /// and variance 1 / `width` each, and y is 1 for rows that are `positive`, else -1: regularisation
    /// then weighs the same for any number of features.
    ///
    /// # Panics
    /// When `rows` does not hold as many rows of `width` as `positive` has answers.
    pub fn train(rows: &[f32], width: usize, positive: &[bool]) -> Self {
        assert_eq!(rows.len(), width * positive.len(), "an answer for each row");
        let (mean, scale) = moments(rows, width);
        let mut x = rows.to_vec();
        for row in x.chunks_exact_mut(width) {
            for ((value, mean), scale) in row.iter_mut().zip(&mean).zip(&scale) {
                *value = (*value - mean) * scale;
            }
        }
        let signs: Vec<f64> = positive.iter().map(|it| if *it { 1.0 } else { -1.0 }).collect();
        let loss = LogisticLoss { x: &x, width, signs: &signs };
        let mut w = newton(&loss, vec![0.0; width + 1]);
        let bias = w.pop().unwrap_or_default();
        Self { mean, scale, weights: w, bias }
    }

    /// Log odds of being positive for each row of features.
    pub fn log_odds(&self, rows: &[f32]) -> Vec<f64> {
        let odds = |row: &[f32]| {
            let terms = row.iter().zip(&self.mean).zip(&self.scale).zip(&self.weights);
            terms.map(|(((x, mean), scale), w)| f64::from((x - mean) * scale) * w).sum::<f64>()
                + self.bias
        };
        rows.chunks_exact(self.mean.len()).map(odds).collect()
    }
}

/// Mean of each feature, and the factor that gives it its variance.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
#[expect(clippy::cast_possible_truncation, reason = "features are f32")]
fn moments(rows: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let mut mean = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    let mut square = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        for ((sum, x), mean) in square.iter_mut().zip(row).zip(&mean) {
            *sum += (f64::from(*x) - mean).powi(2);
        }
    }
    let scale = |sum: f64| {
        let deviation = (sum / count * width as f64).sqrt();
        if deviation > 0.0 { (1.0 / deviation) as f32 } else { 0.0 }
    };
    (mean.iter().map(|it| *it as f32).collect(), square.into_iter().map(scale).collect())
}

struct LogisticLoss<'a> {
    x: &'a [f32],
    width: usize,
    signs: &'a [f64],
}

impl LogisticLoss<'_> {
    fn rows(&self) -> impl Iterator<Item = (&[f32], f64)> {
        self.x.chunks_exact(self.width).zip(self.signs.iter().copied())
    }

    /// w x + b of a row; the bias is the last weight.
    fn product(&self, row: &[f32], w: &[f64]) -> f64 {
        row.iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + w[self.width]
    }

    fn accumulate(&self, sum: &mut [f64], row: &[f32], factor: f64) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * f64::from(*x));
        sum[self.width] += factor;
    }
}

impl Convex for LogisticLoss<'_> {
    /// p (1 - p) of each row.
    type Curvature = Vec<f64>;

    fn loss(&self, w: &[f64]) -> f64 {
        let penalty = w[..self.width].iter().map(|w| w * w).sum::<f64>() / 2.0;
        let of = |(row, sign): (&[f32], f64)| softplus(-sign * self.product(row, w));
        penalty + self.rows().map(of).sum::<f64>()
    }

    fn gradient(&self, w: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut gradient = w.to_vec();
        gradient[self.width] = 0.0;
        let mut curvature = Vec::with_capacity(self.signs.len());
        for (row, sign) in self.rows() {
            let p = 1.0 / (1.0 + (sign * self.product(row, w)).exp());
            curvature.push(p * (1.0 - p));
            self.accumulate(&mut gradient, row, -sign * p);
        }
        (gradient, curvature)
    }

    fn hessian_times(&self, curvature: &Vec<f64>, v: &[f64]) -> Vec<f64> {
        let mut product = v.to_vec();
        product[self.width] = 0.0;
        for ((row, _), curvature) in self.rows().zip(curvature) {
            self.accumulate(&mut product, row, curvature * self.product(row, v));
        }
        product
    }
}

/// log(1 + exp(x)) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
