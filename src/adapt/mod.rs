//! Ways to learn from labelled source and unlabelled target images: one file each.
//!
//! A method sees target images only as a batch of pixels: their labels cannot reach it.

use std::sync::Arc;

use crate::config::{Keys, Noted};
use crate::data::augment::Augment;
use crate::data::view::{Domain, ViewKind, ViewRequest};
use crate::nn::geometry::Chw;
use crate::nn::ops::{OpError, Targets, Tensor};
use crate::train::{Bench, FitError, Method};

mod coefficient;
mod contrastive;
mod joint;
mod kernels;
mod linear_head;
mod linear_maps;
pub mod pseudo_labels;
mod sinkhorn;
mod softmax_regression;
mod spectra;
mod spherical;
#[cfg(test)]
mod tests;
mod transport;
mod vat;

use self::joint::{Joint, Weighted};

pub use coefficient::Coefficient;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../docs/extending/mean_distance.rs"]
mod mean_distance;

/// Every method: a new one is a file in this folder, whose type of this name reads its settings, and a
/// line here. A method of one loss is a [term](joint::Term) of it, and stands in `terms`, so that it can
/// also be added to others; one that takes its steps in another way stands in `methods`.
macro_rules! methods {
    (
        methods { $($(#[doc = $about:literal])+ $name:ident = $word:literal in $file:ident,)* }
        terms {
            $($(#[doc = $term_about:literal])+ $term:ident = $term_word:literal in $term_file:ident,)*
        }
    ) => {
        $(mod $file;)*
        $(pub use $file::$name;)*
        $(mod $term_file;)*
        $(use $term_file::$term;)*

        crate::config::words! {
            /// The word for a method, before its settings are read.
            pub(crate) enum MethodKind {
                $($(#[doc = $about])+ $name = $word,)*
                $($(#[doc = $term_about])+ $term = $term_word,)*
            }
        }

        crate::config::words! {
            /// The word for a term of a loss, before its settings are read.
            enum TermKind {
                $($(#[doc = $term_about])+ $term = $term_word,)*
            }
        }

        impl MethodKind {
            fn settings(self, keys: &mut Keys) -> Result<Box<dyn Method>, Noted> {
                match self {
                    $(Self::$name => Ok(Box::new($name::read(keys)?)),)*
                    $(Self::$term => Ok(Box::new(Joint::read(TermKind::$term, keys)?)),)*
                }
            }
        }

        impl TermKind {
            /// Reads a term, whose weight the metrics call `knob`.
            fn read(self, keys: &mut Keys, knob: &'static str) -> Result<Weighted, Noted> {
                match self {
                    $(Self::$term => Weighted::read::<$term>(keys, knob),)*
                }
            }

            /// What the metrics call the weight of one that is added to others.
            fn knob(self) -> &'static str {
                match self {
                    $(Self::$term => concat!($term_word, "_lambda"),)*
                }
            }
        }
    };
}

methods! {
    methods {
        /// Cross-entropy on the labelled images.
        Supervised = "supervised" in supervised,
        /// Batch spectral shrinkage, for fine-tuning.
        Bss = "bss" in bss,
        /// The classifier that came in beside the new one, for fine-tuning.
        CoTuning = "co_tuning" in co_tuning,
        /// Feature maps that stay near those of the start, for fine-tuning.
        Delta = "delta" in delta,
        /// Self-ensembling.
        SelfEnsembling = "self_ensembling" in self_ensembling,
        /// Source hypothesis transfer, without source images.
        Shot = "shot" in shot,
        /// Maximum classifier discrepancy.
        Mcd = "mcd" in mcd,
        /// Adversarial discriminative domain adaptation.
        Adda = "adda" in adda,
        /// Wasserstein distance guided representation learning.
        Wdgrl = "wdgrl" in wdgrl,
        /// Virtual adversarial domain adaptation.
        Vada = "vada" in vada,
        /// Decision-boundary iterative refinement with a teacher.
        DirtT = "dirt_t" in dirt_t,
        /// Consistency of a strong view with confident classes of a weak one.
        FixMatch = "fixmatch" in fixmatch,
        /// The same with aligned distributions, a relative threshold and interpolated logits.
        AdaMatch = "adamatch" in adamatch,
        /// Principal axes of the source turned onto the target's, in closed form.
        SubspaceAlignment = "subspace_alignment" in subspace_alignment,
        /// Covariances of the features made alike, in closed form.
        FeatureCoral = "feature_coral" in feature_coral,
        /// Transfer component analysis of the features, in closed form.
        Tca = "tca" in tca,
        /// Source features transported to the target's, in closed form.
        OptimalTransport = "optimal_transport" in optimal_transport,
        /// Running averages of the target, and nothing else.
        AdaBn = "adabn" in adabn,
        /// Entropy minimisation by batch norm alone.
        Tent = "tent" in tent,
        /// Domain-adversarial training for a target with fewer classes.
        Pada = "pada" in pada,
        /// Contrastive adaptation network.
        Can = "can" in can,
    }
    terms {
        /// Domain-adversarial training.
        Dann = "dann" in dann,
        /// Correlation alignment.
        Coral = "coral" in coral,
        /// Multiple-kernel maximum mean discrepancy.
        Dan = "dan" in dan,
        /// Joint maximum mean discrepancy.
        Jan = "jan" in jan,
        /// Central moment discrepancy.
        Cmd = "cmd" in cmd,
        /// Higher-order moment matching.
        Homm = "homm" in homm,
        /// Conditional adversarial domain adaptation.
        Cdan = "cdan" in cdan,
        /// Margin disparity discrepancy.
        Mdd = "mdd" in mdd,
        /// Nuclear-norm Wasserstein discrepancy.
        Nwd = "nwd" in nwd,
        /// Batch spectral penalization.
        Bsp = "bsp" in bsp,
        /// Open set domain adaptation by backpropagation.
        Osbp = "osbp" in osbp,
        /// Task-oriented alignment.
        ToAlign = "toalign" in toalign,
        /// Entropy minimisation.
        Entropy = "entropy" in entropy,
        /// Information maximisation.
        InfoMax = "info_max" in info_max,
        /// Minimum class confusion.
        Mcc = "mcc" in mcc,
        /// Masked image consistency.
        Mic = "mic" in mic,
        /// Batch nuclear-norm maximisation.
        Bnm = "bnm" in bnm,
        /// Adaptive feature norm.
        Afn = "afn" in afn,
        /// Associative domain adaptation.
        Associative = "associative" in associative,
        /// Joint distribution optimal transport.
        DeepJdot = "deepjdot" in deepjdot,
        /// Votes of nearest target images.
        Atdoc = "atdoc" in atdoc,
    }
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

/// -mean_i sum_k s_ik ln p_ik, where p are the class probabilities of `logits` and s the `shares` that the
/// classes of a row are to have, both `[N, K]`. Rows whose shares have a small sum count for little.
fn cross_entropy_of_shares(logits: &Tensor, shares: &Tensor) -> Result<Tensor, OpError> {
    logits.log_softmax()?.mul(shares)?.row_sums()?.mean()?.scale(-1.0)
}

/// The view of the target that the key `name` describes: the stage's changes where it is left out.
fn target_view(keys: &mut Keys, name: &'static str) -> Result<ViewRequest, Noted> {
    let [_, of_target] = views_of_both(keys, name)?;
    Ok(of_target)
}

/// The same of the source and of the target, with random numbers of its own for each.
fn views_of_both(keys: &mut Keys, name: &'static str) -> Result<[ViewRequest; 2], Noted> {
    let own = Augment::read_view(keys, name)?.map(Arc::new);
    Ok([Domain::Source, Domain::Target].map(|domain| {
        let kind = own.clone().map_or(ViewKind::Augmented, ViewKind::Own);
        ViewRequest { domain, name, kind }
    }))
}

/// Features as vectors: the means of feature maps, where they are `maps`.
fn as_vectors(features: &Tensor, maps: Option<Chw>) -> Result<Tensor, OpError> {
    match maps {
        Some(shape) => features.ops().global_avg_pool(features, shape),
        None => Ok(features.clone()),
    }
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
