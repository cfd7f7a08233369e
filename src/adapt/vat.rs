//! Virtual adversarial training (Miyato, Maeda, Koyama and Ishii 2018, "Virtual Adversarial Training: A
//! Regularization Method for Supervised and Semi-Supervised Learning"), as VADA and DIRT-T use it.
//!
//! With the class probabilities p(x) of an image x as a constant, and a random direction d of length 1, let g
//! be the gradient of CE(p(x), p(x + xi d)) by the image: one step of the power iteration that looks for the
//! direction along which p changes most. Then
//!
//!   VAT(x) = CE(p(x), p(x + r)),    r = radius g / |g|,
//!
//! through which no gradient goes. CE differs from the Kullback-Leibler divergence by the entropy of p(x),
//! which is constant. The passes of x + xi d and x + r use batch statistics, and leave every running average
//! as it is. In the first one no parameter is recorded, because only the gradient by the image is wanted.
//!
//! The authors' xi is 1e-6. Where numbers have 32 bits, p(x + xi d) - p(x) is then rounding error.
//!
//! Dropout is on in all of these passes, with masks of their own: with it the direction follows the
//! difference of the masks as well, and the network is also asked to agree with itself under other masks.

use super::cross_entropy_of_shares;
use crate::config::{Keys, Noted};
use crate::data::view::{Domain, ViewKind, ViewRequest};
use crate::nn::ops::{Dims, OpError, Tensor};
use crate::train::{Bench, FitError, Mode, NetId};

/// A view that nobody looks at. A method that asks for one gets its images as pixels, never as the output of
/// frozen layers, in which a radius would mean something else.
pub(super) const PIXELS: &[ViewRequest] =
    &[ViewRequest { domain: Domain::Target, name: "pixels", kind: ViewKind::Plain }];

/// Settings of virtual adversarial training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vat {
    /// Length of r, in units of the normalised images.
    pub radius: f32,
    /// Length of the step at whose end g is taken.
    pub xi: f32,
}

impl Vat {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("radius", "how far virtual adversarial images are from those that they are made of"),
            ("xi", "length of the random step at whose end their direction is found"),
        ]);
        let radius = keys.float("radius").positive().or(3.5);
        let xi = keys.float("xi").positive().or(0.01);
        let (radius, xi) = (radius?, xi?);
        #[expect(clippy::cast_possible_truncation, reason = "images are f32")]
        let (radius, xi) = (radius as f32, xi as f32);
        Ok(Self { radius, xi })
    }

    /// The images x + r of `images` `[N, C*H*W]` of a domain, whose class probabilities are `p` `[N, K]`. What
    /// was recorded before is used up.
    pub(super) fn adversary(
        self,
        bench: &mut Bench,
        images: &Tensor,
        p: &Tensor,
        domain: Domain,
    ) -> Result<Tensor, FitError> {
        let (values, dims) = (images.host(), Dims::Rows(images.rows(), images.columns()));
        let word = if domain == Domain::Source { "source" } else { "target" };
        let mut stream = bench.stream(&format!("vat {word}"));
        let random: Vec<f32> = values.iter().map(|_| stream.normal()).collect();
        let near = moved(&values, &random, self.xi, dims.columns());
        let near = bench.input(&bench.ops().tensor(near, dims)?)?;
        let look = Mode::OBSERVE.without_averages();
        let logits = bench.class_logits(NetId::MAIN, &near, domain, look)?;
        let mut gradients = bench.gradients(&cross_entropy_of_shares(&logits, &p.detached())?)?;
        let slope = gradients.take(&near).expect("a loss depends on the images").host();
        let far = moved(&values, &slope, self.radius, dims.columns());
        Ok(bench.ops().tensor(far, dims)?)
    }
}

/// CE(p(x), p(x + r)) of images x + r of a domain, where `p` `[N, K]` is p(x).
pub(super) fn smoothness(
    bench: &mut Bench,
    adversary: &Tensor,
    p: &Tensor,
    domain: Domain,
) -> Result<Tensor, FitError> {
    let learn = Mode::LEARN.without_averages();
    let logits = bench.class_logits(NetId::MAIN, adversary, domain, learn)?;
    Ok(cross_entropy_of_shares(&logits, &p.detached())?)
}

/// The mean over the rows of the entropy of the probabilities of `logits`, with gradients through both of its
/// factors.
pub(super) fn entropy(logits: &Tensor) -> Result<Tensor, OpError> {
    logits.log_softmax()?.mul(&logits.softmax()?)?.row_sums()?.mean()?.scale(-1.0)
}

/// `values` moved by `length` along directions of any length, row by row; those of length 0 move nothing.
fn moved(values: &[f32], directions: &[f32], length: f32, columns: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(values.len());
    for (row, direction) in values.chunks(columns).zip(directions.chunks(columns)) {
        let squares: f64 = direction.iter().map(|it| f64::from(*it).powi(2)).sum();
        let norm = squares.sqrt().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_possible_truncation, reason = "images are f32")]
        let unit = direction.iter().map(|it| (f64::from(*it) / norm) as f32);
        all.extend(row.iter().zip(unit).map(|(value, along)| value + length * along));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::nn::Model;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Tape};
    use crate::nn::spec::{Init, Layer, Named, Spec, two_heads};
    use crate::train::{Batch, Learner, TargetBatch, tiny};

    #[test]
    fn the_losses_are_the_published_formulas() {
        let logits = |p: [f32; 4]| rows(p.iter().map(|p| p.ln()).collect::<Vec<f32>>(), 2);
        let (p, q) = (rows(vec![0.5, 0.5, 0.1, 0.9], 2), [0.7_f32, 0.3, 0.25, 0.75]);
        let ln = q.map(|q| f64::from(q).ln());
        let expected = -(0.5 * ln[0] + 0.5 * ln[1] + 0.1 * ln[2] + 0.9 * ln[3]) / 2.0;
        let found = cross_entropy_of_shares(&logits(q), &p).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        let expected = -(0.7 * ln[0] + 0.3 * ln[1] + 0.25 * ln[2] + 0.75 * ln[3]) / 2.0;
        let found = entropy(&logits(q)).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        let sure = rows(vec![200.0, -200.0], 2);
        assert_eq!(entropy(&sure).unwrap().value(), 0.0);
    }

    #[test]
    fn the_entropy_has_the_gradient_of_both_of_its_factors() {
        let tape = Tape::default();
        let logits = rows(vec![0.4, -0.3, 0.1], 3).on(&tape);
        let loss = entropy(&logits).unwrap();
        let found = tape.backward(&loss).unwrap().take(&logits).unwrap().host();
        let p = logits.softmax().unwrap().host();
        for (found, p) in found.iter().zip(&p) {
            // -p (ln p + H)
            let expected = -f64::from(*p) * (f64::from(*p).ln() + loss.value());
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }

    #[test]
    fn rows_move_by_a_length_whatever_that_of_the_direction_and_not_along_none() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let found = moved(&values, &[3e-20, 4e-20, 0.0, 0.0, -3e10, 4e10], 5.0, 2);
        let expected = [4.0, 6.0, 3.0, 4.0, 2.0, 10.0];
        let near = found.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-5);
        assert!(near, "{found:?}");
    }

    /// Runs a piece of work as a step.
    struct Work<F>(F);

    impl<F: FnMut(&mut Bench, &Tensor)> Learner for Work<F> {
        fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
            (self.0)(bench, &batch.target().images);
            Ok(())
        }
    }

    fn with_step(model: Model, images: Tensor, work: impl FnMut(&mut Bench, &Tensor)) -> Model {
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(model, &settings).unwrap();
        let batch = Batch { source: None, target: Some(TargetBatch::plain(images)) };
        bench.step_alone(&mut Work(work), &batch, (0, 1), false).unwrap();
        bench.model(NetId::MAIN).clone()
    }

    /// Of a linear softmax model z = W x, the gradient of CE(p(x), p(x + xi d)) is W^T (q - p), and q - p is
    /// xi (diag p - p p^T) W d up to the square of xi.
    #[test]
    fn the_direction_of_a_linear_softmax_model_is_the_one_that_follows_on_paper() {
        let linear = |name: &str| vec![Named::new(name, Layer::Linear { outputs: 3, bias: false })];
        let spec = Spec {
            arch: "layers".into(),
            input: Chw { channels: 4, height: 1, width: 1 },
            middle_of: None,
            classes: 3,
            init: Init::Default,
            features: vec![Named::new("features.0", Layer::Flatten)],
            heads: two_heads(
                linear("classifier.0"),
                vec![Named::new("domain_classifier.0", Layer::Linear { outputs: 2, bias: true })],
            ),
        };
        let model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        let weight: Vec<f64> =
            model.parameters()[0].value.host().iter().map(|it| f64::from(*it)).collect();
        let images = rows(vec![0.3, -0.8, 1.2, 0.1, -1.0, 0.4, 0.2, 0.9], 4);
        with_step(model, images, |bench, images| {
            let (domain, vat) = (Domain::Target, Vat { radius: 2.0, xi: 1e-2 });
            let logits = bench.class_logits(NetId::MAIN, images, domain, Mode::EVAL).unwrap();
            let p = logits.softmax().unwrap();
            let adversary = vat.adversary(bench, images, &p, domain).unwrap();
            let r = adversary.sub(images).unwrap().host();
            let mut stream = bench.stream("vat target");
            for (row, p) in p.host().chunks(3).enumerate() {
                let d: Vec<f64> = (0..4).map(|_| f64::from(stream.normal())).collect();
                let p: Vec<f64> = p.iter().map(|it| f64::from(*it)).collect();
                let z: Vec<f64> =
                    (0..3).map(|k| (0..4).map(|j| weight[4 * k + j] * d[j]).sum()).collect();
                let mean: f64 = (0..3).map(|k| p[k] * z[k]).sum();
                let slope = |j: usize| -> f64 {
                    (0..3).map(|k| weight[4 * k + j] * p[k] * (z[k] - mean)).sum()
                };
                let norm = (0..4).map(|j| slope(j).powi(2)).sum::<f64>().sqrt();
                for j in 0..4 {
                    let (found, expected) = (f64::from(r[4 * row + j]), 2.0 * slope(j) / norm);
                    assert!((found - expected).abs() < 2e-2, "{found} and {expected}");
                }
            }
        });
    }

    #[test]
    fn images_move_to_where_the_classes_change_more_than_along_a_random_direction() {
        let images: Vec<f32> =
            (0..4 * 48).map(|at| ((at * 37) % 101) as f32 / 50.0 - 1.0).collect();
        with_step(tiny::model(), rows(images, 48), |bench, images| {
            let (domain, vat) = (Domain::Target, Vat { radius: 0.5, xi: 0.01 });
            let look = Mode::OBSERVE.without_averages();
            let logits = bench.class_logits(NetId::MAIN, images, domain, look).unwrap();
            let p = logits.softmax().unwrap();
            let adversary = vat.adversary(bench, images, &p, domain).unwrap();
            let lengths = adversary.sub(images).unwrap().square().unwrap().row_sums().unwrap();
            assert!(lengths.host().iter().all(|it| (it - 0.25).abs() < 1e-4), "{lengths:?}");
            let along = smoothness(bench, &adversary, &p, domain).unwrap().value();
            let mut stream = bench.stream("another direction");
            let random: Vec<f32> = (0..images.len()).map(|_| stream.normal()).collect();
            let random = moved(&images.host(), &random, 0.5, 48);
            let random = smoothness(bench, &rows(random, 48), &p, domain).unwrap().value();
            let still = smoothness(bench, images, &p, domain).unwrap().value();
            assert!(along - still > 2.0 * (random - still), "{along}, {random}, {still}");
        });
    }

    #[test]
    fn every_running_average_stays_as_it_is() {
        let images =
            rows((0..4 * 48).map(|at| ((at * 37) % 101) as f32 / 50.0).collect::<Vec<f32>>(), 48);
        let statistics = |model: &Model| -> Vec<(Vec<f32>, Vec<f32>, i64)> {
            model.stats().iter().map(|it| (it.mean.host(), it.var.host(), it.batches)).collect()
        };
        let (model, vat) = (tiny::model(), Vat { radius: 0.5, xi: 0.01 });
        let before = statistics(&model);
        let after = with_step(model.clone(), images.clone(), |bench, images| {
            let p = rows(vec![0.4, 0.6, 0.5, 0.5, 0.9, 0.1, 0.2, 0.8], 2);
            let adversary = vat.adversary(bench, images, &p, Domain::Target).unwrap();
            smoothness(bench, &adversary, &p, Domain::Target).unwrap();
        });
        assert_eq!(statistics(&after), before);
        // A pass that is learned from moves them.
        let after = with_step(model, images, |bench, images| {
            bench.class_logits(NetId::MAIN, images, Domain::Target, Mode::LEARN).unwrap();
        });
        assert_ne!(statistics(&after), before);
    }
}
