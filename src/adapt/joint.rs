//! Methods of one loss: the cross-entropy of the labelled images and one or more [terms](Term) that look
//! at features or logits of both domains, in one descent a step.
//!
//! Papers combine such terms: `method = { kind = "cdan", target = ..., plus = ["mcc"] }` is the loss of
//! CDAN and that of MCC. The first one and those of `plus` are the same thing here.
//!
//! With `sharpness_aware = rho`, steps are those of smooth domain-adversarial training (Rangwani, Aithal,
//! Mishra, Jain and Babu 2022, "A Closer Look at Smoothness in Domain Adversarial Training"): features and
//! classifier are moved by rho g / |g|, where g is the gradient of the task alone (the cross-entropy and
//! terms [of the task](Term::is_of_the_task)), the gradient of the whole loss is taken there, and the
//! step with it begins where the parameters were.

use std::fmt::Debug;

use serde_json::json;

use super::{Classified, Coefficient, TermKind};
use crate::config::{Diagnostic, Keys, Noted, Reference, Wants, Word as _, words_of};
use crate::data::view::{Domain, ViewRequest};
use crate::nn::heads::NewHead;
use crate::nn::ops::{Gradients, Number, Targets, Tensor};
use crate::nn::{Part, Spec};
use crate::train::{
    Batch, Bench, Domains, FitError, Group, Learner, Method, Needs, Visit, WholeSet, WholeSetPasses,
};

/// The key of further terms of the loss.
const PLUS: &str = "plus";
/// The key of the radius of sharpness-aware steps.
const SHARPNESS_AWARE: &str = "sharpness_aware";

/// A term of a loss, with its settings.
pub(super) trait Term: Debug + Send + Sync {
    /// Whether it looks at the class logits of the target.
    fn looks_at_target_logits(&self) -> bool;

    /// The heads that it trains besides the classifier, for a network of `spec`.
    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        let _ = spec;
        Vec::new()
    }

    /// The part that no other term may have a head of.
    fn own_part(&self) -> Option<Part> {
        None
    }

    /// Whether it belongs to the task rather than to the alignment of domains: what is flattened by
    /// sharpness-aware steps.
    fn is_of_the_task(&self) -> bool {
        false
    }

    /// When it wants to see a whole set of images.
    fn whole_set(&self) -> Option<WholeSetPasses> {
        None
    }

    /// Further looks at the images of each step. No other term uses a name of theirs.
    fn views(&self) -> Vec<ViewRequest> {
        Vec::new()
    }

    /// As [`Needs::unknown_class`].
    fn unknown_class(&self) -> Option<&str> {
        None
    }

    /// The term of a training that begins with what `bench` holds. Copies of the network are made here,
    /// and bear names that no other term uses.
    ///
    /// # Errors
    /// When the device fails.
    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError>;
}

/// How a term is read from a file.
pub(super) trait ReadTerm: Term + Sized + 'static {
    /// What its weight `lambda` is the weight of.
    const WEIGHT: &'static str;
    /// The weight where the file has none.
    const USUAL: Coefficient;

    /// Reads its settings besides the weight.
    fn read(keys: &mut Keys) -> Result<Self, Noted>;
}

/// A term in the middle of a training.
pub(super) trait ActiveTerm {
    /// Its part of the loss, with its `weight`, and what it has to report.
    ///
    /// # Errors
    /// When the device fails.
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, weight: Number) -> Result<Tensor, FitError>;

    /// What it does when the network has moved.
    ///
    /// # Errors
    /// When the device fails.
    fn after(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let _ = (bench, batch);
        Ok(())
    }

    /// Sees a whole set, when [`Term::whole_set`] asked for that.
    ///
    /// # Errors
    /// When the device fails.
    fn refresh(&mut self, bench: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        let _ = (bench, seen);
        Ok(())
    }

    /// As [`Learner::state`].
    fn state(&mut self, visit: &mut dyn Visit) {
        let _ = visit;
    }
}

/// What the network made of a step's images.
pub(super) struct Seen<'a> {
    /// The images.
    pub batch: &'a Batch<'a>,
    /// Features of both domains, `[N, d]` and `[M, d]`.
    pub features: Domains,
    source_logits: Tensor,
    target_logits: Option<Tensor>,
    /// The views that the terms asked for.
    views: &'a [ViewRequest],
}

impl Seen<'_> {
    /// Class logits of the labelled images, `[N, K]`.
    pub fn source_logits(&self) -> &Tensor {
        &self.source_logits
    }

    /// Class logits of the target's images, `[M, K]`.
    ///
    /// # Panics
    /// When the term did not say that it looks at them.
    pub fn target_logits(&self) -> &Tensor {
        self.target_logits.as_ref().expect("a term says that it looks at the target's logits")
    }

    /// Classes of the labelled images.
    pub fn targets(&self) -> &Targets<'_> {
        &self.batch.source().targets
    }

    /// The view of the target's images that a term calls `name`, `[M, C*H*W]`.
    ///
    /// # Panics
    /// When no term asked for it.
    pub fn target_view(&self, name: &str) -> &Tensor {
        let mut of_target = self.views.iter().filter(|it| it.domain == Domain::Target);
        let at = of_target.position(|it| it.name == name).expect("a term asks for its views");
        &self.batch.target().views[at]
    }

    /// Images of both domains together.
    pub fn images(&self) -> usize {
        self.features.source.rows() + self.features.target.rows()
    }
}

/// A term and its weight.
#[derive(Debug)]
pub(super) struct Weighted {
    term: Box<dyn Term>,
    lambda: Coefficient,
    /// What the weight is called in the metrics.
    knob: &'static str,
}

impl Weighted {
    /// Reads a term of type `T`, whose weight the metrics call `knob`.
    pub(super) fn read<T: ReadTerm>(keys: &mut Keys, knob: &'static str) -> Result<Self, Noted> {
        keys.about(&[("lambda", T::WEIGHT)]);
        let lambda = Coefficient::read(keys, "lambda", T::USUAL);
        let term = T::read(keys);
        Ok(Self { lambda: lambda?, term: Box::new(term?), knob })
    }
}

/// A method of one loss.
#[derive(Debug)]
pub(super) struct Joint {
    target: Reference,
    terms: Vec<Weighted>,
    /// The views that the terms ask for.
    views: Vec<ViewRequest>,
    /// Radius rho of sharpness-aware steps.
    sharpness_aware: Option<f64>,
}

impl Joint {
    /// Reads a method whose first term is of `kind`.
    pub(super) fn read(kind: TermKind, keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            (PLUS, "further terms of the loss, each a word or a table with its settings"),
            (
                SHARPNESS_AWARE,
                "how far parameters move up the loss of the task before a gradient is taken; 0.02 in the paper",
            ),
        ]);
        // Not in full: they have the keys of the method of their kind, which stand there.
        keys.may_be(PLUS, || {
            let kinds = words_of::<TermKind>();
            let word = json!({ "type": "string", "enum": kinds });
            let kind = json!({ "type": "string", "enum": kinds, "description": "whose term it is" });
            let table = json!({ "type": "object", "properties": { "kind": kind }, "required": ["kind"] });
            json!({
                "type": "array",
                "items": { "anyOf": [word, table] },
                "description": "an array of words and tables: kinds of methods that add a term, with the keys that these have but for `target` and `plus`",
            })
        });
        let target = keys.reference("target", Wants::Split("train"));
        let first = kind.read(keys, "lambda");
        let items = keys.items(PLUS, "kind", ("term", "terms"), |kind: TermKind, keys| {
            kind.read(keys, kind.knob()).map(|term| (kind, term))
        });
        let sharpness_aware = keys.float(SHARPNESS_AWARE).positive().optional();
        let mut kinds = vec![kind];
        let mut terms = vec![first?];
        for ((kind, term), span) in items?.unwrap_or_default() {
            if kinds.contains(&kind) {
                let message = format!("the loss has the term `{}` twice", kind.word());
                let problem = Diagnostic::at(span, message, "one term too many");
                return Err(keys.problem(problem.help("leave one of them out")));
            }
            let part = term.term.own_part();
            let also = terms.iter().position(|it| part.is_some() && it.term.own_part() == part);
            if let Some(also) = also {
                let (one, other) = (kinds[also].word(), kind.word());
                let message = format!("`{one}` and `{other}` both want a head of their own kind");
                let problem = Diagnostic::at(span, message, "there can be one such head");
                return Err(keys.problem(problem.help("choose one of them")));
            }
            let remembers = |it: &Weighted| it.term.whole_set().is_some();
            assert!(!remembers(&term) || !terms.iter().any(remembers), "one term sees whole sets");
            kinds.push(kind);
            terms.push(term);
        }
        let views = terms.iter().flat_map(|it| it.term.views()).collect();
        Ok(Self { target: target?, terms, views, sharpness_aware: sharpness_aware? })
    }
}

impl Method for Joint {
    fn needs(&self) -> Needs<'_> {
        let whole_set = self.terms.iter().find_map(|it| it.term.whole_set());
        let unknown_class = self.terms.iter().find_map(|it| it.term.unknown_class());
        Needs { views: &self.views, whole_set, unknown_class, ..Needs::adapting(&self.target) }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        self.terms.iter().flat_map(|it| it.term.heads(spec)).collect()
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let begin = |it: &'m Weighted| Ok((it, it.term.begin(bench)?));
        let terms = self.terms.iter().map(begin).collect::<Result<_, FitError>>()?;
        let (views, sharpness_aware) = (&*self.views, self.sharpness_aware);
        Ok(Box::new(Summing { terms, views, sharpness_aware }))
    }
}

/// A method of one loss in the middle of a training.
struct Summing<'m> {
    terms: Vec<(&'m Weighted, Box<dyn ActiveTerm + 'm>)>,
    views: &'m [ViewRequest],
    sharpness_aware: Option<f64>,
}

impl Summing<'_> {
    /// The cross-entropy of the labelled images and the terms that `counts` holds for, with their weights.
    fn loss(
        &mut self,
        bench: &mut Bench,
        batch: &Batch,
        weights: &[Number],
        counts: impl Fn(&dyn Term) -> bool,
    ) -> Result<Tensor, FitError> {
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let looks_at_target = self.terms.iter().any(|(it, _)| it.term.looks_at_target_logits());
        let (source_logits, target_logits) = if looks_at_target {
            let Domains { source, target } = bench.both(&Part::CLASSIFIER, &features)?;
            (source, Some(target))
        } else {
            (bench.source_of(&Part::CLASSIFIER, &features)?, None)
        };
        let classified = Classified::new(&source_logits, &batch.source().targets)?;
        classified.report_loss(bench);
        let seen = Seen { batch, features, source_logits, target_logits, views: self.views };
        let mut loss = classified.loss.clone();
        let terms = self.terms.iter_mut().zip(weights);
        for ((_, term), weight) in terms.filter(|((it, _), _)| counts(&*it.term)) {
            loss = loss.add(&term.loss(bench, &seen, *weight)?)?;
        }
        classified.report_accuracy(bench);
        Ok(loss)
    }

    /// The gradients of the loss where the task is at its worst within a distance of `rho`.
    fn worst_gradients(
        &mut self,
        bench: &mut Bench,
        batch: &Batch,
        weights: &[Number],
        rho: f64,
    ) -> Result<Gradients, FitError> {
        let mut of_task = bench.unreported(|bench| {
            let loss = self.loss(bench, batch, weights, |term| term.is_of_the_task())?;
            bench.gradients(&loss)
        })?;
        let groups = [Part::FEATURES, Part::CLASSIFIER].map(Group::part);
        bench.perturbed(&mut of_task, &groups, rho, |bench| {
            let loss = self.loss(bench, batch, weights, |_| true)?;
            bench.gradients(&loss)
        })
    }
}

impl Learner for Summing<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let weigh = |it: &Weighted| bench.knob(it.knob, it.lambda.over_time());
        let weights: Vec<Number> = self.terms.iter().map(|(it, _)| *it).map(weigh).collect();
        if let Some(rho) = self.sharpness_aware {
            let mut gradients = self.worst_gradients(bench, batch, &weights, rho)?;
            bench.update(&mut gradients, &[Group::MAIN])?;
        } else {
            let loss = self.loss(bench, batch, &weights, |_| true)?;
            bench.descend(&loss, &[Group::MAIN])?;
        }
        self.terms.iter_mut().try_for_each(|(_, term)| term.after(bench, batch))
    }

    fn refresh(&mut self, bench: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        self.terms.iter_mut().try_for_each(|(_, term)| term.refresh(bench, seen))
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        self.terms.iter_mut().for_each(|(_, term)| term.state(visit));
    }
}

#[cfg(test)]
mod tests {
    use crate::adapt::tests::step;
    use crate::config::testing::read_lines;

    /// What is wrong with a method that has these further terms.
    fn problems(plus: &str) -> Vec<String> {
        let line = format!("method = {{ kind = 'dann', target = 'other.train', plus = {plus} }}");
        read_lines(&line, crate::adapt::read).1.messages()
    }

    #[test]
    fn each_term_comes_once_and_is_a_word_or_a_table() {
        assert_eq!(
            problems("['coral', { kind = 'mcc', temperature = 2.0 }]"),
            Vec::<String>::new()
        );
        assert_eq!(problems("['mcc', 'mcc']"), ["the loss has the term `mcc` twice"]);
        assert_eq!(problems("['dann']"), ["the loss has the term `dann` twice"]);
        assert_eq!(problems("[1]"), ["a term must be a word or a table"]);
        assert_eq!(problems("'mcc'"), ["`method.plus` must be an array of terms"]);
        // Steps of its own cannot be added to others'.
        assert_eq!(problems("['mcd']"), ["`mcd` is not a value of `method.plus.0.kind`"]);
    }

    #[test]
    fn a_sharpness_aware_step_of_a_tiny_radius_is_an_ordinary_one_and_a_wider_one_is_not() {
        let gradients = |more: &str| {
            let line = format!("method = {{ kind = 'mcc', target = 'other.train'{more} }}");
            step(&line, |_| {}).1.remove(0)
        };
        let usual = gradients("");
        let apart = |rho: f64| {
            let found = gradients(&format!(", sharpness_aware = {rho}"));
            let pairs = usual.iter().zip(&found);
            let pairs = pairs.flat_map(|((_, one), (_, other))| one.iter().zip(other));
            pairs.map(|(one, other)| f64::from((one - other).abs())).fold(0.0, f64::max)
        };
        assert!(apart(1e-7) < 1e-4, "{}", apart(1e-7));
        assert!(apart(0.5) > 1e-2, "{}", apart(0.5));
    }

    #[test]
    fn a_method_of_one_term_is_recorded_as_ever() {
        let line = "method = { kind = 'dann', target = 'other.train', lambda = 0.5 }";
        let record = read_lines(line, crate::adapt::read).1.resolved.to_string();
        let lambda = "[method.lambda]\nschedule = \"constant\"\nmax = 0.5\n";
        assert_eq!(
            record,
            format!("[method]\nkind = \"dann\"\ntarget = \"other.train\"\n\n{lambda}")
        );
    }
}
