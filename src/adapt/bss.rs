//! Batch spectral shrinkage (Chen, Wang, Fu, Long and Wang 2019, "Catastrophic Forgetting Meets Negative
//! Transfer: Batch Spectral Shrinkage for Safe Transfer Learning"), for fine-tuning with few labels.
//!
//! loss = CE(class, source) + eta sum_{i<=k} s_{-i}(F)^2
//!
//! with the k smallest singular values s_{-i} of the features F `[N, d]` of a batch, of which there are as many as
//! the smaller of N and d. What a pretrained network has in these directions helps the new task least, and is
//! what a few labels are fitted with. The gradient of a square is 2 s u v^T. As in the paper and in TLLib the sum
//! is not divided by the number of images. Features that are maps are averaged first.

use super::spectra::smallest_squared_singular_values;
use super::{Classified, Coefficient, as_vectors};
use crate::config::{Keys, Noted};
use crate::data::view::Domain;
use crate::nn::Part;
use crate::nn::geometry::Chw;
use crate::train::{Batch, Bench, FitError, Group, Learner, Method, Needs, NetId};

/// Settings of batch spectral shrinkage.
#[derive(Debug, Clone, Copy)]
pub struct Bss {
    /// Weight of the squares.
    pub eta: Coefficient,
    /// How many of the smallest singular values count: the k of the paper.
    pub values: usize,
}

impl Bss {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("eta", "weight of the squares of the smallest singular values"),
            ("values", "how many of the smallest singular values of a batch count"),
        ]);
        let eta = Coefficient::read(keys, "eta", Coefficient::Constant { max: 1e-3 });
        let values = keys.count("values", 1..=10).or(1_usize);
        Ok(Self { eta: eta?, values: values? })
    }
}

impl Method for Bss {
    fn needs(&self) -> Needs<'_> {
        Needs::SOURCE
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let maps = bench.model(NetId::MAIN).spec().feature_maps();
        let maps = maps.expect("the layers of a network fit together");
        Ok(Box::new(Shrinking { settings: self, maps }))
    }
}

/// Batch spectral shrinkage in the middle of a training: it remembers nothing.
struct Shrinking<'m> {
    settings: &'m Bss,
    /// The shape of the features, where they are maps.
    maps: Option<Chw>,
}

impl Learner for Shrinking<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let eta = bench.knob("eta", self.settings.eta.over_time());
        let source = batch.source();
        let features = bench.learn(&Part::FEATURES, &source.images, Domain::Source)?;
        let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source)?;
        let classified = Classified::new(&logits, &source.targets)?;
        let vectors = as_vectors(&features, self.maps)?;
        let penalty = smallest_squared_singular_values(&vectors, self.settings.values)?;

        classified.report_loss(bench);
        bench.meter("shrinkage_loss", &penalty, classified.count);
        classified.report_accuracy(bench);
        bench.descend(&classified.loss.add(&penalty.scale(eta)?)?, &[Group::MAIN])
    }
}

#[cfg(test)]
mod tests {
    use crate::adapt::tests::step;
    use crate::train::Gradient;

    /// The loss that is reported beside the cross-entropy, and the gradient of the one descent.
    fn of(settings: &str) -> (f64, Gradient) {
        let line = format!("method = {{ kind = 'bss', {settings} }}");
        let (readings, mut descents) = step(&line, |_| {});
        let loss = readings.iter().find(|it| it.name == "shrinkage_loss").unwrap();
        (loss.value, descents.remove(0))
    }

    #[test]
    fn without_weight_a_step_is_that_of_the_cross_entropy_and_its_gradient_grows_with_it() {
        let alone = step("method = 'supervised'", |_| {}).1.remove(0);
        assert_eq!(of("eta = 0").1, alone);
        let [one, two] = ["eta = 0.5", "eta = 1.0"].map(|settings| of(settings).1);
        let mut moved = 0.0_f32;
        for (((name, alone), (_, one)), (_, two)) in alone.iter().zip(&one).zip(&two) {
            for ((alone, one), two) in alone.iter().zip(one).zip(two) {
                let off = (two - alone) - 2.0 * (one - alone);
                assert!(off.abs() < 1e-4 * (1.0 + two.abs()), "{name}: {alone}, {one}, {two}");
                moved = moved.max((one - alone).abs());
            }
        }
        assert!(moved > 1e-3, "{moved}");
    }

    #[test]
    fn more_values_are_a_larger_sum() {
        let [one, two, all] = [1, 2, 10].map(|values| of(&format!("values = {values}")).0);
        assert!(0.0 < one && one < two && two < all, "{one}, {two}, {all}");
    }
}
