//! `boundary`: which class a model takes every point of a plane for, where data sets have two features.

use super::rated::{Rated, not_of_predictions};
use super::scored::{Scored, save};
use crate::config::{Keys, Noted, Reference};
use crate::data::Images;
use crate::metrics::number;
use crate::nn::ops::argmax;
use crate::nn::{Backend, EntryLayer, Model};
use crate::progress::Unit;
use crate::stages::{Context, DatasetShape, Described, Failure, Halt, Problem};
use crate::train::Inputs;

/// Points that go through a network at a time; it changes no number.
const BATCH: usize = 1024;
/// How far the plane reaches beyond all points, as a share of what they take up.
const MARGIN: f64 = 0.1;

/// Settings of `boundary`.
#[derive(Debug)]
pub(super) struct Boundary {
    /// Points along either side of the plane.
    resolution: usize,
}

/// The part of the plane that is looked at: the middles of cells, row by row from the bottom.
struct Grid {
    low: [f64; 2],
    cell: [f64; 2],
    resolution: usize,
}

impl Boundary {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("resolution", "points along either side of the plane")]);
        let resolution = keys.count("resolution", 10..=500).or(100_usize);
        Ok(Self { resolution: resolution? })
    }

    /// The data sets that are no points of a plane, as far as that is known.
    pub(super) fn problems(on: &[Reference], inputs: &Described) -> Vec<Problem> {
        on.iter().filter_map(|it| no_plane(&inputs.dataset(&it.key), &it.key)).collect()
    }

    /// Writes `boundary.csv`, the class of every point of the plane by each model, and `points.csv`, where the samples of
    /// the data sets lie in it.
    pub(super) fn save(
        &self,
        context: &Context,
        ops: &Backend,
        models: &[Reference],
        scored: &[Vec<Scored>],
    ) -> Result<(), Halt> {
        for Scored { key, set, .. } in scored.iter().flatten() {
            if let Some(problem) = no_plane(&set.shape(), key) {
                return Err(problem.into());
            }
        }
        let sets = scored.first().map_or(&[][..], Vec::as_slice);
        alike(sets)?;
        let grid = Grid::over(sets, self.resolution);
        let (mut plane, mut points) = (Vec::new(), Vec::new());
        let total = models.len() * grid.resolution.pow(2);
        context.progress.begin("boundary", Some(total as u64), Unit::Images);
        for (reference, sets) in models.iter().zip(scored) {
            let name = format!("@{}", reference.key);
            let mut model = match Rated::open(&context.input(&reference.key).path, ops)? {
                Rated::Network(saved) => saved.model,
                Rated::Predictions(_) => {
                    let reason = "nobody predicted the points of the plane";
                    not_of_predictions(context, &reference.stage, "boundary", reason);
                    continue;
                }
            };
            let Some(first) = sets.first() else { continue };
            let answers = grid.answers(context, &mut model, first)?;
            for (at, (class, confidence)) in answers.into_iter().enumerate() {
                let [x, y] = grid.point(at).map(number);
                let class = class.to_string();
                plane.push([name.clone(), x, y, class, number(f64::from(confidence))]);
            }
            for Scored { key, set, .. } in sets {
                let (split, images) = (set.split(), &set.split().images);
                for (index, label) in split.labels.iter().enumerate() {
                    let [x, y] = place(images, index).map(number);
                    let (index, label) = (index.to_string(), label.to_string());
                    points.push([name.clone(), key.clone(), index, label, x, y]);
                }
            }
        }
        let header = ["model", "x", "y", "predicted", "confidence"];
        save(context, "boundary.csv", header, plane)?;
        let header = ["model", "dataset", "index", "label", "x", "y"];
        Ok(save(context, "points.csv", header, points)?)
    }
}

/// Why a data set has no place in a plane, as far as that is known.
fn no_plane(shape: &DatasetShape, key: &str) -> Option<Problem> {
    let found = match (shape.features, shape.channels?) {
        (true, 2) => return None,
        (true, width) => format!("rows of {width} features"),
        (false, _) => "images".to_owned(),
    };
    let message = format!("`boundary` is of data sets with two features, and these are {found}");
    Some(
        Problem::at(key, message)
            .help("leave `boundary` out; `embedding` brings any features into a plane"),
    )
}

/// Fails where data sets are normalised differently: a point of the plane would be another one to the model in each.
fn alike(sets: &[Scored]) -> Result<(), Failure> {
    let Some((first, others)) = sets.split_first() else { return Ok(()) };
    let wanted = first.set.dataset.normalisation();
    match others.iter().find(|it| it.set.dataset.normalisation() != wanted) {
        None => Ok(()),
        Some(other) => {
            let (one, other) = (&first.key, &other.key);
            let message = format!(
                "`boundary` is drawn for all of `on` in one plane, but {one} and {other} have another mean or std"
            );
            Err(Failure::new(message)
                .help("give the data sets the same numbers for `mean` and `std`, or score each in a stage of its own"))
        }
    }
}

/// The two features of a sample.
fn place(images: &Images, index: usize) -> [f64; 2] {
    let mut row = images.feature_row(index).map(f64::from);
    std::array::from_fn(|_| row.next().unwrap_or_default())
}

impl Grid {
    /// Over all points of `sets`.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    fn over(sets: &[Scored], resolution: usize) -> Self {
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for Scored { set, .. } in sets {
            let images = &set.split().images;
            for point in (0..images.len()).map(|index| place(images, index)) {
                for side in 0..2 {
                    low[side] = low[side].min(point[side]);
                    high[side] = high[side].max(point[side]);
                }
            }
        }
        let mut cell = [1.0; 2];
        for side in 0..2 {
            // Points on a line have a plane around them, too.
            let width = if high[side] > low[side] { high[side] - low[side] } else { 1.0 };
            low[side] -= MARGIN * width;
            cell[side] = (1.0 + 2.0 * MARGIN) * width / resolution as f64;
        }
        Self { low, cell, resolution }
    }

    /// The middle of cell number `at`.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    fn point(&self, at: usize) -> [f64; 2] {
        let place = [at % self.resolution, at / self.resolution];
        std::array::from_fn(|side| self.low[side] + (place[side] as f64 + 0.5) * self.cell[side])
    }

    /// The class of every cell, and how sure the model is of it. Points are normalised as those of `like` are.
    #[expect(clippy::cast_possible_truncation, reason = "features are in single precision")]
    fn answers(
        &self,
        context: &Context,
        model: &mut Model,
        like: &Scored,
    ) -> Result<Vec<(usize, f32)>, Halt> {
        let cells = self.resolution.pow(2);
        let values: Vec<f32> =
            (0..cells).flat_map(|at| self.point(at)).map(|it| it as f32).collect();
        let images = Images::features(2, &values);
        let inputs = Inputs::new(model, &images, &like.set.dataset);
        let all: Vec<usize> = (0..cells).collect();
        let mut answers = Vec::with_capacity(cells);
        for indices in all.chunks(BATCH) {
            context.check_cancelled()?;
            let x = model.take_in(EntryLayer::IMAGES, inputs.batch(indices), indices.len())?;
            let logits = model.logits_from(EntryLayer::IMAGES, &x)?.host();
            answers.extend(logits.chunks_exact(model.spec().classes).map(|row| {
                let best = argmax(row);
                let sum: f32 = row.iter().map(|it| (it - row[best]).exp()).sum();
                (best, 1.0 / sum)
            }));
            context.progress.advance(indices.len() as u64);
        }
        Ok(answers)
    }
}
