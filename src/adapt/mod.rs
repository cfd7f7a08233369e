//! Ways to learn from labelled source and unlabelled target images: one file each.
//!
//! A method sees target images only as a batch of pixels: their labels cannot reach it.

use crate::config::{Keys, Noted};
use crate::nn::ops::{Targets, Tensor};
use crate::train::{Bench, FitError, Method};

mod coefficient;
pub mod pseudo_labels;
#[cfg(test)]
mod tests;

pub use coefficient::Coefficient;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../docs/extending/mean_distance.rs"]
mod mean_distance;

/// Every method: a new one is a file in this folder, whose type of this name reads its settings, and a
/// line here.
macro_rules! methods {
    ($($(#[$about:meta])* $name:ident = $word:literal in $file:ident,)*) => {
        $(mod $file;)*
        $(pub use $file::$name;)*

        crate::config::words! {
            /// The word for a method, before its settings are read.
            pub(crate) enum MethodKind {
                $($(#[$about])* $name = $word,)*
            }
        }

        impl MethodKind {
            fn settings(self, keys: &mut Keys) -> Result<Box<dyn Method>, Noted> {
                match self {
                    $(Self::$name => Ok(Box::new($name::read(keys)?)),)*
                }
            }
        }
    };
}

methods! {
    /// Cross-entropy on the labelled images.
    Supervised = "supervised" in supervised,
    /// Domain-adversarial training.
    Dann = "dann" in dann,
    /// Correlation alignment.
    Coral = "coral" in coral,
    /// Self-ensembling.
    SelfEnsembling = "self_ensembling" in self_ensembling,
    /// Source hypothesis transfer, without source images.
    Shot = "shot" in shot,
    /// Maximum classifier discrepancy.
    Mcd = "mcd" in mcd,
    /// Adversarial discriminative domain adaptation.
    Adda = "adda" in adda,
}

/// Reads `method = "supervised"` or `{ kind = "dann", ... }`.
///
/// # Examples
///
/// ```
/// use runner::adapt;
/// use runner::config::Keys;
/// use runner::config::document;
/// use runner::config::node::Value;
/// use runner::config::source::Sources;
///
/// let text = "method = { kind = 'dann', target = 'mnist_m.train' }";
/// let root = document::parse(Sources::default().add("method.toml", text), text).unwrap();
/// let Value::Table(table) = &root.value else { unreachable!("a document is a table") };
/// let method = adapt::read(&mut Keys::new(table, root.span)).unwrap();
/// assert_eq!(method.needs().target.unwrap().stage, "mnist_m");
/// ```
///
/// # Errors
/// When the file has something else there; `keys` then knows the problem and its place.
pub fn read(keys: &mut Keys) -> Result<Box<dyn Method>, Noted> {
    keys.kinded("method", "kind", Some(MethodKind::Supervised), MethodKind::settings)
}

/// How the labelled images of a step were classified.
struct Classified {
    /// Their mean cross-entropy.
    loss: Tensor,
    /// How many were taken for what they are.
    hits: Tensor,
    count: usize,
}

impl Classified {
    /// What the class logits `[N, classes]` of labelled images are worth.
    fn new(logits: &Tensor, targets: &Targets) -> Result<Self, FitError> {
        let hits = logits.ops().hits(logits, targets.labels)?;
        let loss = logits.ops().cross_entropy(logits, targets)?;
        Ok(Self { loss, hits, count: targets.labels.len() })
    }

    fn report_loss(&self, bench: &mut Bench) {
        bench.meter("class_loss", &self.loss, self.count);
    }

    fn report_accuracy(&self, bench: &mut Bench) {
        bench.meter_share("accuracy", &[&self.hits], self.count);
    }
}
