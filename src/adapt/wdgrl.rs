//! Wasserstein distance guided representation learning (Shen, Qu, Zhang and Yu 2018, "Wasserstein Distance
//! Guided Representation Learning for Domain Adaptation").
//!
//! A critic c(h) = w2 relu(W1 h + b1) + b2 looks at features h `[N, d]` and `[M, d]` of both domains. It
//! estimates the Wasserstein distance between them as mean c(h_s) - mean c(h_t). A step goes down
//!
//! - `critic_steps` times: mean c(h_t) - mean c(h_s) + penalty gp, moving the critic;
//! - then CE(class, source) + lambda (mean c(h_s) - mean c(h_t)), moving features and classifier.
//!
//! The gradient penalty gp is the mean of (|grad c(h)| - 1)^2 over the rows of h_s, of h_t and of points
//! h_t + a (h_s - h_t) between them, with a uniform in [0, 1) for each row and critic step. Where N and M
//! differ, the points lie between the first min(N, M) rows of both. The gradient of the critic is
//! grad c(h) = W1^T (m * w2), where m is 1 for the hidden values that are above 0 at h. It is written out so,
//! with m as a constant: that is exact wherever no hidden value is 0, and gp becomes an ordinary function of
//! W1 and w2.
//!
//! Features pass once per step, and the critic learns from them as constants. Where features are maps, h
//! are the means of these. As in the authors' code, all critic steps of a step see the same images.

use super::{Classified, Coefficient, as_vectors};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::geometry::{Chw, Rectifier};
use crate::nn::heads::NewHead;
use crate::nn::ops::{Dims, OpError, Tape, Tensor};
use crate::nn::spec::Layer;
use crate::nn::{Model, Part, Spec};
use crate::train::{
    Batch, Bench, Domains, FitError, Group, Learner, Method, Needs, NetId,
};

/// The critic among the heads of the network.
const CRITIC: Part = Part::named("critic");

/// What keeps the gradient of a root finite where no hidden value is above 0.
const EPS: f32 = 1e-12;

/// Settings of Wasserstein distance guided representation learning.
#[derive(Debug, Clone)]
pub struct Wdgrl {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the estimated distance in the loss of the features.
    pub lambda: Coefficient,
    /// Hidden values of the critic.
    pub hidden: usize,
    /// How often a step moves the critic.
    pub critic_steps: usize,
    /// Weight of the gradient penalty.
    pub penalty: f32,
}

impl Wdgrl {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the estimated Wasserstein distance between the features"),
            ("hidden", "number of hidden values of the critic"),
            ("critic_steps", "how often a step moves the critic"),
            ("penalty", "weight of the penalty on slopes of the critic other than 1"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::Constant { max: 1.0 });
        let hidden = keys.count("hidden", 1..=1_000_000).or(100_usize);
        let critic_steps = keys.count("critic_steps", 1..=1000).or(5_usize);
        let penalty = keys.float("penalty").at_least(0.0).or(10.0);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let penalty = penalty? as f32;
        let (hidden, critic_steps) = (hidden?, critic_steps?);
        Ok(Self { target: target?, lambda: lambda?, hidden, critic_steps, penalty })
    }
}

impl Method for Wdgrl {
    fn needs(&self) -> Needs<'_> {
        Needs::adapting(&self.target)
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        let linear = |outputs| Layer::Linear { outputs, bias: true };
        let layers = [linear(self.hidden), Layer::Relu, linear(1)];
        vec![NewHead {
            part: CRITIC,
            layers: spec.sequential(CRITIC.name(), &layers),
            logits: Some(1),
            written_at: None,
        }]
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let maps = bench.model(NetId::MAIN).spec().feature_maps();
        let maps = maps.expect("the layers of a network fit together");
        Ok(Box::new(Judged { settings: self, maps }))
    }
}

/// Wasserstein distance guided representation learning in the middle of a training: it remembers nothing.
struct Judged<'m> {
    settings: &'m Wdgrl,
    /// The shape of the features, where they are maps.
    maps: Option<Chw>,
}

impl Learner for Judged<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", self.settings.lambda.over_time());
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        // The critic learns from them as constants.
        let seen = Domains {
            source: as_vectors(&features.source.detached(), self.maps)?,
            target: as_vectors(&features.target.detached(), self.maps)?,
        };
        for turn in 1..=self.settings.critic_steps {
            self.move_critic(bench, &seen, turn)?;
        }

        let logits = bench.source_of(&Part::CLASSIFIER, &features)?;
        let classified = Classified::new(&logits, &batch.source().targets)?;
        classified.report_loss(bench);
        let judged = bench.both(&CRITIC, &features)?;
        let distance = judged.source.mean()?.sub(&judged.target.mean()?)?;
        bench.meter("critic_distance", &distance, judged.source.rows() + judged.target.rows());
        classified.report_accuracy(bench);
        let loss = classified.loss.add(&distance.scale(lambda)?)?;
        bench.descend(&loss, &[Group::part(Part::FEATURES), Group::part(Part::CLASSIFIER)])
    }
}

impl Judged<'_> {
    /// The critic's step of this number, on a tape of its own: that of the features is still wanted.
    fn move_critic(&self, bench: &mut Bench, h: &Domains, turn: usize) -> Result<(), FitError> {
        let (n, m) = (h.source.rows(), h.target.rows());
        let mut stream = bench.stream(&format!("critic {turn}"));
        let shares: Vec<f32> = (0..n.min(m)).map(|_| stream.uniform()).collect();
        let points = h.source.concat_rows(&h.target)?.concat_rows(&between(h, shares)?)?;

        let tape = Tape::default();
        let critic = Critic::of(bench.model(NetId::MAIN), &tape);
        let judged = critic.judge(&points)?;
        let source = judged.values.slice_rows(0, n)?.mean()?;
        let target = judged.values.slice_rows(n, n + m)?.mean()?;
        let penalty = judged.penalty()?;
        let loss = target.sub(&source)?.add(&penalty.scale(self.settings.penalty)?)?;
        bench.meter("gradient_penalty", &penalty, points.rows());
        bench.meter("critic_loss", &loss, points.rows());
        let mut gradients = tape.backward(&loss)?;
        bench.update(&mut gradients, &[Group::part(CRITIC)])
    }
}

/// Points at these shares of the way from the first rows of the target to those of the source.
fn between(h: &Domains, shares: Vec<f32>) -> Result<Tensor, OpError> {
    let rows = shares.len();
    let (source, target) = (h.source.slice_rows(0, rows)?, h.target.slice_rows(0, rows)?);
    let shares = source.constant(shares, Dims::Rows(rows, 1))?;
    target.add(&source.sub(&target)?.mul(&shares)?)
}

/// The critic's parameters.
struct Critic {
    /// W1, `[H, d]` row by row.
    weight: Tensor,
    bias: Tensor,
    /// w2, `[1, H]`.
    last_weight: Tensor,
    last_bias: Tensor,
    hidden: usize,
}

impl Critic {
    /// That of a model, on `tape` where it learns.
    fn of(model: &Model, tape: &Tape) -> Self {
        let own = model.parameters().iter().filter(|it| it.part == CRITIC);
        let on_tape = own.map(|it| if it.trainable { it.value.on(tape) } else { it.value.clone() });
        let all: Vec<Tensor> = on_tape.collect();
        let [weight, bias, last_weight, last_bias] = &all[..] else {
            unreachable!("a critic has two linear layers")
        };
        let (weight, bias) = (weight.clone(), bias.clone());
        let (last_weight, last_bias) = (last_weight.clone(), last_bias.clone());
        Self { hidden: bias.len(), weight, bias, last_weight, last_bias }
    }

    /// What it says of rows `h` `[R, d]`, through which no gradient goes.
    fn judge(&self, h: &Tensor) -> Result<JudgedPoints, OpError> {
        let ops = h.ops();
        let hidden = ops.linear(h, &self.weight, Some(&self.bias), self.hidden)?;
        let active = hidden.detached().above(0.0)?;
        let hidden = ops.relu(&hidden, Rectifier::Relu)?;
        let values = ops.linear(&hidden, &self.last_weight, Some(&self.last_bias), 1)?;
        let weight = self.weight.reshaped(Dims::Rows(self.hidden, h.columns()));
        let last_weight = self.last_weight.reshaped(Dims::Rows(1, self.hidden));
        let slopes = active.mul(&last_weight)?.matmul(&weight)?;
        Ok(JudgedPoints { values, slopes })
    }
}

/// What a critic says of R points.
struct JudgedPoints {
    /// c, `[R, 1]`.
    values: Tensor,
    /// grad c, `[R, d]`.
    slopes: Tensor,
}

impl JudgedPoints {
    /// The mean of (|grad c| - 1)^2.
    fn penalty(&self) -> Result<Tensor, OpError> {
        self.slopes.square()?.row_sums()?.shift(EPS)?.sqrt()?.shift(-1.0)?.square()?.mean()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::nn::ops::CpuOps;

    fn flat(values: &[f32]) -> Tensor {
        CpuOps::shared().tensor(values.to_vec(), Dims::Flat(values.len())).unwrap()
    }

    /// A critic of points in two dimensions with three hidden values.
    fn critic(weight: [f32; 6], bias: [f32; 3], last_weight: [f32; 3]) -> Critic {
        Critic {
            weight: flat(&weight),
            bias: flat(&bias),
            last_weight: flat(&last_weight),
            last_bias: flat(&[0.25]),
            hidden: 3,
        }
    }

    const WEIGHT: [f32; 6] = [0.5, -1.0, 2.0, 0.25, -0.75, 1.5];
    const BIAS: [f32; 3] = [0.1, -0.2, 0.3];
    const LAST: [f32; 3] = [1.25, -0.5, 0.75];

    #[test]
    fn slopes_are_what_finite_differences_of_the_values_give() {
        let critic = critic(WEIGHT, BIAS, LAST);
        let h = [0.3, -0.6, 1.0, 0.8, -0.5, 0.4];
        let judged = critic.judge(&rows(h, 2)).unwrap();
        let slopes = judged.slopes.host();
        let plainly = |x: f32, y: f32| -> f32 {
            let hidden =
                |at: usize| (WEIGHT[2 * at] * x + WEIGHT[2 * at + 1] * y + BIAS[at]).max(0.0);
            0.25 + (0..3).map(|at| LAST[at] * hidden(at)).sum::<f32>()
        };
        for (row, point) in h.chunks(2).enumerate() {
            let value = judged.values.host()[row];
            assert!((value - plainly(point[0], point[1])).abs() < 1e-6, "{value}");
            for axis in 0..2 {
                let moved = |by: f32| {
                    let by = [by * (1 - axis) as f32, by * axis as f32];
                    let point = rows([point[0] + by[0], point[1] + by[1]], 2);
                    critic.judge(&point).unwrap().values.value()
                };
                let measured = (moved(0.01) - moved(-0.01)) / 0.02;
                let found = f64::from(slopes[2 * row + axis]);
                assert!((found - measured).abs() < 1e-3, "{found} and {measured}");
            }
        }
    }

    #[test]
    fn a_linear_critic_of_unit_norm_has_no_penalty() {
        // Every hidden value is above 0, and W1^T w2 is (0.6, 0.8).
        let linear = |scale: f32| {
            let last = [1.0, 1.0, 0.0].map(|it| it * scale);
            critic([0.6, 0.0, 0.0, 0.8, 0.3, 0.3], [9.0; 3], last)
        };
        let penalty = |scale| {
            let judged = linear(scale).judge(&rows([0.3, -0.6, 1.0, 0.8], 2)).unwrap();
            judged.penalty().unwrap().value()
        };
        assert!(penalty(1.0).abs() < 1e-10, "{}", penalty(1.0));
        assert!((penalty(3.0) - 4.0).abs() < 1e-5, "{}", penalty(3.0));
    }

    #[test]
    fn the_penalty_has_the_gradient_of_finite_differences_and_a_finite_one_where_all_is_flat() {
        let h = rows([0.3, -0.6, 1.0, 0.8, -0.5, 0.4], 2);
        let penalty = |critic: &Critic| critic.judge(&h).unwrap().penalty().unwrap();
        let gradient = |mut critic: Critic| {
            let tape = Tape::default();
            critic.weight = critic.weight.on(&tape);
            let loss = penalty(&critic);
            tape.backward(&loss).unwrap().take(&critic.weight).unwrap().host()
        };
        let found = gradient(critic(WEIGHT, BIAS, LAST));
        for (at, found) in found.iter().enumerate() {
            let moved = |by: f32| {
                let mut weight = WEIGHT;
                weight[at] += by;
                penalty(&critic(weight, BIAS, LAST)).value()
            };
            let measured = (moved(0.01) - moved(-0.01)) / 0.02;
            assert!((f64::from(*found) - measured).abs() < 1e-2, "{found} and {measured}");
        }
        assert!(found.iter().any(|it| it.abs() > 0.1), "{found:?}");
        let flat = gradient(critic(WEIGHT, [-9.0; 3], LAST));
        assert!(flat.iter().all(|it| *it == 0.0), "{flat:?}");
    }

    #[test]
    fn points_lie_between_the_first_rows_of_both_domains() {
        let h = Domains {
            source: rows([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2),
            target: rows([3.0, 0.0, 1.0, 0.0], 2),
        };
        let found = between(&h, vec![0.0, 0.5]).unwrap().host();
        assert_eq!(found, [3.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    fn critic_steps_move_the_critic_alone_and_the_last_descent_everything_else() {
        let settings = "kind = 'wdgrl', target = 'other.train', critic_steps = 3";
        let descents = step(&format!("method = {{ {settings} }}"), |_| {}).1;
        let parts = descents.iter().map(|gradient| {
            let mut parts: Vec<&str> =
                gradient.iter().map(|(name, _)| name.split('.').next().unwrap()).collect();
            parts.dedup();
            parts.join(" ")
        });
        let parts: Vec<String> = parts.collect();
        assert_eq!(parts, ["critic", "critic", "critic", "features classifier"]);
        let alone = step("method = 'supervised'", |_| {}).1.remove(0);
        let unweighted = step(&format!("method = {{ {settings}, lambda = 0 }}"), |_| {}).1;
        assert_eq!(unweighted[3], alone);
        assert_ne!(descents[3], alone);
    }

    /// Two clouds of the same shape are as far apart as one was moved, by b. The penalty is finite: the best
    /// slope s is that of the highest s b - 10 (s - 1)^2, which is 1 + b / 20.
    #[test]
    fn a_critic_that_has_learned_finds_the_distance_between_two_clouds() {
        let source = [0.1, 0.2, -0.3, 0.4, 0.2, -0.5, -0.1, -0.2];
        let far = |by: f32| {
            let mut moved = source;
            moved.iter_mut().step_by(2).for_each(|it| *it -= by);
            let h = Domains { source: rows(source, 2), target: rows(moved, 2) };
            let mut critic = critic(WEIGHT, BIAS, LAST);
            let mut distance = 0.0;
            for turn in 0..1000_usize {
                let tape = Tape::default();
                let shares = (0..4).map(|row| ((turn * 7 + row * 3) % 10) as f32 / 10.0).collect();
                let points = h.source.concat_rows(&h.target).unwrap();
                let points = points.concat_rows(&between(&h, shares).unwrap()).unwrap();
                let all = [&mut critic.weight, &mut critic.bias, &mut critic.last_weight];
                all.into_iter().for_each(|it| *it = it.on(&tape));
                let judged = critic.judge(&points).unwrap();
                let mean =
                    |from: usize| judged.values.slice_rows(from, from + 4).unwrap().mean().unwrap();
                let apart = mean(4).sub(&mean(0)).unwrap();
                distance = -apart.value();
                let penalty = judged.penalty().unwrap().scale(10.0).unwrap();
                let mut gradients = tape.backward(&apart.add(&penalty).unwrap()).unwrap();
                for it in [&mut critic.weight, &mut critic.bias, &mut critic.last_weight] {
                    let Some(gradient) = gradients.take(it) else { continue };
                    let (values, gradient) = (it.host(), gradient.host());
                    let moved = values.iter().zip(gradient).map(|(w, g)| w - 0.01 * g);
                    let moved: Vec<f32> = moved.collect();
                    *it = flat(&moved);
                }
            }
            distance
        };
        for by in [0.0_f32, 1.5] {
            let (found, expected) = (far(by), f64::from(by * (1.0 + by / 20.0)));
            assert!((found - expected).abs() < 1e-2, "{found} and {expected}");
        }
    }
}
