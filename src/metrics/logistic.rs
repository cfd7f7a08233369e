//! Two-class logistic regression: tells two sets of features apart. Draws nothing and runs on one
//! thread, so that the same rows give the same bits.

/// Newton steps at most; regression is convex and takes about ten.
const STEPS: usize = 50;

/// Conjugate-gradient steps within a Newton step at most.
const INNER: usize = 100;

/// The norm of the gradient, relative to the first, at which training ends.
const TOLERANCE: f64 = 1e-7;

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
        let mut w = newton(&LogisticLoss { x: &x, width, signs: &signs });
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

    fn loss(&self, w: &[f64]) -> f64 {
        let penalty = w[..self.width].iter().map(|w| w * w).sum::<f64>() / 2.0;
        let of = |(row, sign): (&[f32], f64)| softplus(-sign * self.product(row, w));
        penalty + self.rows().map(of).sum::<f64>()
    }

    /// The gradient, and p (1 - p) of each row.
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

    fn hessian_times(&self, curvature: &[f64], v: &[f64]) -> Vec<f64> {
        let mut product = v.to_vec();
        product[self.width] = 0.0;
        for ((row, _), curvature) in self.rows().zip(curvature) {
            self.accumulate(&mut product, row, curvature * self.product(row, v));
        }
        product
    }

    fn accumulate(&self, sum: &mut [f64], row: &[f32], factor: f64) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * f64::from(*x));
        sum[self.width] += factor;
    }
}

/// log(1 + exp(x)) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

/// Newton's method, each step by conjugate gradients, with a line search (Nocedal & Wright,
/// "Numerical Optimization", algorithm 7.1).
fn newton(problem: &LogisticLoss) -> Vec<f64> {
    let mut w = vec![0.0; problem.width + 1];
    let mut loss = problem.loss(&w);
    let (mut gradient, mut curvature) = problem.gradient(&w);
    let first = dot(&gradient, &gradient).sqrt();
    for _ in 0..STEPS {
        let norm = dot(&gradient, &gradient).sqrt();
        if norm <= TOLERANCE * first {
            break;
        }
        let enough = (norm / first).sqrt().min(0.5) * norm;
        let step = conjugate_gradients(problem, &curvature, &gradient, enough);
        let slope = dot(&gradient, &step);
        let mut length = 1.0;
        let (next, reached) = loop {
            let mut next = w.clone();
            add(&mut next, length, &step);
            let reached = problem.loss(&next);
            if reached <= loss + 1e-4 * length * slope || length < 1e-10 {
                break (next, reached);
            }
            length /= 2.0;
        };
        // Rounding is all that is left to descend.
        if reached >= loss {
            break;
        }
        (w, loss) = (next, reached);
        (gradient, curvature) = problem.gradient(&w);
    }
    w
}

/// A step s with H s = -gradient, up to `enough`.
fn conjugate_gradients(
    problem: &LogisticLoss,
    curvature: &[f64],
    gradient: &[f64],
    enough: f64,
) -> Vec<f64> {
    let mut step = vec![0.0; gradient.len()];
    let mut residual: Vec<f64> = gradient.iter().map(|it| -it).collect();
    let mut direction = residual.clone();
    let mut square = dot(&residual, &residual);
    for _ in 0..INNER {
        let product = problem.hessian_times(curvature, &direction);
        let bend = dot(&direction, &product);
        if bend <= 0.0 {
            break;
        }
        add(&mut step, square / bend, &direction);
        add(&mut residual, -square / bend, &product);
        let next = dot(&residual, &residual);
        if next.sqrt() <= enough {
            break;
        }
        let share = next / square;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + share * *d);
        square = next;
    }
    step
}
