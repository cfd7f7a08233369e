//! `[sweep.select]` and `[sweep.halving]`: what makes a trial good, and which trials end early.

use super::super::diagnostic::Noted;
use super::super::keys::Keys;
use super::super::source::Span;
use super::super::word::words;

words! {
    /// Which values of a goal are the better ones.
    enum Optimum {
        /// The higher ones.
        Max = "max",
        /// The lower ones.
        Min = "min",
    }
}

/// What trials are compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectBy {
    /// The validation accuracy of a training, among trials whose predicted classes do not collapse on the
    /// target; of equal ones, the higher ClassAMI.
    Auto,
    /// `split.metric` of a training stage, as in its CSV, or a metric of a stage that scores.
    Metric(String),
}

impl SelectBy {
    /// The word for the first.
    const AUTO: &str = "auto";

    /// What `word` stands for.
    pub fn of(word: &str) -> Self {
        if word == Self::AUTO { Self::Auto } else { Self::Metric(word.to_owned()) }
    }

    /// The word for it.
    pub fn text(&self) -> &str {
        match self {
            Self::Auto => Self::AUTO,
            Self::Metric(metric) => metric,
        }
    }
}

/// What makes one trial better than another.
#[derive(Debug, Clone)]
pub struct Select {
    /// The stage that measures it.
    pub stage: String,
    /// What trials are compared by.
    pub by: SelectBy,
    /// Of a stage that scores: the model.
    pub model: Option<String>,
    /// Of a stage that scores: the data set.
    pub on: Option<String>,
    /// Whether more is better, where the file says so.
    pub rises: Option<bool>,
    /// Keys whose values each have a best trial of their own.
    pub per: Vec<String>,
    /// The user knows that it goes by labels which selection should not see.
    pub oracle: bool,
    /// Where the table stands.
    pub span: Span,
    /// Where `stage` stands.
    pub stage_span: Span,
    /// Where `by` stands.
    pub by_span: Span,
}

impl Select {
    /// Reads the table.
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let span = keys.span();
        let [stage_span, by_span] =
            ["stage", "by"].map(|key| keys.peek(key).map_or(span, |node| node.span));
        keys.about(&[
            ("stage", "training stage whose metrics count, or an `evaluate` stage"),
            (
                "by",
                "metric to go by, or `auto`: the validation accuracy of trials whose predicted classes do not collapse on the target",
            ),
            ("model", "model whose score counts, where `stage` is an `evaluate` stage"),
            ("on", "data set whose score counts, where `stage` is an `evaluate` stage"),
            ("mode", "whether larger or smaller is better; that of the metric when left out"),
            ("per", "axes of whose every value the best trial is selected"),
            (
                "oracle",
                "whether labels may be used that a selection must not see; tables then say so",
            ),
        ]);
        let stage = keys.string("stage").required();
        let by = keys.string("by").required();
        let model = keys.string("model").optional();
        let on = keys.string("on").optional();
        let mode = keys.choice::<Optimum>("mode").optional();
        let per = keys.strings("per").or(Vec::new());
        let oracle = keys.boolean("oracle").or(false);
        Ok(Self {
            stage: stage?,
            by: SelectBy::of(&by?),
            model: model?,
            on: on?,
            rises: mode?.map(|mode| mode == Optimum::Max),
            per: per?,
            oracle: oracle?,
            span,
            stage_span,
            by_span,
        })
    }
}

/// Successive halving as ASHA does it (Li et al. 2020, "A System for Massively Parallel Hyperparameter
/// Tuning"): of the configurations that reached a rung, one in `factor` continues to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halving {
    /// Epochs of the first rung.
    pub min_epochs: usize,
    /// A rung has so many times the epochs of the one before.
    pub factor: usize,
}

impl Halving {
    /// Reads the table.
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("min_epochs", "epochs after which trials are first compared"),
            ("factor", "one trial in so many continues"),
        ]);
        let min_epochs = keys.count("min_epochs", 1..=100_000).or(1_usize);
        let factor = keys.count("factor", 2..=100).or(3_usize);
        Ok(Self { min_epochs: min_epochs?, factor: factor? })
    }

    /// The epochs at which a training of `epochs` is looked at; the last is its end.
    pub fn rungs(&self, epochs: usize) -> Vec<usize> {
        let mut rungs = Vec::new();
        let mut at = self.min_epochs;
        while at < epochs {
            rungs.push(at);
            at = at.saturating_mul(self.factor);
        }
        rungs.push(epochs);
        rungs
    }
}
