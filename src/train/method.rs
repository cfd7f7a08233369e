//! What a method of learning is to the training loop, and the loop to it. The methods themselves are in
//! `adapt`.

use super::batch_norm::BatchNormFamily;
use super::bench::{Batch, Bench};
use super::contract::FitError;
use super::networks::NetId;
use crate::config::Reference;
use crate::data::view::{Domain, ViewRequest};
use crate::nn::Spec;
use crate::nn::heads::NewHead;

/// A way to learn, with its settings. It is data for the loop: it says what it needs, and makes the
/// [`Learner`] that takes the steps.
pub trait Method: std::fmt::Debug + Send + Sync {
    /// What the loop has to provide. It is asked for when the plan is built, so that what is missing is
    /// said before anything runs.
    fn needs(&self) -> Needs<'_>;

    /// The heads that it trains besides the classifier, for a network of `spec`.
    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        let _ = spec;
        Vec::new()
    }

    /// Why it cannot go on from a network of `spec`; `None` where it can.
    fn misfit(&self, spec: &Spec) -> Option<Misfit> {
        let _ = spec;
        None
    }

    /// Makes the learner of a training that begins with what `bench` holds: copies of networks are made
    /// here. A training that resumes begins in the same way before it restores its state.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError>;
}

/// Why a network is of no use to a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// What a method asks of the training loop.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'m> {
    /// Whether it learns from labelled images. One that does not needs a network that [comes
    /// in](Self::comes_in).
    pub source: bool,
    /// Where its images of the target domain come from. Their labels are out of its reach.
    pub target: Option<&'m Reference>,
    /// Parts of the network that no step of it moves.
    pub keeps: &'m [crate::nn::Part],
    /// How its passes may treat batch norm, its usual way first.
    pub batch_norm: &'static [BatchNormFamily],
    /// Further looks at the images of each step.
    pub views: &'m [ViewRequest],
    /// When it wants to see a whole set of images.
    pub whole_set: Option<WholeSetPasses>,
    /// When it wants to see all labelled images with their classes: before a whole set that is due with
    /// them.
    pub labelled_set: Option<When>,
    /// Whether a step is to have target images of the classes of its labelled images, by the classes that
    /// the learner [gives them](Learner::target_classes).
    pub matches_classes: bool,
    /// What the network's last class must be called: that of images which are of no class of the source.
    pub unknown_class: Option<&'m str>,
    /// The head that the classifier which comes in becomes where the stage makes a new one, with its
    /// weights: for methods that go on with both. It is not kept when this is `None`.
    pub keeps_classifier_as: Option<&'m crate::nn::Part>,
    /// Whether the network must come in trained, from another stage.
    pub comes_in: bool,
    /// Whether it learns in steps. One that does not has learned from whole sets before the first one: it
    /// makes no difference which images its steps see.
    pub steps: bool,
}

impl<'m> Needs<'m> {
    /// Labelled images and those of a target, with batch norm in any way.
    pub fn adapting(target: &'m Reference) -> Self {
        Self { target: Some(target), batch_norm: BatchNormFamily::ALL, ..Self::SOURCE }
    }

    /// Images of a target alone, for a network that comes in trained.
    pub fn target_alone(target: &'m Reference) -> Self {
        Self { source: false, target: Some(target), comes_in: true, ..Self::SOURCE }
    }

    /// Labelled images alone.
    pub const SOURCE: Self = Self {
        source: true,
        target: None,
        keeps: &[],
        batch_norm: &[BatchNormFamily::Separate],
        views: &[],
        whole_set: None,
        labelled_set: None,
        keeps_classifier_as: None,
        matches_classes: false,
        unknown_class: None,
        comes_in: false,
        steps: true,
    };
}

/// Passes over a whole set of images as they are, in data-set order and evaluation mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeSetPasses {
    /// Whose images.
    pub of: Domain,
    /// When.
    pub when: When,
}

/// When a method sees a whole set of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Once, before the first step.
    Begin,
    /// Before the first step of each epoch.
    EpochStart,
    /// After the last step of each epoch.
    EpochEnd,
    /// Before the first step and every so many steps from there.
    Steps(usize),
}

/// What a network makes of every image of a set, in data-set order.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeSet {
    /// Features, `[N, width]`.
    pub features: Vec<f32>,
    /// Numbers in a feature vector.
    pub width: usize,
    /// Class probabilities, `[N, classes]`.
    pub probabilities: Vec<f32>,
    /// Number of classes.
    pub classes: usize,
}

impl WholeSet {
    /// Number of images N.
    pub fn len(&self) -> usize {
        self.probabilities.len() / self.classes.max(1)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A method in the middle of a training.
///
/// What a step does follows from its arguments and from what the learner [remembers](Learner::state), and from
/// nothing else. A device may repeat a step without running its code, where that looks at nothing that changes
/// from step to step: see `nn::ops::varying`. Methods that read values on the host and make constants of them
/// (pseudo labels, plans of transport, orders) have code that runs at every step.
pub trait Learner {
    /// One step.
    ///
    /// # Errors
    /// When a loss is not finite, or the device fails.
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError>;

    /// Sees a whole set, when [`Needs::whole_set`] asked for that.
    ///
    /// # Errors
    /// When the images are of no use to it, or the device fails.
    fn refresh(&mut self, bench: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        let _ = (bench, seen);
        Ok(())
    }

    /// Sees all labelled images and the class of each, when [`Needs::labelled_set`] asked for that.
    ///
    /// # Errors
    /// When the images are of no use to it, or the device fails.
    fn refresh_labelled(
        &mut self,
        bench: &mut Bench,
        seen: &WholeSet,
        labels: &[u32],
    ) -> Result<(), FitError> {
        let _ = (bench, seen, labels);
        Ok(())
    }

    /// The class of each target image as far as it is known, in data-set order, where
    /// [`Needs::matches_classes`] asked for images by them. They are asked for at the first step of an
    /// epoch that is taken, after the sets that are due then, and must not change before its end.
    fn target_classes(&self) -> &[Option<u32>] {
        &[]
    }

    /// Everything that it remembers between steps besides the networks, in one walk that both saves and
    /// restores it. The walk visits the same names in the same order each time.
    fn state(&mut self, visit: &mut dyn Visit) {
        let _ = visit;
    }

    /// The network that is validated, exported and handed on.
    fn predictor(&self) -> NetId {
        NetId::MAIN
    }
}

/// A walk over what a learner remembers. Lengths may change between steps.
pub trait Visit {
    /// Numbers: banks, centroids.
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>);

    /// Whole numbers: labels, counters.
    fn integers(&mut self, name: &str, values: &mut Vec<u32>);
}
