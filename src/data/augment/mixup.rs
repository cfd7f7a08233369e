//! Batches mixed with themselves (Zhang et al. 2018, "mixup: Beyond empirical risk minimization"):
//! x = l x_i + (1 - l) x_j, and the targets alike, l from Beta(alpha, alpha).

use crate::config::Diagnostic;
use crate::config::source::Span;
use crate::random::Stream;

/// The word for it.
pub const NAME: &str = "mixup";

/// The problem of mixing images that are seen without labels, which would be mixed along.
pub fn without_labels(span: Span, key: &str) -> Diagnostic {
    let message = "`mixup` mixes labelled images, and these are seen without labels";
    Diagnostic::at(span, message, "changes of images without labels")
        .help(format!("leave `mixup` out of `{key}`"))
}

/// How the images of one batch are mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// Share that each image keeps, 0 to 1.
    pub keeps: f32,
    /// Place in the batch of the image that each is mixed with.
    pub partners: Vec<usize>,
}

impl Mix {
    /// Draws how a batch of `count` images is mixed.
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    pub fn draw(alpha: f64, count: usize, stream: &mut Stream) -> Self {
        let (a, b) = (gamma(alpha, stream), gamma(alpha, stream));
        // Both underflow for very small alphas, where the share is 0 or 1 anyway.
        let keeps = if a + b > 0.0 { a / (a + b) } else { 1.0 };
        let mut partners: Vec<usize> = (0..count).collect();
        stream.shuffle(&mut partners);
        Self { keeps: keeps as f32, partners }
    }

    /// Mixes the rows of a batch, each of `len` values.
    pub fn apply(&self, values: &mut [f32], len: usize) {
        let old = values.to_vec();
        for (row, partner) in values.chunks_exact_mut(len).zip(&self.partners) {
            let other = &old[partner * len..(partner + 1) * len];
            for (value, other) in row.iter_mut().zip(other) {
                *value = self.keeps * *value + (1.0 - self.keeps) * other;
            }
        }
    }
}

/// A number from Gamma(shape, 1) (Marsaglia & Tsang 2000).
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    if shape < 1.0 {
        let uniform = 1.0 - stream.uniform_f64();
        return gamma(shape + 1.0, stream) * uniform.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(stream.normal());
        let v = (1.0 + c * x).powi(3);
        if v <= 0.0 {
            continue;
        }
        let uniform = 1.0 - stream.uniform_f64();
        if uniform.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a few draws")]
    fn shares_have_the_moments_of_the_beta_distribution() {
        for alpha in [0.2, 1.0, 4.0] {
            const COUNT: u64 = 20_000;
            let draw = |at| {
                let mut stream = random::stream(1, "mixup", 0, at);
                f64::from(Mix::draw(alpha, 2, &mut stream).keeps)
            };
            let draws: Vec<f64> = (0..COUNT).map(draw).collect();
            let mean = draws.iter().sum::<f64>() / COUNT as f64;
            let var = draws.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / COUNT as f64;
            // Mean 1/2 and variance 1 / (4 (2 alpha + 1)).
            assert!((mean - 0.5).abs() < 0.01, "alpha {alpha}: mean {mean}");
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((var - expected).abs() < 0.03 * expected, "alpha {alpha}: variance {var}");
        }
    }

    #[test]
    fn rows_are_mixed_with_their_partners_as_they_were() {
        let mix = Mix { keeps: 0.75, partners: vec![1, 0] };
        let mut rows = [0.0, 4.0, 8.0, 12.0];
        mix.apply(&mut rows, 2);
        assert_eq!(rows, [2.0, 6.0, 6.0, 10.0]);
    }
}
