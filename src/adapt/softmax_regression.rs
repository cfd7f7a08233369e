//! Multinomial logistic regression on rows of features, in double precision. Draws nothing, and gives the same bits
//! at any number of threads: sums over rows are sums over parts that the number of rows fixes.

use std::ops::Range;

use rayon::prelude::*;

use super::linear_maps::{AffineMap, FeatureRows, Matrix, add, count};
use crate::metrics::newton::{Convex, newton};

/// Parts that sums over rows are made of.
const PARTS: usize = 32;

/// The logit of a class that no row has: far below any other, and finite.
const NEVER: f64 = -1e4;

/// A trained regression.
#[derive(Debug, Clone)]
pub struct SoftmaxRegression {
    /// From a row to its class logits.
    pub map: AffineMap,
    /// Mean cross-entropy of the rows that it was trained on.
    pub loss: f64,
    /// The share of these whose largest logit is that of their class.
    pub accuracy: f64,
}

impl SoftmaxRegression {
    /// Minimises |W|^2 / 2 + sum_i CE(W x_i + b, y_i) over W and b, for rows x of the `classes` y: logistic
    /// regression with a penalty of C = 1 in scikit-learn. A class that no row has is never the likeliest one.
    ///
    /// # Panics
    /// When there is not a label for each row.
    pub fn train(rows: &FeatureRows, labels: &[u32], classes: usize) -> Self {
        assert_eq!(rows.images(), labels.len(), "a label for each row");
        let mut present = labels.to_vec();
        present.sort_unstable();
        present.dedup();
        let place = |label: &u32| present.binary_search(label).expect("a class of the rows");
        let labels: Vec<usize> = labels.iter().map(place).collect();
        let problem = SoftmaxLoss { rows, labels: &labels, classes: present.len() };
        let w = newton(&problem, vec![0.0; (rows.width + 1) * present.len()]);
        let (loss, accuracy) = problem.quality(&w);

        let mut map =
            AffineMap { matrix: Matrix::zeros(classes, rows.width), shift: vec![NEVER; classes] };
        for (at, class) in present.iter().enumerate() {
            let class = *class as usize;
            let mut own = w.iter().skip(at).step_by(present.len());
            let weights = &mut map.matrix.values[class * rows.width..][..rows.width];
            weights.iter_mut().zip(&mut own).for_each(|(to, weight)| *to = *weight);
            map.shift[class] = *own.next().expect("the bias comes last");
        }
        Self { map, loss, accuracy }
    }
}

/// Turns logits into probabilities. The logarithm of the sum of their exponentials.
pub(super) fn softmax(logits: &mut [f64]) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for logit in &mut *logits {
        *logit = (*logit - largest).exp();
        sum += *logit;
    }
    logits.iter_mut().for_each(|p| *p /= sum);
    largest + sum.ln()
}

/// Parameters are `[width + 1, classes]`: what each feature adds to the logits, and the biases.
struct SoftmaxLoss<'a> {
    rows: &'a FeatureRows,
    labels: &'a [usize],
    classes: usize,
}

impl SoftmaxLoss<'_> {
    /// What `of` makes of each part of the rows.
    fn parts<T: Send>(&self, of: impl Fn(Range<usize>) -> T + Send + Sync) -> Vec<T> {
        let all = self.labels.len();
        let size = all.div_ceil(PARTS);
        let part = |at: usize| (at * size).min(all)..((at + 1) * size).min(all);
        (0..PARTS).into_par_iter().map(|at| of(part(at))).collect()
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.rows.values[at * self.rows.width..][..self.rows.width]
    }

    /// What parameters `w` make of the row at `at`.
    fn logits(&self, at: usize, w: &[f64]) -> Vec<f64> {
        let (weights, biases) = w.split_at(self.rows.width * self.classes);
        let mut logits = biases.to_vec();
        for (x, weights) in self.row(at).iter().zip(weights.chunks_exact(self.classes)) {
            add(&mut logits, f64::from(*x), weights);
        }
        logits
    }

    /// Adds what `shares` of the logits of the row at `at` are by the parameters.
    fn accumulate(&self, sums: &mut [f64], at: usize, shares: &[f64]) {
        let (weights, biases) = sums.split_at_mut(self.rows.width * self.classes);
        for (x, sums) in self.row(at).iter().zip(weights.chunks_exact_mut(self.classes)) {
            add(sums, f64::from(*x), shares);
        }
        add(biases, 1.0, shares);
    }

    /// `w` without the biases, which nothing pulls to 0.
    fn weights_alone(&self, w: &[f64]) -> Vec<f64> {
        let mut weights = w.to_vec();
        weights[self.rows.width * self.classes..].fill(0.0);
        weights
    }

    /// Mean cross-entropy, and the share of rows that are taken for what they are.
    fn quality(&self, w: &[f64]) -> (f64, f64) {
        let parts = self.parts(|rows| {
            let (mut loss, mut hits) = (0.0, 0);
            for at in rows {
                let mut logits = self.logits(at, w);
                let (label, own) = (self.labels[at], logits[self.labels[at]]);
                let is_less = |(class, logit): (usize, &f64)| {
                    *logit < own || (*logit == own && class >= label)
                };
                hits += usize::from(logits.iter().enumerate().all(is_less));
                loss += softmax(&mut logits) - own;
            }
            (loss, hits)
        });
        let rows = count(self.labels.len());
        let loss: f64 = parts.iter().map(|part| part.0).sum();
        (loss / rows, count(parts.iter().map(|part| part.1).sum()) / rows)
    }
}

impl Convex for SoftmaxLoss<'_> {
    /// The class probabilities of each row, part by part.
    type Curvature = Vec<Vec<f64>>;

    fn loss(&self, w: &[f64]) -> f64 {
        let squares: f64 = self.weights_alone(w).iter().map(|w| w * w).sum();
        squares / 2.0 + self.quality(w).0 * count(self.labels.len())
    }

    fn gradient(&self, w: &[f64]) -> (Vec<f64>, Self::Curvature) {
        let parts = self.parts(|rows| {
            let mut sums = vec![0.0; w.len()];
            let mut probabilities = Vec::with_capacity(rows.len() * self.classes);
            for at in rows {
                let mut p = self.logits(at, w);
                softmax(&mut p);
                probabilities.extend_from_slice(&p);
                p[self.labels[at]] -= 1.0;
                self.accumulate(&mut sums, at, &p);
            }
            (sums, probabilities)
        });
        let mut gradient = self.weights_alone(w);
        let mut curvature = Vec::with_capacity(PARTS);
        for (sums, probabilities) in parts {
            add(&mut gradient, 1.0, &sums);
            curvature.push(probabilities);
        }
        (gradient, curvature)
    }

    fn hessian_times(&self, curvature: &Self::Curvature, v: &[f64]) -> Vec<f64> {
        let size = self.labels.len().div_ceil(PARTS);
        let parts = self.parts(|rows| {
            let mut sums = vec![0.0; v.len()];
            let Some(probabilities) = curvature.get(rows.start / size) else { return sums };
            for (at, p) in rows.zip(probabilities.chunks_exact(self.classes)) {
                let mut shares = self.logits(at, v);
                let mean: f64 = shares.iter().zip(p).map(|(share, p)| share * p).sum();
                shares.iter_mut().zip(p).for_each(|(share, p)| *share = p * (*share - mean));
                self.accumulate(&mut sums, at, &shares);
            }
            sums
        });
        let mut product = self.weights_alone(v);
        parts.iter().for_each(|part| add(&mut product, 1.0, part));
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::linear_maps::tests::{cloud, near};

    /// Rows of three classes, each a cloud of its own, and their labels.
    fn rows() -> (FeatureRows, Vec<u32>) {
        let mut rows = cloud(7, 90, 4, 0.0);
        for (at, row) in rows.values.chunks_exact_mut(4).enumerate() {
            row[at % 3] += 1.5;
        }
        (rows, (0..90).map(|at| [0, 2, 3][at % 3]).collect())
    }

    /// The gradient of the objective by W and b, in loops.
    fn gradient(
        map: &AffineMap,
        rows: &FeatureRows,
        labels: &[u32],
        classes: &[usize],
    ) -> Vec<f64> {
        let mut slopes = Vec::new();
        for class in classes {
            let weights = &map.matrix.values[4 * class..4 * (class + 1)];
            let mut of_class: Vec<f64> = weights.iter().copied().chain([0.0]).collect();
            for (row, label) in rows.values.chunks(4).zip(labels) {
                let x: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
                let logit = |class: &usize| {
                    let products = (0..4).map(|at| map.matrix.values[4 * class + at] * x[at]);
                    products.sum::<f64>() + map.shift[*class]
                };
                let sum: f64 = classes.iter().map(|it| logit(it).exp()).sum();
                let own = f64::from(u8::from(*label as usize == *class));
                let share = logit(class).exp() / sum - own;
                (0..4).for_each(|at| of_class[at] += share * x[at]);
                of_class[4] += share;
            }
            slopes.extend(of_class);
        }
        slopes
    }

    #[test]
    fn the_gradient_of_the_penalised_cross_entropy_is_0_and_absent_classes_are_never_taken() {
        let (rows, labels) = rows();
        let found = SoftmaxRegression::train(&rows, &labels, 5);
        let slopes = gradient(&found.map, &rows, &labels, &[0, 2, 3]);
        near(&slopes, &[0.0; 15], 1e-4);
        let mut moved = found.map.clone();
        moved.shift[2] -= 0.3;
        let elsewhere = gradient(&moved, &rows, &labels, &[0, 2, 3]);
        assert!(elsewhere.iter().any(|it| it.abs() > 0.1), "{elsewhere:?}");
        for class in [1, 4] {
            assert_eq!(found.map.shift[class], NEVER);
            assert_eq!(found.map.matrix.values[4 * class..4 * (class + 1)], [0.0; 4]);
        }
        let logits = found.map.of_rows(&rows);
        let hits = logits.rows().zip(&labels).filter(|(row, label)| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row[**label as usize] == largest
        });
        let accuracy = hits.count() as f64 / 90.0;
        assert!((accuracy - found.accuracy).abs() < 1e-12, "{accuracy}");
        assert!(accuracy > 0.5 && found.loss < 1.0, "{found:?}");
    }

    #[test]
    fn the_same_bits_come_out_at_any_number_of_threads_and_one_class_is_taken_for_itself() {
        let (rows, labels) = rows();
        let at = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| SoftmaxRegression::train(&rows, &labels, 5).map)
        };
        assert_eq!(at(1), at(3));
        let alone = SoftmaxRegression::train(&rows, &[2; 90], 3);
        assert_eq!((alone.loss, alone.accuracy), (0.0, 1.0));
        assert_eq!(alone.map.shift, [NEVER, NEVER, 0.0]);
    }
}
