//! Conditional adversarial domain adaptation (Long, Cao, Wang and Jordan 2018, "Conditional Adversarial
//! Domain Adaptation"): CDAN and, with `entropy`, CDAN+E.
//!
//! The domain classifier D of [`dann`](super::dann) sees features f `[N, d]` together with class
//! probabilities g `[N, K]` = softmax(z), through which no gradient goes. It takes in T(f, g): the outer
//! product, whose value k d + j is g_k f_j, or
//!
//!   T(f, g) = (f R_f) * (g R_g) / sqrt(V),    value by value, of V values,
//!
//! with standard normal matrices R_f `[d, V]` and R_g `[K, V]` that are drawn once per training. On average
//! over these <T(f, g), T(f', g')> = <f, f'> <g, g'>, as it is for the outer product. The term is
//!
//!   1/N sum_i w_i CE(D(T_i), source) + 1/M sum_j w_j CE(D(T_j), target)
//!
//! where the gradient that D sends into T is multiplied by -lambda. Without `entropy` all weights w are 1.
//! With it, u = 1 + exp(-H(g)) of the entropy H of each image, and w is u divided by the mean of u over the
//! images of both domains, as in TLLib: no gradient goes through w. The authors' code makes the sum of u 1
//! for either domain, and lets the reversed gradient through.
//!
//! Where features are maps, f are the means of these. TLLib takes the mean over the images of both domains
//! where this takes the sum of both domains' means, as `dann` does.

use super::dann::{
    Dann, DomainLoss, SOURCE, TARGET, domain_classifier, domain_loss, read_domain_head, reported_sum,
};
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::{Coefficient, as_vectors};
use crate::config::{Diagnostic, Keys, Noted, words};
use crate::nn::geometry::Chw;
use crate::nn::heads::{NewHead, taking};
use crate::nn::ops::{Backend, Dims, Number, OpError, Tensor};
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::random::Stream;
use crate::train::{Bench, Domains, FitError, NetId};

/// What keeps the logarithm of a probability of 0 finite, as in TLLib.
const EPS: f32 = 1e-5;

/// The values of the largest outer product that is taken unless the file asks for one, as in the paper.
const MOST_VALUES: usize = 4096;

/// Settings of conditional adversarial domain adaptation.
#[derive(Debug, Clone)]
pub(super) struct Cdan {
    /// Whether images count by how sure their class is: CDAN+E.
    pub entropy: bool,
    /// What the domain classifier takes in.
    pub map: MultilinearMap,
    /// The number V of values of a random map.
    pub random_values: usize,
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
}

words! {
    /// How features and class probabilities become one vector.
    pub(super) enum MultilinearMap {
        /// The outer product where it has at most [`MOST_VALUES`] values, else random.
        Auto = "auto",
        /// The outer product.
        Outer = "outer",
        /// Random multilinear.
        Random = "random",
    }
}

impl ReadTerm for Cdan {
    const WEIGHT: &'static str = Dann::WEIGHT;
    const USUAL: Coefficient = Dann::USUAL;

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("entropy", "whether images of which the network is sure count for more: CDAN+E"),
            ("map", "how features and class probabilities are combined"),
            ("random_values", "number of values of a random combination"),
        ]);
        let entropy = keys.boolean("entropy").or(false);
        let map = keys.choice("map").or(MultilinearMap::Auto);
        let random_values = keys.count("random_values", 1..=1_000_000).or(1024_usize);
        let domain_head = read_domain_head(keys);
        let map = map?;
        if map == MultilinearMap::Outer {
            keys.take("random_values");
            if let Some(written) = keys.peek("random_values") {
                let message = "`random_values` belongs to the random map";
                let problem = Diagnostic::at(written.span, message, "`outer` draws nothing");
                let help = "leave `random_values` out, or write `map = \"random\"`";
                return Err(keys.problem(problem.help(help)));
            }
        }
        Ok(Self {
            entropy: entropy?,
            map,
            random_values: random_values?,
            domain_head: domain_head?,
        })
    }
}

impl Cdan {
    /// Whether T is the random one for features of `width` values.
    fn is_random(&self, width: usize, classes: usize) -> bool {
        match self.map {
            MultilinearMap::Auto => width * classes > MOST_VALUES,
            MultilinearMap::Outer => false,
            MultilinearMap::Random => true,
        }
    }
}

impl Term for Cdan {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        let head = domain_classifier(self.domain_head.as_deref(), spec);
        let values = match InputShape::of(spec) {
            Some(shape) if self.is_random(shape.width, spec.classes) => self.random_values,
            Some(shape) => shape.width * spec.classes,
            // What does not fit in the network is said where the head is added to it.
            None => 1,
        };
        vec![NewHead { layers: taking(&Part::DOMAIN, &head.layers, values), ..head }]
    }

    fn own_part(&self) -> Option<Part> {
        Some(Part::DOMAIN)
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        let spec = bench.model(NetId::MAIN).spec();
        let shape = InputShape::of(spec).expect("the layers of a network fit together");
        let random = if self.is_random(shape.width, spec.classes) {
            let mut stream = bench.lasting_stream("cdan");
            Some(RandomMap::drawn(
                &mut stream,
                bench.ops(),
                (shape.width, spec.classes),
                self.random_values,
            )?)
        } else {
            None
        };
        Ok(Box::new(Conditioned { weighs: self.entropy, maps: shape.maps, random }))
    }
}

/// What features are for a domain classifier.
struct InputShape {
    /// Their shape, where they are maps.
    maps: Option<Chw>,
    /// The number d of values, one of each map.
    width: usize,
}

impl InputShape {
    /// That of a network whose layers fit together.
    fn of(spec: &Spec) -> Option<Self> {
        let maps = spec.feature_maps().ok()?;
        let width = match maps {
            Some(shape) => shape.channels,
            None => spec.feature_len().ok()?,
        };
        Some(Self { maps, width })
    }
}

/// The matrices R_f `[d, V]` and R_g `[K, V]`. They are not saved: the stream draws them again.
struct RandomMap {
    of_features: Tensor,
    of_classes: Tensor,
}

impl RandomMap {
    fn drawn(
        stream: &mut Stream,
        ops: &Backend,
        (width, classes): (usize, usize),
        values: usize,
    ) -> Result<Self, OpError> {
        let mut draw = |rows: usize| {
            let normal = (0..rows * values).map(|_| stream.normal()).collect();
            ops.tensor(normal, Dims::Rows(rows, values))
        };
        Ok(Self { of_features: draw(width)?, of_classes: draw(classes)? })
    }

    /// (f R_f) * (g R_g) / sqrt(V) of the rows of `f` and `g`.
    fn apply(&self, f: &Tensor, g: &Tensor) -> Result<Tensor, OpError> {
        #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
        let root = (self.of_features.columns() as f32).sqrt();
        f.matmul(&self.of_features)?.mul(&g.matmul(&self.of_classes)?)?.div_by(root)
    }
}

/// The products g_k f_j of each row, `[N, K d]`, those of the first class first.
fn outer(f: &Tensor, g: &Tensor) -> Result<Tensor, OpError> {
    let by_class = g.transposed()?;
    let of_class = |class: usize| {
        let share = by_class.slice_rows(class, class + 1)?.reshaped(Dims::Rows(g.rows(), 1));
        f.mul(&share)
    };
    let parts: Result<Vec<Tensor>, OpError> = (0..g.columns()).map(of_class).collect();
    Tensor::concat_columns(&parts?)
}

/// Conditional adversarial domain adaptation in the middle of a training.
struct Conditioned {
    /// Whether images count by how sure their class is.
    weighs: bool,
    /// The shape of the features, where they are maps.
    maps: Option<Chw>,
    /// The random map; the outer product without one.
    random: Option<RandomMap>,
}

impl ActiveTerm for Conditioned {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let g = Domains {
            source: seen.source_logits().detached().softmax()?,
            target: seen.target_logits().detached().softmax()?,
        };
        let combined = Domains {
            source: self.combine(&seen.features.source, &g.source)?,
            target: self.combine(&seen.features.target, &g.target)?,
        };
        let logits = bench.both(&Part::DOMAIN, &combined.reversed(lambda)?)?;
        Ok(if self.weighs {
            weighted_domain_loss(bench, &logits, &weights(&g)?)?
        } else {
            domain_loss(bench, &logits)?
        })
    }
}

impl Conditioned {
    /// T(f, g).
    fn combine(&self, features: &Tensor, g: &Tensor) -> Result<Tensor, OpError> {
        let f = as_vectors(features, self.maps)?;
        match &self.random {
            Some(map) => map.apply(&f, g),
            None => outer(&f, g),
        }
    }
}

/// 1 + exp(-H) of each row of probabilities, divided by the mean of these over both domains.
fn weights(g: &Domains) -> Result<Domains, OpError> {
    let certainty = |g: &Tensor| g.row_entropies(EPS)?.scale(-1.0)?.exp()?.shift(1.0);
    let (source, target) = (certainty(&g.source)?, certainty(&g.target)?);
    let mean = source.concat_rows(&target)?.mean()?;
    Ok(Domains { source: source.div(&mean)?, target: target.div(&mean)? })
}

/// As [`domain_loss`], where each image has a weight, `[N, 1]` and `[M, 1]`.
fn weighted_domain_loss(
    bench: &mut Bench,
    logits: &Domains,
    weights: &Domains,
) -> Result<Tensor, OpError> {
    let of = |logits: &Tensor, label: u32, weights: &Tensor| {
        let loss = weighted_cross_entropy(logits, label, weights)?;
        Ok(DomainLoss { loss, ..DomainLoss::new(&logits.detached(), label)? })
    };
    let from_source = of(&logits.source, SOURCE, &weights.source)?;
    let from_target = of(&logits.target, TARGET, &weights.target)?;
    reported_sum(bench, &from_source, &from_target)
}

/// The mean over the rows of their weight times -ln of the probability of `label`.
fn weighted_cross_entropy(
    logits: &Tensor,
    label: u32,
    weights: &Tensor,
) -> Result<Tensor, OpError> {
    let own = [SOURCE, TARGET].map(|it| f32::from(u8::from(it == label)));
    let own = logits.constant(own.to_vec(), Dims::Rows(1, 2))?;
    logits.log_softmax()?.mul(&own)?.row_sums()?.mul(weights)?.mean()?.scale(-1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{read, rows, step};
    
    use crate::nn::zoo::{self, ArchSettings};
    use crate::random;

    #[test]
    fn the_outer_product_has_every_product_of_a_row() {
        let (f, g) = (rows([1.0, 2.0, 3.0, 4.0], 2), rows([0.5, 0.25, 0.25, 0.0, 1.0, 0.0], 3));
        let expected = [0.5, 1.0, 0.25, 0.5, 0.25, 0.5, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
        let found = outer(&f, &g).unwrap();
        assert_eq!((found.rows(), found.host()), (2, expected.to_vec()));
    }

    #[test]
    fn random_maps_keep_the_products_of_outer_ones_on_average() {
        let f = rows([1.0, -0.5, 0.25, 0.5, 1.0, -1.0], 3);
        let g = rows([0.75, 0.25, 0.5, 0.5], 2);
        let products = |t: &Tensor| t.matmul(&t.transposed().unwrap()).unwrap().host();
        let expected = products(&outer(&f, &g).unwrap());
        let mut stream = random::stream(0, "test", 0, 0);
        let map = RandomMap::drawn(&mut stream, f.ops(), (3, 2), 100_000).unwrap();
        let found = products(&map.apply(&f, &g).unwrap());
        // The deviation of a mean of so many is about 0.01.
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.06, "{found} and {expected}");
        }
        assert!(expected.iter().any(|it| it.abs() > 0.5), "{expected:?}");
    }

    #[test]
    fn weights_have_the_mean_one_over_both_domains_and_grow_with_certainty() {
        let source = rows([1.0, 0.0, 0.5, 0.5], 2);
        let target = rows([0.9, 0.1], 2);
        let found = weights(&Domains { source, target }).unwrap();
        let found = [found.source.host(), found.target.host()].concat();
        let entropy = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        // exp(-ln 2) is a half.
        let certainties = [2.0, 1.5, 1.0 + (-entropy(0.9)).exp()];
        let mean = certainties.iter().sum::<f64>() / 3.0;
        for (found, certainty) in found.iter().zip(certainties) {
            let off = (f64::from(*found) - certainty / mean).abs();
            assert!(off < 1e-4, "{found} and {}", certainty / mean);
        }
    }

    #[test]
    fn the_weighted_loss_is_a_mean_of_logarithms() {
        let logits = rows([0.5, -1.0, 2.0, 0.25], 2);
        let w = [0.5_f32, 1.25];
        for label in [SOURCE, TARGET] {
            let own = label as usize;
            let loss = |row: usize, z: [f64; 2]| {
                let all = z[0].exp() + z[1].exp();
                f64::from(w[row]) * (all.ln() - z[own])
            };
            let expected = f64::midpoint(loss(0, [0.5, -1.0]), loss(1, [2.0, 0.25]));
            let found = weighted_cross_entropy(&logits, label, &rows(w, 1)).unwrap().value();
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }

    #[test]
    fn the_domain_classifier_takes_in_what_the_map_gives() {
        let takes = |arch: &str, settings: &str| {
            let input = Chw { channels: 3, height: 28, width: 28 };
            let layout = ArchSettings { small_input: true, ..ArchSettings::new(input, 10) };
            let spec = (zoo::find(arch).unwrap().build)(layout);
            let line = format!("method = {{ kind = 'cdan', target = 'other.train'{settings} }}");
            let head = read(&line).unwrap().heads(&spec).remove(0);
            let layers = head.layers.clone();
            spec.with_layers_of(&head.part, head.layers, head.logits).unwrap();
            let Layer::Takes { values } = layers[0].layer else { panic!("{layers:?}") };
            values
        };
        // 1250 and 512 features, for 10 classes.
        assert_eq!(takes("dacnn", ""), 1024);
        assert_eq!(takes("dacnn", ", map = 'outer'"), 12_500);
        assert_eq!(takes("dacnn", ", domain_head = [5, 'relu']"), 1024);
        assert_eq!(takes("squeezenet1_1", ", map = 'outer'"), 5120);
        assert_eq!(takes("resnet18", ", map = 'random', random_values = 77"), 77);
        assert_eq!(takes("dacnn", ", map = 'random', random_values = 4097"), 4097);
    }

    #[test]
    fn maps_are_combined_by_their_means() {
        let maps = Some(Chw { channels: 2, height: 1, width: 2 });
        let conditioned = Conditioned { weighs: false, maps, random: None };
        let (f, g) = (rows([1.0, 3.0, 5.0, 9.0], 4), rows([1.0, 0.0], 2));
        let found = conditioned.combine(&f, &g).unwrap().host();
        assert_eq!(found, [2.0, 7.0, 0.0, 0.0]);
    }

    #[test]
    fn every_map_gives_the_features_a_reversed_gradient() {
        for settings in ["map = 'outer'", "map = 'random', random_values = 32", "entropy = true"] {
            let gradient = |lambda: f64| {
                let kind = "kind = 'cdan', target = 'other.train'";
                let line = format!("method = {{ {kind}, {settings}, lambda = {lambda} }}");
                step(&line, |_| {}).1.remove(0)
            };
            let (without, with) = (gradient(0.0), gradient(1.0));
            assert_eq!(with, gradient(1.0), "{settings}");
            let unlike = without.iter().zip(&with).filter(|(one, other)| one.1 != other.1);
            let unlike: Vec<&str> = unlike.map(|(one, _)| one.0.as_str()).collect();
            assert!(!unlike.is_empty(), "{settings}");
            assert!(unlike.iter().all(|it| it.starts_with("features.")), "{unlike:?}");
        }
    }
}
