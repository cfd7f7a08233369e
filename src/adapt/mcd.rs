//! Maximum classifier discrepancy (Saito, Watanabe, Ushiku and Harada 2018, "Maximum Classifier
//! Discrepancy for Unsupervised Domain Adaptation").
//!
//! Two classifiers C1 and C2 look at the features G. With d(p1, p2) = mean |p1 - p2| over rows and classes
//! of their probabilities for the target, a step goes down
//!
//! - A: CE(C1, source) + CE(C2, source), moving G, C1 and C2;
//! - B: CE(C1, source) + CE(C2, source) - w d, moving C1 and C2: they find target images on which they
//!   differ;
//! - C: w d, moving G, n times with fresh passes: it takes these images to where both agree.
//!
//! The network is evaluated, kept and handed on with C1, its classifier. The authors also report C2 and
//! the sum of both.

use super::{Classified, Coefficient};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::ops::{OpError, Targets, Tensor};
use crate::nn::{Part, Spec};
use crate::train::{Batch, BatchNormFamily, Bench, Domains, FitError, Group, Learner, Method, Needs};

/// What keeps the logarithm of the class balance finite, as in TLLib.
const BALANCE_EPS: f32 = 1e-6;

/// Settings of maximum classifier discrepancy.
#[derive(Debug, Clone)]
pub struct Mcd {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// How often a step moves the features down the discrepancy: the n of the paper.
    pub repeats: usize,
    /// Weight w of the discrepancy. The paper has none, TLLib's scripts have 1 to 10.
    pub trade_off: Coefficient,
    /// Weight of the class balance of both classifiers on the target in A and B, which TLLib adds to the
    /// paper's losses: the mean over the classes of -log of their mean probability.
    pub balance: f32,
}

impl Mcd {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("repeats", "how often a step moves the features toward what both classifiers agree on"),
            ("trade_off", "weight of the discrepancy between the classifiers"),
            ("balance", "weight of the loss that keeps the classes of the target balanced"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let repeats = keys.count("repeats", 1..=100).or(4_usize);
        let trade_off = Coefficient::read(keys, "trade_off", Coefficient::Constant { max: 1.0 });
        let balance = keys.float("balance").at_least(0.0).or(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let balance = balance? as f32;
        Ok(Self { target: target?, repeats: repeats?, trade_off: trade_off?, balance })
    }
}

impl Method for Mcd {
    fn needs(&self) -> Needs<'_> {
        let batch_norm = BatchNormFamily::ALL;
        Needs { target: Some(&self.target), batch_norm, ..Needs::SOURCE }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![NewHead {
            part: Part::CLASSIFIER2,
            layers: spec.second_classifier(&Part::CLASSIFIER2),
            logits: Some(spec.classes),
            written_at: None,
        }]
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Disagreeing(self)))
    }
}

/// The classifiers that the paper calls C1 and C2.
const CLASSIFIERS: [Part; 2] = [Part::CLASSIFIER, Part::CLASSIFIER2];

/// Maximum classifier discrepancy in the middle of a training: it remembers nothing.
struct Disagreeing<'m>(&'m Mcd);

impl Learner for Disagreeing<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let trade_off = bench.knob("trade_off", |progress| self.0.trade_off.at(progress));
        let (images, features) = (batch.images(), Group::part(Part::FEATURES));
        let classifiers = CLASSIFIERS.map(Group::part);

        let loss = self.classes(bench, batch, &images)?;
        let [one, two] = classifiers.clone();
        bench.descend(&loss, &[features.clone(), one, two])?;

        let loss = self.apart(bench, batch, &images, trade_off)?;
        bench.descend(&loss, &classifiers)?;

        for _ in 0..self.0.repeats {
            let logits = bench.heads_of(Domain::Target, &images, &CLASSIFIERS)?;
            let discrepancy = Discrepancy::new(&logits)?;
            discrepancy.report(bench);
            bench.descend(&discrepancy.mean.scale(trade_off)?, std::slice::from_ref(&features))?;
        }
        Ok(())
    }
}

impl Disagreeing<'_> {
    /// The loss of A, for which the target is of use only where its classes are to be balanced.
    fn classes(
        &self,
        bench: &mut Bench,
        batch: &Batch,
        images: &Domains,
    ) -> Result<Tensor, FitError> {
        let targets = &batch.source().targets;
        if !self.balances() {
            let source = bench.heads_of(Domain::Source, images, &CLASSIFIERS)?;
            let [one, two] = classified(&source, targets)?;
            report(bench, &one, &two);
            return Ok(one.loss.add(&two.loss)?);
        }
        let features = bench.both(&Part::FEATURES, images)?;
        let (source, target) = classify(bench, &features)?;
        let [one, two] = classified(&source, targets)?;
        report(bench, &one, &two);
        let balance = balance(&target)?;
        bench.meter("balance_loss", &balance, target[0].rows());
        Ok(one.loss.add(&two.loss)?.add(&balance.scale(self.0.balance)?)?)
    }

    /// The loss of B. Features pass through the network for their running averages to move, as the
    /// authors' do, but do not learn.
    fn apart(
        &self,
        bench: &mut Bench,
        batch: &Batch,
        images: &Domains,
        trade_off: f32,
    ) -> Result<Tensor, FitError> {
        let features = bench.observe_both(&Part::FEATURES, images)?;
        let (source, target) = classify(bench, &features)?;
        let [one, two] = classified(&source, &batch.source().targets)?;
        let discrepancy = Discrepancy::new(&target)?;
        discrepancy.report(bench);
        let mut loss = one.loss.add(&two.loss)?.sub(&discrepancy.mean.scale(trade_off)?)?;
        if self.balances() {
            loss = loss.add(&balance(&target)?.scale(self.0.balance)?)?;
        }
        Ok(loss)
    }

    fn balances(&self) -> bool {
        self.0.balance > 0.0
    }
}

/// What both classifiers say of the source and of the target.
fn classify(
    bench: &mut Bench,
    features: &Domains,
) -> Result<([Tensor; 2], [Tensor; 2]), FitError> {
    let one = bench.both(&Part::CLASSIFIER, features)?;
    let two = bench.both(&Part::CLASSIFIER2, features)?;
    Ok(([one.source, two.source], [one.target, two.target]))
}

fn classified([one, two]: &[Tensor; 2], targets: &Targets) -> Result<[Classified; 2], FitError> {
    Ok([Classified::new(one, targets)?, Classified::new(two, targets)?])
}

fn report(bench: &mut Bench, one: &Classified, two: &Classified) {
    one.report_loss(bench);
    bench.meter("class_loss_2", &two.loss, two.count);
    one.report_accuracy(bench);
}

/// How much the classifiers disagree on some images.
struct Discrepancy {
    /// mean |p1 - p2| over images and classes.
    mean: Tensor,
    count: usize,
}

impl Discrepancy {
    /// That of their logits `[N, classes]`.
    fn new([one, two]: &[Tensor; 2]) -> Result<Self, OpError> {
        let mean = one.softmax()?.sub(&two.softmax()?)?.abs()?.mean()?;
        Ok(Self { mean, count: one.rows() })
    }

    fn report(&self, bench: &mut Bench) {
        bench.meter("discrepancy", &self.mean, self.count);
    }
}

/// The sum over both classifiers of -mean_k ln mean_i p_ik, least where they take all classes to be
/// equally frequent.
fn balance([one, two]: &[Tensor; 2]) -> Result<Tensor, OpError> {
    let of = |logits: &Tensor| {
        let frequencies = logits.softmax()?.mean_of_rows()?;
        frequencies.shift(BALANCE_EPS)?.log()?.mean()?.scale(-1.0)
    };
    of(one)?.add(&of(two)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::nn::Model;
    use crate::nn::ops::{CpuOps, Dims};
    use crate::train::Gradient;

    /// A step with two turns of the features and further settings.
    fn descents(settings: &str, change: impl Fn(&mut Model)) -> Vec<Gradient> {
        let kind = "kind = 'mcd', target = 'other.train', repeats = 2";
        step(&format!("method = {{ {kind}, {settings} }}"), change).1
    }

    /// Gives the second classifier the weights of the first.
    fn agree(model: &mut Model) {
        let first = model.parameters().iter().filter(|it| it.part == Part::CLASSIFIER);
        let first: Vec<Vec<f32>> = first.map(|it| it.value.host()).collect();
        let second = model.parameters_mut().iter_mut().filter(|it| it.part == Part::CLASSIFIER2);
        second.zip(first).for_each(|(parameter, values)| parameter.value.write(&values));
    }

    fn moves_nothing(gradient: &Gradient) -> bool {
        assert!(!gradient.is_empty());
        gradient.iter().all(|(_, values)| values.iter().all(|it| *it == 0.0))
    }

    #[test]
    fn classifiers_that_agree_have_no_discrepancy_to_go_up_or_down() {
        let equal = descents("trade_off = 1.0", agree);
        assert_eq!(equal.len(), 4);
        // A moves both alike, so that B has the gradients of the class losses alone.
        assert_eq!(equal[1], descents("trade_off = 0.0", agree)[1]);
        let unlike = descents("trade_off = 1.0", |_| {});
        assert_ne!(unlike[1], descents("trade_off = 0.0", |_| {})[1]);
        // So does B, and they still agree in C.
        for turn in [2, 3] {
            assert!(moves_nothing(&equal[turn]), "{equal:?}");
            assert!(!moves_nothing(&unlike[turn]));
        }
    }

    #[test]
    fn the_balance_moves_the_features_in_a_and_the_classifiers_in_b_but_never_in_c() {
        let [with, without] =
            [", balance = 0.5", ""].map(|more| descents(&format!("trade_off = 0.0{more}"), |_| {}));
        assert_ne!(with[0], without[0]);
        assert_ne!(with[1], without[1]);
        assert!(moves_nothing(&with[2]) && moves_nothing(&with[3]));
    }

    #[test]
    fn discrepancy_and_balance_are_the_published_formulas() {
        let logits = |p: [f32; 4]| {
            let values = p.map(f32::ln).to_vec();
            CpuOps::shared().tensor(values, Dims::Rows(2, 2)).unwrap()
        };
        let both = [logits([0.5, 0.5, 0.1, 0.9]), logits([0.7, 0.3, 0.3, 0.7])];
        let found = Discrepancy::new(&both).unwrap().mean.value();
        assert!((found - 0.2).abs() < 1e-6, "{found}");
        // The classes' mean probabilities are 0.3 and 0.7, and twice 0.5.
        let expected = -f64::midpoint(0.3_f64.ln(), 0.7_f64.ln()) + std::f64::consts::LN_2;
        let found = balance(&both).unwrap().value();
        assert!((found - expected).abs() < 1e-5, "{found}");
    }
}
