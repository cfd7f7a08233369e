//! Methods of one loss: the cross-entropy of the labelled images and one or more [terms](Term) that look
//! at features or logits of both domains, in one descent a step.
//!
//! Papers combine such terms: `method = { kind = "cdan", target = ..., plus = ["mcc"] }` is the loss of
//! CDAN and that of MCC. The first one and those of `plus` are the same thing here.

use std::fmt::Debug;

use super::{Classified, Coefficient, TermKind};
use crate::config::{Diagnostic, Keys, Noted, Reference, Wants, Word as _};
use crate::nn::heads::NewHead;
use crate::nn::ops::{Targets, Tensor};
use crate::nn::{Part, Spec};
use crate::train::{
    Batch, BatchNormFamily, Bench, Domains, FitError, Group, Learner, Method, Needs, Visit,
    WholeSet, WholeSetPasses,
};

/// The key of further terms of the loss.
const PLUS: &str = "plus";

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

    /// When it wants to see a whole set of images.
    fn whole_set(&self) -> Option<WholeSetPasses> {
        None
    }

    /// The term of a training that begins with what `bench` holds.
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
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, weight: f32) -> Result<Tensor, FitError>;

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
}

impl Joint {
    /// Reads a method whose first term is of `kind`.
    pub(super) fn read(kind: TermKind, keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            (PLUS, "further terms of the loss, each a word or a table with its settings"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let first = kind.read(keys, "lambda");
        let items = keys.items(PLUS, "kind", ("term", "terms"), |kind: TermKind, keys| {
            kind.read(keys, kind.knob()).map(|term| (kind, term))
        });
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
            let [whole_set, others] = [&term, &terms[0]].map(|it| it.term.whole_set());
            debug_assert!(whole_set.is_none() || others.is_none(), "one term has a memory");
            kinds.push(kind);
            terms.push(term);
        }
        Ok(Self { target: target?, terms })
    }
}

impl Method for Joint {
    fn needs(&self) -> Needs<'_> {
        let batch_norm = BatchNormFamily::ALL;
        let whole_set = self.terms.iter().find_map(|it| it.term.whole_set());
        Needs { target: Some(&self.target), batch_norm, whole_set, ..Needs::SOURCE }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        self.terms.iter().flat_map(|it| it.term.heads(spec)).collect()
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let begin = |it: &'m Weighted| Ok((it, it.term.begin(bench)?));
        let terms = self.terms.iter().map(begin).collect::<Result<_, FitError>>()?;
        Ok(Box::new(Summing(terms)))
    }
}

/// A method of one loss in the middle of a training.
struct Summing<'m>(Vec<(&'m Weighted, Box<dyn ActiveTerm + 'm>)>);

impl Learner for Summing<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let weigh = |it: &Weighted| bench.knob(it.knob, |progress| it.lambda.at(progress));
        let weights: Vec<f32> = self.0.iter().map(|(it, _)| *it).map(weigh).collect();
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let looks_at_target = self.0.iter().any(|(it, _)| it.term.looks_at_target_logits());
        let (source_logits, target_logits) = if looks_at_target {
            let Domains { source, target } = bench.both(&Part::CLASSIFIER, &features)?;
            (source, Some(target))
        } else {
            (bench.source_of(&Part::CLASSIFIER, &features)?, None)
        };
        let classified = Classified::new(&source_logits, &batch.source().targets)?;
        classified.report_loss(bench);
        let seen = Seen { batch, features, source_logits, target_logits };
        let mut loss = classified.loss.clone();
        for ((_, term), weight) in self.0.iter_mut().zip(weights) {
            loss = loss.add(&term.loss(bench, &seen, weight)?)?;
        }
        classified.report_accuracy(bench);
        bench.descend(&loss, &[Group::MAIN])?;
        self.0.iter_mut().try_for_each(|(_, term)| term.after(bench, batch))
    }

    fn refresh(&mut self, bench: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        self.0.iter_mut().try_for_each(|(_, term)| term.refresh(bench, seen))
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        self.0.iter_mut().for_each(|(_, term)| term.state(visit));
    }
}

#[cfg(test)]
mod tests {
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
