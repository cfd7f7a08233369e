//! Mixed samples as probes: a model shall take a mix of two images for what it takes the image with the larger share for
//! (Hu et al. 2023, "Mixed Samples as Probes for Unsupervised Model Selection in Domain Adaptation").
//!
//! The authors combine both kinds of pairs by the average of a model's two ranks among the candidates. That needs
//! candidates; of one model, [`Agreement::both`] is the mean of both shares, as in skada.

use crate::metrics::share;
use crate::random;

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The paper's share of the image that a mix shall be taken for; its partner has the rest.
pub const SHARE: f32 = 0.55;

/// What a model makes of one mix per image: [`SHARE`] of the image and the rest of its partner.
#[derive(Debug, Clone, Default)]
pub struct Mixes {
    /// The partner of each image, as its place among the images.
    pub partners: Vec<usize>,
    /// The class that each mix is taken for.
    pub answers: Vec<u32>,
}

/// Shares of the mixes that are taken for the class of the image with the larger share, 0 to 1; `None` where there
/// is no such pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Of pairs that are taken for the same class.
    pub intra: Option<f64>,
    /// Of pairs that are taken for different classes.
    pub inter: Option<f64>,
}

impl Agreement {
    /// The mean of both; `None` where one of them is.
    pub fn both(self) -> Option<f64> {
        Some((self.intra? + self.inter?) / 2.0)
    }
}

/// A partner for each of `count` images: the image after it in an order drawn by a fixed seed, the first for the
/// last. No image is its own partner unless it is the only one.
pub fn partners(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    random::stream(0, "mixval", 0, 0).shuffle(&mut order);
    let mut partners = vec![0; count];
    for (at, image) in order.iter().enumerate() {
        partners[*image] = order[(at + 1) % count];
    }
    partners
}

/// How often mixes are taken for the class that the image with the larger share is taken for, which is in
/// `predicted` for each image. A mix of an image with itself does not count.
pub fn agreement(predicted: &[u32], mixes: &Mixes) -> Agreement {
    let (mut pairs, mut alike) = ([0; 2], [0; 2]);
    for (at, partner) in mixes.partners.iter().enumerate().filter(|(at, partner)| at != *partner) {
        let (class, kind) = (predicted[at], usize::from(predicted[at] != predicted[*partner]));
        pairs[kind] += 1;
        alike[kind] += usize::from(class == mixes.answers[at]);
    }
    let of = |kind: usize| (pairs[kind] > 0).then(|| share(alike[kind], pairs[kind]));
    Agreement { intra: of(0), inter: of(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_are_a_permutation_that_leaves_no_image_alone() {
        for count in [2, 3, 7, 500] {
            let partners = partners(count);
            assert!(partners.iter().enumerate().all(|(at, partner)| at != *partner), "{count}");
            let mut sorted = partners.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..count), "{count}");
        }
        assert_ne!(partners(500), (0..500).map(|at| (at + 1) % 500).collect::<Vec<_>>());
        assert_eq!((partners(1), partners(0)), (vec![0], Vec::new()));
    }

    #[test]
    fn a_mix_shall_be_of_the_class_of_the_image_with_the_larger_share() {
        // Pairs of one class: 0 with 1 and 1 with 0. Of two classes: 2 with 3, 3 with 4 and 4 with 2.
        let predicted = [0, 0, 0, 1, 2];
        let partners = vec![1, 0, 3, 4, 2];
        let of = |answers: [u32; 5]| {
            agreement(&predicted, &Mixes { partners: partners.clone(), answers: answers.to_vec() })
        };
        let all = of(predicted);
        assert_eq!((all.intra, all.inter, all.both()), (Some(1.0), Some(1.0), Some(1.0)));
        // The class of the partner is as wrong as any other.
        let some = of([0, 3, 1, 2, 2]);
        assert_eq!((some.intra, some.inter), (Some(0.5), Some(1.0 / 3.0)));
        assert!((some.both().unwrap() - 5.0 / 12.0).abs() < 1e-12);
    }

    #[test]
    fn without_pairs_of_a_kind_there_is_no_number() {
        let mixes = Mixes { partners: partners(4), answers: vec![7; 4] };
        let collapsed = agreement(&[7; 4], &mixes);
        assert_eq!((collapsed.intra, collapsed.inter), (Some(1.0), None));
        assert_eq!(collapsed.both(), None);
        let apart = agreement(&[0, 1, 2, 3], &mixes);
        assert_eq!((apart.intra, apart.inter, apart.both()), (None, Some(0.0), None));
        let alone = agreement(&[7], &Mixes { partners: partners(1), answers: vec![7] });
        assert_eq!(alone, Agreement { intra: None, inter: None });
    }
}
