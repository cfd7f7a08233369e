//! Adversarial discriminative domain adaptation (Tzeng, Hoffman, Saenko and Darrell 2017, "Adversarial
//! Discriminative Domain Adaptation"), and what Wulfmeier, Bewley and Posner 2017 ("Addressing appearance change in
//! outdoor robotics with adversarial domain adaptation") vary in it.
//!
//! The features that come in are the source encoder S, which stays as it is, in evaluation mode. A copy of
//! them, T, learns to encode the target so that a domain classifier D takes it for the source. A step goes
//! down
//!
//! - the mean of CE(D, S(source) is source) and CE(D, T(target) is target) over the images of both,
//!   moving D;
//! - 1/2 CE(D, T(target) is source), moving T, with passes of its own through D as it is then. The half is
//!   that of the authors' code, whose mean is over the images of both domains.
//!
//! The classifier that came in stays as it is; the network is evaluated, kept and handed on with T as its
//! features. A batch norm of D sees one domain at a time.
//!
//! With `loss = "confusion"`, T goes down 1/2 of the cross-entropy of D with both domains equally likely instead:
//! -1/2 (ln D_source + ln D_target). Inverted labels go on pulling where D is at a loss; these do not.
//!
//! With `encoder = "shared"` there is one encoder E, which both domains go through in training mode. It moves with the
//! classifier, without which nothing would hold on to the classes, down
//!
//! - CE(class, E(source)) and the mean over the images of both domains of the loss above: each domain is to be taken for
//!   the other one, or for both.
//!
//! Both domains pass through E twice in a step, once for D and once for E itself, and each pass moves the running averages.
//!
//! `on` says what is classified: the features, the class logits, or each by a domain classifier of its own, whose losses
//! add up. The authors' code looks at the last output of their network, the logits. The classifier that these come
//! from is in evaluation mode where it does not learn.

use super::dann::{DomainLoss, SOURCE, TARGET, domain_classifier, read_domain_head};
use super::{Classified, cross_entropy_of_shares};
use crate::config::{Keys, Noted, Reference, Wants, words};
use crate::data::view::Domain;
use crate::nn::heads::{NewHead, renamed, taking};
use crate::nn::ops::{Dims, OpError, Tensor};
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::train::{Batch, Bench, Domains, FitError, Group, Learner, Method, Mode, Needs, NetId};

/// The network whose features are the source encoder.
const SOURCE_ENCODER: NetId = NetId::named("source");

/// The domain classifier of class logits.
const OF_LOGITS: Part = Part::named("logits_domain_classifier");

/// The classifier is the source's.
const KEPT: &[Part] = &[Part::CLASSIFIER];

words! {
    /// Which features the source is seen by.
    pub enum Encoder {
        /// Those that came in.
        Separate = "separate",
        /// Those of the target, which learn from both domains.
        Shared = "shared",
    }
}

words! {
    /// What a domain classifier is to make of an image.
    pub enum MappingLoss {
        /// That it is of the other domain.
        Flip = "flip",
        /// That it may as well be of either.
        Confusion = "confusion",
    }
}

words! {
    /// What a domain classifier looks at.
    pub enum Observed {
        /// The features.
        Features = "features",
        /// The class logits.
        Logits = "logits",
    }
}

/// Settings of adversarial discriminative domain adaptation.
#[derive(Debug, Clone)]
pub struct Adda {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
    /// Which features the source is seen by.
    pub encoder: Encoder,
    /// What the features go down.
    pub loss: MappingLoss,
    /// What is classified, each by a domain classifier of its own; each once, and one at least.
    pub on: Vec<Observed>,
}

impl Adda {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            (
                "encoder",
                "whether the source keeps the features that came in, or shares those of the target, which then learn from both with the classifier",
            ),
            ("loss", "whether a domain is to be taken for the other one, or for both alike"),
            ("on", "what is classified by domain, each by a domain classifier of its own"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let domain_head = read_domain_head(keys);
        let encoder = keys.choice("encoder").or(Encoder::Separate);
        let loss = keys.choice("loss").or(MappingLoss::Flip);
        let expected = "an array of \"features\" and \"logits\", each at most once";
        let on = keys.choices("on", expected).or(&[Observed::Features]);
        // Recorded as before there was a choice: it is the same training.
        for (key, is_usual) in [
            ("encoder", encoder == Ok(Encoder::Separate)),
            ("loss", loss == Ok(MappingLoss::Flip)),
            ("on", on.as_ref().is_ok_and(|on| on[..] == [Observed::Features])),
        ] {
            if is_usual {
                keys.take(key);
            }
        }
        Ok(Self {
            target: target?,
            domain_head: domain_head?,
            encoder: encoder?,
            loss: loss?,
            on: on?,
        })
    }
}

impl Method for Adda {
    fn needs(&self) -> Needs<'_> {
        match self.encoder {
            Encoder::Separate => {
                Needs { target: Some(&self.target), keeps: KEPT, comes_in: true, ..Needs::SOURCE }
            }
            Encoder::Shared => Needs { comes_in: true, ..Needs::adapting(&self.target) },
        }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        let of_features = domain_classifier(self.domain_head.as_deref(), spec);
        let of = |on: &Observed| match on {
            Observed::Features => of_features.clone(),
            Observed::Logits => {
                let layers = renamed(&of_features.layers, &Part::DOMAIN, &OF_LOGITS);
                let layers = taking(&OF_LOGITS, &layers, spec.classes);
                NewHead { part: OF_LOGITS, layers, ..of_features.clone() }
            }
        };
        self.on.iter().map(of).collect()
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        if self.encoder == Encoder::Separate {
            bench.copy(NetId::MAIN, SOURCE_ENCODER);
        }
        Ok(Box::new(Mapping(self)))
    }
}

impl Observed {
    /// The head that classifies it.
    fn part(self) -> Part {
        match self {
            Self::Features => Part::DOMAIN,
            Self::Logits => OF_LOGITS,
        }
    }

    /// What the loss of its domain classifier, the share that this one takes for what it is, and the loss of the
    /// features are called.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Features => ["domain_loss", "domain_accuracy", "mapping_loss"],
            Self::Logits => {
                ["logits_domain_loss", "logits_domain_accuracy", "logits_mapping_loss"]
            }
        }
    }
}

/// Adversarial discriminative domain adaptation in the middle of a training: besides the networks it
/// remembers nothing.
struct Mapping<'m>(&'m Adda);

impl Learner for Mapping<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        self.tell_apart(bench, &batch.images())?;
        match self.0.encoder {
            Encoder::Separate => self.map_target(bench, &batch.target().images),
            Encoder::Shared => self.map_both(bench, batch),
        }
    }
}

impl Mapping<'_> {
    /// Moves the domain classifiers.
    fn tell_apart(&self, bench: &mut Bench, images: &Domains) -> Result<(), FitError> {
        let wants_logits = self.0.on.contains(&Observed::Logits);
        let (features, logits) = match self.0.encoder {
            Encoder::Separate => {
                let (part, eval) = (&Part::FEATURES, Mode::EVAL);
                let source =
                    bench.pass(SOURCE_ENCODER, part, &images.source, Domain::Source, eval)?;
                let target =
                    bench.pass(NetId::MAIN, part, &images.target, Domain::Target, Mode::OBSERVE)?;
                let features = Domains { source, target };
                let logits = wants_logits.then(|| kept_logits(bench, &features)).transpose()?;
                (features, logits)
            }
            Encoder::Shared => {
                let features = bench.observe_both(&Part::FEATURES, images)?;
                let logits = wants_logits
                    .then(|| bench.observe_both(&Part::CLASSIFIER, &features))
                    .transpose()?;
                (features, logits)
            }
        };
        let mut sum: Option<Tensor> = None;
        for on in &self.0.on {
            let seen = on.of(&features, logits.as_ref());
            let told = bench.both(&on.part(), seen)?;
            let of_source = DomainLoss::new(&told.source, SOURCE)?;
            let of_target = DomainLoss::new(&told.target, TARGET)?;
            let counts = [of_source.count, of_target.count];
            let loss = mean_of_both([&of_source.loss, &of_target.loss], counts)?;
            let [loss_name, accuracy_name, _] = on.names();
            let count = counts[0] + counts[1];
            bench.meter(loss_name, &loss, count);
            bench.meter_share(accuracy_name, &[&of_source.hits, &of_target.hits], count);
            sum = Some(added(sum, loss)?);
        }
        let parts: Vec<Group> = self.0.on.iter().map(|on| Group::part(on.part())).collect();
        bench.descend(&sum.expect("something is classified"), &parts)
    }

    /// Moves the target's encoder.
    fn map_target(&self, bench: &mut Bench, target: &Tensor) -> Result<(), FitError> {
        let features = bench.learn(&Part::FEATURES, target, Domain::Target)?;
        let mut sum: Option<Tensor> = None;
        for on in &self.0.on {
            let told = match on {
                Observed::Features => bench.learn(&on.part(), &features, Domain::Target)?,
                Observed::Logits => {
                    let (head, domain) = (Part::CLASSIFIER, Domain::Target);
                    let logits = bench.pass(NetId::MAIN, &head, &features, domain, Mode::FROZEN)?;
                    bench.learn(&on.part(), &logits, Domain::Target)?
                }
            };
            let loss = self.0.loss.of(&told, SOURCE)?;
            bench.meter(on.names()[2], &loss, told.rows());
            sum = Some(added(sum, loss)?);
        }
        let loss = sum.expect("something is classified").scale(0.5)?;
        bench.descend(&loss, &[Group::part(Part::FEATURES)])
    }

    /// Moves the encoder of both domains and the classifier.
    fn map_both(&self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let (source_logits, logits) = if self.0.on.contains(&Observed::Logits) {
            let logits = bench.both(&Part::CLASSIFIER, &features)?;
            (logits.source.clone(), Some(logits))
        } else {
            (bench.source_of(&Part::CLASSIFIER, &features)?, None)
        };
        let classified = Classified::new(&source_logits, &batch.source().targets)?;
        classified.report_loss(bench);
        let mut sum = classified.loss.clone();
        for on in &self.0.on {
            let seen = on.of(&features, logits.as_ref());
            let told = bench.both(&on.part(), seen)?;
            let of_source = self.0.loss.of(&told.source, TARGET)?;
            let of_target = self.0.loss.of(&told.target, SOURCE)?;
            let counts = [told.source.rows(), told.target.rows()];
            let loss = mean_of_both([&of_source, &of_target], counts)?;
            bench.meter(on.names()[2], &loss, counts[0] + counts[1]);
            sum = sum.add(&loss)?;
        }
        classified.report_accuracy(bench);
        bench.descend(&sum, &[Part::FEATURES, Part::CLASSIFIER].map(Group::part))
    }
}

impl Observed {
    /// What of both domains it is.
    fn of<'d>(self, features: &'d Domains, logits: Option<&'d Domains>) -> &'d Domains {
        match self {
            Self::Features => features,
            Self::Logits => logits.expect("logits are there where they are observed"),
        }
    }
}

impl MappingLoss {
    /// What it is for a domain classifier's logits `[N, 2]` of images to be taken for those of the domain `other`.
    fn of(self, logits: &Tensor, other: u32) -> Result<Tensor, OpError> {
        match self {
            Self::Flip => Ok(DomainLoss::new(logits, other)?.loss),
            Self::Confusion => {
                let shares = vec![0.5; 2 * logits.rows()];
                let shares = logits.constant(shares, Dims::Rows(logits.rows(), 2))?;
                cross_entropy_of_shares(logits, &shares)
            }
        }
    }
}

/// The class logits of both domains by the classifier that came in, as at test time.
fn kept_logits(bench: &mut Bench, features: &Domains) -> Result<Domains, FitError> {
    let mut of = |network: NetId, domain: Domain| {
        bench.pass(network, &Part::CLASSIFIER, features.of(domain), domain, Mode::EVAL)
    };
    let source = of(SOURCE_ENCODER, Domain::Source)?;
    let target = of(NetId::MAIN, Domain::Target)?;
    Ok(Domains { source, target })
}

/// The mean over the images of both domains, given that of each and their numbers.
fn mean_of_both(losses: [&Tensor; 2], counts: [usize; 2]) -> Result<Tensor, OpError> {
    #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
    let share = |at: usize| losses[at].scale(counts[at] as f32 / (counts[0] + counts[1]) as f32);
    share(0)?.add(&share(1)?)
}

/// The sum so far and `loss`.
fn added(sum: Option<Tensor>, loss: Tensor) -> Result<Tensor, OpError> {
    match sum {
        None => Ok(loss),
        Some(sum) => sum.add(&loss),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Dims, Tape, Targets};
    use crate::nn::{Model, zoo};
    use crate::train::groups::Groups;
    use crate::train::{Optimizer, SourceBatch, TargetBatch, TrainingSettings};

    const LINE: &str = "method = { kind = 'adda', target = 'other.train' }";

    #[test]
    fn the_first_descent_moves_the_domain_classifier_and_the_second_the_features() {
        let (_, descents) = step(LINE, |_| {});
        let parts = descents.iter().map(|gradient| {
            let mut parts: Vec<&str> =
                gradient.iter().map(|(name, _)| name.split('.').next().unwrap()).collect();
            parts.dedup();
            parts
        });
        assert_eq!(parts.collect::<Vec<_>>(), [["domain_classifier"], ["features"]]);
    }

    #[test]
    fn a_shared_encoder_moves_with_the_classifier_and_logits_have_a_domain_classifier_too() {
        let settings = "kind = 'adda', target = 'other.train', on = ['features', 'logits']";
        let told = |more: &str| {
            let (readings, descents) = step(&format!("method = {{ {settings}{more} }}"), |_| {});
            let parts = descents.iter().map(|gradient| {
                let mut parts: Vec<&str> =
                    gradient.iter().map(|(name, _)| name.split('.').next().unwrap()).collect();
                parts.dedup();
                parts.join(" ")
            });
            let names = readings.iter().map(|it| it.name.to_owned());
            (parts.collect::<Vec<String>>(), names.collect::<Vec<String>>(), descents)
        };
        let (separate, names, flipped) = told("");
        assert_eq!(separate, ["domain_classifier logits_domain_classifier", "features"]);
        for name in ["domain_loss", "logits_domain_loss", "mapping_loss", "logits_mapping_loss"] {
            assert!(names.iter().any(|it| it == name), "{names:?}");
        }
        let (shared, names, _) = told(", encoder = 'shared'");
        assert_eq!(shared[1], "features classifier");
        assert!(names.iter().any(|it| it == "class_loss"), "{names:?}");
        let (_, _, confused) = told(", loss = 'confusion'");
        assert_eq!(confused[0], flipped[0]);
        assert_ne!(confused[1], flipped[1]);
    }

    #[test]
    fn confusion_is_the_cross_entropy_with_both_domains_alike_and_pulls_nowhere_at_its_least() {
        let z = [0.3_f32, -0.1, 2.0, 1.0];
        let found = MappingLoss::Confusion.of(&rows(z, 2), SOURCE).unwrap().value();
        let row = |a: f64, b: f64| (a.exp() + b.exp()).ln() - (a + b) / 2.0;
        let expected = f64::midpoint(row(0.3, -0.1), row(2.0, 1.0));
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        let gradient = |loss: MappingLoss| {
            let tape = Tape::default();
            let even = rows([0.7, 0.7], 2).on(&tape);
            let loss = loss.of(&even, TARGET).unwrap();
            tape.backward(&loss).unwrap().take(&even).unwrap().host()
        };
        assert!(gradient(MappingLoss::Confusion).iter().all(|it| it.abs() < 1e-7));
        assert!((gradient(MappingLoss::Flip)[0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_usual_settings_are_recorded_as_ever_and_others_are_new() {
        let record = |more: &str| {
            let lines = format!("target = 'other.train'{more}");
            read_lines(&lines, Adda::read).1.resolved.to_string()
        };
        let usual = record("");
        assert_eq!(usual, "target = \"other.train\"\n");
        let written = "\nencoder = 'separate'\nloss = 'flip'\non = ['features']";
        assert_eq!(record(written), usual);
        assert_ne!(record("\non = ['logits']"), usual);
        let wrong = read_lines("target = 'other'\non = []", Adda::read).1.messages();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    /// A network without batch norm, whose averages would go on to the target's.
    #[test]
    fn at_a_rate_of_zero_the_target_encoder_says_of_the_target_what_came_in() {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let spec = (zoo::find("lenet").unwrap().build)(zoo::ArchSettings::new(input, 10));
        let ops = CpuOps::shared();
        let images = |salt: usize| {
            let values = (0..4 * 784).map(|at| ((at * 37 + salt) % 101) as f32 / 50.0 - 1.0);
            ops.tensor(values.collect(), Dims::Rows(4, 784)).unwrap()
        };
        let (source, target) = (images(0), images(53));
        let logits_after = |rate: f64| {
            let mut model = Model::new(spec.clone(), &ops, 0).unwrap();
            let before = model.logits(&target).unwrap().host();
            let head = domain_classifier(None, &spec);
            model.add_head(head, 0).unwrap();
            let sgd = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
            let lr_scale = vec![("features.*".to_owned(), rate)];
            let groups = Groups { lr_scale, ..Groups::default() };
            let settings = TrainingSettings { groups, ..TrainingSettings::plain(4, sgd) };
            let domain = |model: &Model| -> Vec<Vec<f32>> {
                let own = model.parameters().iter().filter(|it| it.part == Part::DOMAIN);
                own.map(|it| it.value.host()).collect()
            };
            let begun = domain(&model);
            let mut bench = Bench::alone(model, &settings).unwrap();
            let method = crate::adapt::tests::read(LINE).unwrap();
            let mut learner = method.begin(&mut bench).unwrap();
            for at in 0..3 {
                let targets = Targets::plain(&[0, 1, 2, 3]);
                let (source, target) = (source.clone(), target.clone());
                let batch = Batch {
                    source: Some(SourceBatch::plain(source, targets)),
                    target: Some(TargetBatch::plain(target)),
                };
                bench.step_alone(&mut *learner, &batch, (at, 3), false).unwrap();
            }
            let model = bench.model_mut(learner.predictor());
            assert_ne!(domain(model), begun, "the domain classifier learns");
            (before, model.logits(&target).unwrap().host())
        };
        let (before, after) = logits_after(0.0);
        assert_eq!(before, after);
        let (before, after) = logits_after(1.0);
        assert_ne!(before, after);
    }
}
