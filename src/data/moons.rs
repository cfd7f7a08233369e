//! Inter-twinning moons: two half circles in the plane that reach into each other, and the same turned, as Ganin et al. have them
//! ("Domain-Adversarial Training of Neural Networks", JMLR 2016, section 5.1.1).

use std::f64::consts::PI;

use indexmap::IndexMap;

use super::dataset::{Dataset, Images, Provenance, Split};
use crate::random;

/// The classes, by number.
pub const CLASSES: [&str; 2] = ["lower", "upper"];
/// The splits.
pub const SPLITS: [&str; 2] = ["train", "test"];
/// The point that the moons are turned about: each is the other one turned half around it.
const CENTRE: (f64, f64) = (0.5, 0.25);

/// Two moons of points.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoMoons {
    /// Points of each split; half of them of each moon, and of an odd number one more of the lower moon.
    pub samples: usize,
    /// Degrees by which the moons are turned, against the clock.
    pub angle: f64,
    /// Standard deviation of the noise on either coordinate, before they are turned.
    pub noise: f64,
}

impl TwoMoons {
    /// The points of [`SPLITS`], which differ in their noise alone. The upper moon is the half circle of radius 1 about
    /// (0, 0), the lower one that about (1, 0.5), and points lie on them at even distances, as scikit-learn's `make_moons`
    /// has them.
    pub fn generate(&self, seed: u64) -> Dataset {
        let split = |name: &str| (name.to_owned(), self.split(seed, name));
        let classes = CLASSES.map(str::to_owned).to_vec();
        let provenance = Provenance {
            title: "Inter-twinning moons".into(),
            licence: "CC0".into(),
            citation: "Y. Ganin et al., \"Domain-Adversarial Training of Neural Networks\", Journal of Machine \
                       Learning Research 17, 2016, section 5.1.1"
                .into(),
            source: "generated".into(),
        };
        let splits: IndexMap<String, Split> = SPLITS.map(split).into_iter().collect();
        Dataset::plain(classes, 2, splits, vec![provenance])
    }

    #[expect(clippy::cast_possible_truncation, reason = "features are in single precision")]
    fn split(&self, seed: u64, name: &str) -> Split {
        let upper = self.samples / 2;
        let lower = self.samples - upper;
        let on_lower = |t: f64| (1.0 - t.cos(), 0.5 - t.sin());
        let on_upper = |t: f64| (t.cos(), t.sin());
        let points = along(lower).map(on_lower).chain(along(upper).map(on_upper));
        let (sine, cosine) = self.angle.to_radians().sin_cos();
        let purpose = format!("two moons {name}");
        let mut values = Vec::with_capacity(2 * self.samples);
        for (index, (x, y)) in (0..).zip(points) {
            let mut stream = random::stream(seed, &purpose, 0, index);
            let mut noise = || self.noise * f64::from(stream.normal());
            let (x, y) = (x + noise() - CENTRE.0, y + noise() - CENTRE.1);
            let turned = (cosine * x - sine * y + CENTRE.0, sine * x + cosine * y + CENTRE.1);
            values.extend([turned.0 as f32, turned.1 as f32]);
        }
        let labels = [vec![0; lower], vec![1; upper]].concat();
        Split { images: Images::features(2, &values), labels }
    }
}

/// `count` angles at even distances from 0 to half a circle, both ends among them.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53 points")]
fn along(count: usize) -> impl Iterator<Item = f64> {
    let step = PI / count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |at| at as f64 * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moons(samples: usize, angle: f64, noise: f64) -> Split {
        let set = TwoMoons { samples, angle, noise }.generate(3);
        set.check().unwrap();
        assert_eq!(set.splits.keys().collect::<Vec<_>>(), SPLITS);
        set.splits["train"].clone()
    }

    fn points(split: &Split) -> Vec<[f32; 2]> {
        (0..split.len())
            .map(|at| split.images.feature_row(at).collect::<Vec<_>>().try_into().unwrap())
            .collect()
    }

    #[test]
    fn half_a_turn_makes_each_moon_the_other_one() {
        let (plain, turned) = (points(&moons(10, 0.0, 0.0)), points(&moons(10, 180.0, 0.0)));
        for ([x, y], [a, b]) in plain.iter().zip(turned[5..].iter().chain(&turned[..5])) {
            assert!((x - a).abs() < 1e-6 && (y - b).abs() < 1e-6, "{x} {y}, {a} {b}");
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
    fn noise_has_its_deviation_and_is_another_in_every_split() {
        let set = TwoMoons { samples: 2000, angle: 0.0, noise: 0.1 }.generate(0);
        let exact = points(&moons(2000, 0.0, 0.0));
        let noise = |split: &str| -> Vec<f32> {
            let found = points(&set.splits[split]);
            found.iter().zip(&exact).flat_map(|(a, b)| [a[0] - b[0], a[1] - b[1]]).collect()
        };
        let [train, test] = SPLITS.map(noise);
        assert_ne!(train, test);
        let deviation = |noise: &[f32]| {
            (noise.iter().map(|it| it * it).sum::<f32>() / noise.len() as f32).sqrt()
        };
        assert!((deviation(&train) - 0.1).abs() < 0.005, "{}", deviation(&train));
        assert!((deviation(&test) - 0.1).abs() < 0.005, "{}", deviation(&test));
    }

    #[test]
    fn an_odd_point_is_of_the_lower_moon() {
        assert_eq!(moons(5, 35.0, 0.1).labels, [0, 0, 0, 1, 1]);
    }
}
