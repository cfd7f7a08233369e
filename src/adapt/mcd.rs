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
//! With `discrepancy = "sliced_wasserstein"`, d is that of Lee, Batra, Baig and Ulbricht 2019 ("Sliced
//! Wasserstein Discrepancy for Unsupervised Domain Adaptation") instead. For m random unit vectors v of
//! R^K, the N values p1 v and the N values p2 v are each sorted over the images of the batch, and d is the
//! mean over directions and ranks of the squared difference of values of the same rank. The gradient
//! goes through the values, and the order counts as constant. Each look at the target draws directions of
//! its own.
//!
//! The network is evaluated, kept and handed on with C1, its classifier. The authors also report C2 and
//! the sum of both.

use super::{Classified, Coefficient};
use crate::config::{Diagnostic, Keys, Noted, Reference, Wants, words};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::ops::{Backend, Dims, Number, OpError, Targets, Tensor};
use crate::nn::{Part, Spec};
use crate::random::Stream;
use crate::train::{
    Batch, Bench, Domains, FitError, Group, Learner, Method, Needs,
};

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
    /// What the classifiers' disagreement is measured by.
    pub distance: ClassifierDistance,
}

/// How far two classifiers are apart on images of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifierDistance {
    /// The mean of |p1 - p2| over images and classes.
    L1,
    /// The sliced Wasserstein discrepancy.
    SlicedWasserstein {
        /// Number m of random directions.
        projections: usize,
    },
}

words! {
    /// The word for a distance between two classifiers, before its settings are read.
    enum ClassifierDistanceKind {
        /// [`ClassifierDistance::L1`].
        L1 = "l1",
        /// [`ClassifierDistance::SlicedWasserstein`].
        SlicedWasserstein = "sliced_wasserstein",
    }
}

impl Mcd {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            (
                "repeats",
                "how often a step moves the features toward what both classifiers agree on",
            ),
            ("trade_off", "weight of the discrepancy between the classifiers"),
            ("balance", "weight of the loss that keeps the classes of the target balanced"),
            (
                "discrepancy",
                "what the classifiers' disagreement is measured by; `l1` when left out",
            ),
            ("projections", "random directions of the sliced Wasserstein discrepancy"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let repeats = keys.count("repeats", 1..=100).or(4_usize);
        let trade_off = Coefficient::read(keys, "trade_off", Coefficient::Constant { max: 1.0 });
        let balance = keys.float("balance").at_least(0.0).or(0.0);
        let distance = ClassifierDistance::read(keys);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let balance = balance? as f32;
        Ok(Self {
            target: target?,
            repeats: repeats?,
            trade_off: trade_off?,
            balance,
            distance: distance?,
        })
    }
}

impl ClassifierDistance {
    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let kind = keys.choice::<ClassifierDistanceKind>("discrepancy").optional();
        let projections = keys.count("projections", 1..=100_000).or(128_usize);
        let (kind, projections) = (kind?, projections?);
        if kind == Some(ClassifierDistanceKind::SlicedWasserstein) {
            return Ok(Self::SlicedWasserstein { projections });
        }
        // Recorded as before there was a choice: it is the same training.
        keys.take("discrepancy");
        keys.take("projections");
        let Some(written) = keys.peek("projections") else { return Ok(Self::L1) };
        let message = "`projections` belongs to the sliced Wasserstein discrepancy";
        let problem = Diagnostic::at(written.span, message, "`l1` has no directions");
        let help = "add `discrepancy = \"sliced_wasserstein\"`, or leave `projections` out";
        Err(keys.problem(problem.help(help)))
    }
}

impl Method for Mcd {
    fn needs(&self) -> Needs<'_> {
        Needs::adapting(&self.target)
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![second_classifier(spec)]
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Disagreeing(self)))
    }
}

/// A second classifier of the first one's layers.
pub(super) fn second_classifier(spec: &Spec) -> NewHead {
    NewHead {
        part: Part::CLASSIFIER2,
        layers: spec.second_classifier(&Part::CLASSIFIER2),
        logits: Some(spec.classes),
        written_at: None,
    }
}

/// The classifiers that the paper calls C1 and C2.
const CLASSIFIERS: [Part; 2] = [Part::CLASSIFIER, Part::CLASSIFIER2];

/// Maximum classifier discrepancy in the middle of a training: it remembers nothing.
struct Disagreeing<'m>(&'m Mcd);

impl Learner for Disagreeing<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let trade_off = bench.knob("trade_off", self.0.trade_off.over_time());
        let (images, features) = (batch.images(), Group::part(Part::FEATURES));
        let classifiers = CLASSIFIERS.map(Group::part);

        let loss = self.classes(bench, batch, &images)?;
        let [one, two] = classifiers.clone();
        bench.descend(&loss, &[features.clone(), one, two])?;

        let loss = self.apart(bench, batch, &images, trade_off)?;
        bench.descend(&loss, &classifiers)?;

        for turn in 1..=self.0.repeats {
            let logits = bench.heads_of(Domain::Target, &images, &CLASSIFIERS)?;
            let discrepancy = self.discrepancy(bench, &logits, turn)?;
            bench.descend(&discrepancy.scale(trade_off)?, std::slice::from_ref(&features))?;
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
        trade_off: Number,
    ) -> Result<Tensor, FitError> {
        let features = bench.observe_both(&Part::FEATURES, images)?;
        let (source, target) = classify(bench, &features)?;
        let [one, two] = classified(&source, &batch.source().targets)?;
        let discrepancy = self.discrepancy(bench, &target, 0)?;
        let mut loss = one.loss.add(&two.loss)?.sub(&discrepancy.scale(trade_off)?)?;
        if self.balances() {
            loss = loss.add(&balance(&target)?.scale(self.0.balance)?)?;
        }
        Ok(loss)
    }

    /// How much the classifiers with these logits `[M, classes]` of the target disagree, which is
    /// reported. The random numbers are those of one `look` at the target in a step.
    fn discrepancy(
        &self,
        bench: &mut Bench,
        [one, two]: &[Tensor; 2],
        look: usize,
    ) -> Result<Tensor, FitError> {
        let (p1, p2) = (one.softmax()?, two.softmax()?);
        let discrepancy = match self.0.distance {
            ClassifierDistance::L1 => l1(&p1, &p2)?,
            ClassifierDistance::SlicedWasserstein { projections } => {
                let mut stream = bench.stream(&format!("sliced wasserstein {look}"));
                let shape = (projections, p1.columns());
                sliced_wasserstein(&p1, &p2, &directions(&mut stream, bench.ops(), shape)?)?
            }
        };
        bench.meter("discrepancy", &discrepancy, p1.rows());
        Ok(discrepancy)
    }

    fn balances(&self) -> bool {
        self.0.balance > 0.0
    }
}

/// What both classifiers say of the source and of the target.
fn classify(bench: &mut Bench, features: &Domains) -> Result<([Tensor; 2], [Tensor; 2]), FitError> {
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

/// mean |p1 - p2| over images and classes.
fn l1(p1: &Tensor, p2: &Tensor) -> Result<Tensor, OpError> {
    p1.sub(p2)?.abs()?.mean()
}

/// The mean squared difference of probabilities p1 and p2 `[N, K]` that have the same rank along the same one
/// of m `directions` `[m, K]`.
fn sliced_wasserstein(p1: &Tensor, p2: &Tensor, directions: &Tensor) -> Result<Tensor, OpError> {
    ranked(p1, directions)?.sub(&ranked(p2, directions)?)?.square()?.mean()
}

/// The values of the rows of `p` along each of `directions`, those of a direction from the lowest to the
/// highest, `[m N, 1]`.
fn ranked(p: &Tensor, directions: &Tensor) -> Result<Tensor, OpError> {
    let along = directions.matmul(&p.transposed()?)?;
    let rows = p.rows();
    let mut order = Vec::with_capacity(along.len());
    for (direction, values) in along.host().chunks_exact(rows).enumerate() {
        let mut places: Vec<usize> = (0..rows).collect();
        places.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        order.extend(places.into_iter().map(|place| direction * rows + place));
    }
    along.reshaped(Dims::Rows(along.len(), 1)).gather_rows(order)
}

/// So many random unit vectors of so many values, each equally likely.
fn directions(
    stream: &mut Stream,
    ops: &Backend,
    (count, values): (usize, usize),
) -> Result<Tensor, OpError> {
    let mut all = Vec::with_capacity(count * values);
    for _ in 0..count {
        let drawn: Vec<f64> = (0..values).map(|_| f64::from(stream.normal())).collect();
        let norm = drawn.iter().map(|it| it * it).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_possible_truncation, reason = "tensors are f32")]
        let unit = drawn.iter().map(|it| (it / norm) as f32);
        all.extend(unit);
    }
    ops.tensor(all, Dims::Rows(count, values))
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
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::Model;
    use crate::nn::ops::Tape;
    use crate::random;
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
        let both = [[0.5, 0.5, 0.1, 0.9], [0.7, 0.3, 0.3, 0.7]].map(|p| rows(p, 2));
        let found = l1(&both[0], &both[1]).unwrap().value();
        assert!((found - 0.2).abs() < 1e-6, "{found}");
        let both = both.map(|p| p.log().unwrap());
        // The classes' mean probabilities are 0.3 and 0.7, and twice 0.5.
        let expected = -f64::midpoint(0.3_f64.ln(), 0.7_f64.ln()) + std::f64::consts::LN_2;
        let found = balance(&both).unwrap().value();
        assert!((found - expected).abs() < 1e-5, "{found}");
    }
    /// The probabilities of five images in three classes, of two classifiers.
    const PROBABILITIES: [[f32; 15]; 2] = [
        [0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.3, 0.3, 0.4, 0.05, 0.05, 0.9, 0.5, 0.15, 0.35],
        [0.2, 0.6, 0.2, 0.45, 0.25, 0.3, 0.9, 0.05, 0.05, 0.3, 0.1, 0.6, 0.15, 0.75, 0.1],
    ];

    #[test]
    fn the_sliced_discrepancy_is_the_published_formula() {
        let [one, two] = PROBABILITIES.map(|p| rows(p, 3));
        let mut stream = random::stream(0, "test", 0, 0);
        let directions = directions(&mut stream, one.ops(), (7, 3)).unwrap();
        let mut expected = 0.0;
        for direction in directions.host().chunks(3) {
            let norm: f64 = direction.iter().map(|it| f64::from(*it).powi(2)).sum();
            assert!((norm - 1.0).abs() < 1e-6, "{norm}");
            let sorted = PROBABILITIES.map(|p| {
                let along = |row: &[f32]| -> f64 {
                    row.iter().zip(direction).map(|(p, v)| f64::from(*p) * f64::from(*v)).sum()
                };
                let mut values: Vec<f64> = p.chunks(3).map(along).collect();
                values.sort_by(f64::total_cmp);
                values
            });
            let apart = sorted[0].iter().zip(&sorted[1]).map(|(a, b)| (a - b).powi(2));
            expected += apart.sum::<f64>() / 35.0;
        }
        let found = sliced_wasserstein(&one, &two, &directions).unwrap().value();
        assert!((found - expected).abs() < 1e-6 && found > 1e-3, "{found} and {expected}");
    }

    #[test]
    fn the_sliced_discrepancy_does_not_see_the_order_of_the_images() {
        let [one, two] = PROBABILITIES.map(|p| rows(p, 3));
        let mut stream = random::stream(0, "test", 0, 0);
        let directions = directions(&mut stream, one.ops(), (7, 3)).unwrap();
        let of =
            |one: &Tensor, two: &Tensor| sliced_wasserstein(one, two, &directions).unwrap().value();
        let turned = |p: &Tensor| p.gather_rows(vec![3, 0, 4, 2, 1]).unwrap();
        let found = of(&one, &two);
        for other in [of(&turned(&one), &two), of(&one, &turned(&two))] {
            assert!((found - other).abs() < 1e-7, "{found} and {other}");
        }
        assert!(of(&one, &turned(&one)).abs() < 1e-12);
        assert!(found > 1e-3, "{found}");
    }

    #[test]
    fn the_gradient_of_the_sliced_discrepancy_goes_to_the_images_of_the_values() {
        // Along the first class alone, the ranks of both classifiers are opposite.
        let along = rows([1.0, 0.0], 2);
        let (tape, two) = (Tape::default(), rows([0.9, 0.1, 0.4, 0.6], 2));
        let one = rows([0.2, 0.8, 0.6, 0.4], 2).on(&tape);
        let loss = sliced_wasserstein(&one, &two, &along).unwrap();
        let gradient = tape.backward(&loss).unwrap().take(&one).unwrap().host();
        // The mean of (0.2 - 0.4)^2 and (0.6 - 0.9)^2, whose derivatives are 0.2 - 0.4 and 0.6 - 0.9.
        for (found, expected) in gradient.iter().zip([-0.2, 0.0, -0.3, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    #[test]
    fn classifiers_that_agree_have_no_sliced_discrepancy_either() {
        let settings = "trade_off = 1.0, discrepancy = 'sliced_wasserstein', projections = 5";
        let [equal, unlike] = [descents(settings, agree), descents(settings, |_| {})];
        for turn in [2, 3] {
            assert!(moves_nothing(&equal[turn]) && !moves_nothing(&unlike[turn]));
        }
        assert_ne!(unlike[2], descents("trade_off = 1.0", |_| {})[2]);
    }

    #[test]
    fn projections_count_with_the_sliced_discrepancy_alone() {
        let read = |line: &str| read_lines(&format!("target = 'other'\n{line}"), Mcd::read);
        let (method, gathered) = read("discrepancy = 'l1'");
        assert_eq!(method.unwrap().distance, ClassifierDistance::L1);
        assert_eq!(gathered.resolved, read("").1.resolved, "recorded as before there was a choice");
        assert!(!gathered.resolved.contains_key("projections"));
        let (method, gathered) = read("discrepancy = 'sliced_wasserstein'");
        let usual = ClassifierDistance::SlicedWasserstein { projections: 128 };
        assert_eq!(method.unwrap().distance, usual);
        assert_eq!(gathered.resolved["projections"].as_integer(), Some(128));
        let problems = read("projections = 5").1.messages();
        assert_eq!(problems, ["`projections` belongs to the sliced Wasserstein discrepancy"]);
    }
}
