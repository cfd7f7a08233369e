//! The points of a sweep: every one of a grid, or those that a sampler draws.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::super::diagnostic::Diagnostic;
use super::super::node::Node;
use super::super::overrides::Assignment;
use super::condition::Condition;
use super::dimension::Dimension;
use super::sampler::{Configuration, Draw, Observation, Sampler};
use super::{MOST_TRIALS, Sweep};

/// Draws in a row that give nothing new before a sampler counts as exhausted.
const MOST_DRAWS: u64 = 1_000;

/// One trial's values.
#[derive(Debug, Clone)]
pub struct Point {
    /// The values in the order of the axes.
    pub assignments: Vec<Assignment>,
    /// The same as plain keys and values.
    pub overrides: Vec<(String, toml::Value)>,
    /// The configuration that it is of: points of one differ in axes that only repeat.
    pub configuration: usize,
}

impl Sweep {
    /// The configurations that can be known before anything ran, with their points, and whether the
    /// results of these decide on more.
    ///
    /// # Errors
    /// When there are too many, too few, or `where` cannot be worked out.
    pub fn points(&self) -> Result<(Vec<Configuration>, Vec<Point>), Diagnostic> {
        match &self.sampler {
            Sampler::Grid => self.grid(),
            Sampler::Tpe { startup, .. } => self.more(&[], (*startup).min(self.trials), &[]),
            Sampler::Random { .. } | Sampler::Sobol { .. } => self.more(&[], self.trials, &[]),
        }
    }

    /// The next configurations after `known`, at most a batch of them, once there are `observations`;
    /// none when the sweep has all.
    ///
    /// # Errors
    /// When `where` cannot be worked out.
    pub fn next(
        &self,
        known: &[Configuration],
        observations: &[Observation],
    ) -> Result<(Vec<Configuration>, Vec<Point>), Diagnostic> {
        let count = self.batch.min(self.trials.saturating_sub(known.len()));
        self.more(known, count, observations)
    }

    /// Configurations at the ends of every dimension, the others at their beginning: to find values
    /// that do not fit before anything runs.
    pub fn corners(&self) -> Vec<Point> {
        let beginning: Vec<f64> =
            self.dimensions.iter().map(|it| it.corners(&self.axes)[0]).collect();
        let mut points = Vec::new();
        for (at, dimension) in self.dimensions.iter().enumerate() {
            for coordinate in dimension.corners(&self.axes) {
                let mut coordinates = beginning.clone();
                coordinates[at] = coordinate;
                points.push(self.point(&coordinates, 0));
            }
        }
        points
    }

    /// Every combination in the order of the axes, the last one fastest.
    fn grid(&self) -> Result<(Vec<Configuration>, Vec<Point>), Diagnostic> {
        let all: Vec<Vec<f64>> =
            self.dimensions.iter().filter_map(|it| it.all(&self.axes)).collect();
        let mut points = Vec::new();
        let mut configurations: IndexMap<String, Configuration> = IndexMap::new();
        for coordinates in product(&all) {
            let mut point = self.point(&coordinates, 0);
            if !self.keeps(&point)? {
                continue;
            }
            let apart = self.apart(&coordinates);
            let entry = configurations.entry(format!("{apart:?}"));
            point.configuration = entry.index();
            entry.or_insert(Configuration { coordinates: apart });
            points.push(point);
        }
        if points.is_empty() {
            return Err(self.nothing_left());
        }
        Ok((configurations.into_values().collect(), points))
    }

    /// `count` configurations more than `known`, drawn one after the other; so many for every combination of
    /// the dimensions that each draw is tried with.
    fn more(
        &self,
        known: &[Configuration],
        count: usize,
        observations: &[Observation],
    ) -> Result<(Vec<Configuration>, Vec<Point>), Diagnostic> {
        let text = |it: &Configuration| self.text(&it.coordinates);
        let mut seen: HashSet<String> = known.iter().map(text).collect();
        let mut configurations = known.to_vec();
        let mut points = Vec::new();
        let mut left: Vec<(Vec<Option<f64>>, usize)> =
            self.each().into_iter().map(|fixed| (fixed, count)).collect();
        let (mut draws, mut fruitless) = (0, 0);
        while left.iter().any(|it| it.1 > 0) && fruitless < MOST_DRAWS {
            let draw = Draw { index: draws, number: configurations.len(), attempt: fruitless };
            let drawn = self.sampler.draw(self, draw, &configurations, observations);
            draws += 1;
            fruitless += 1;
            for (fixed, left) in left.iter_mut().filter(|it| it.1 > 0) {
                let both = fixed.iter().zip(&drawn);
                let coordinates: Vec<f64> = both.map(|(fixed, at)| fixed.unwrap_or(*at)).collect();
                if !seen.insert(self.text(&coordinates)) {
                    continue;
                }
                let mut kept = Vec::new();
                for point in self.repeated(&coordinates, configurations.len()) {
                    if self.keeps(&point)? {
                        kept.push(point);
                    }
                }
                if !kept.is_empty() {
                    points.append(&mut kept);
                    configurations.push(Configuration { coordinates });
                    *left -= 1;
                    fruitless = 0;
                }
                if points.len() > MOST_TRIALS {
                    return Err(self.too_many());
                }
            }
        }
        let new = configurations.split_off(known.len());
        if known.is_empty() && new.is_empty() {
            return Err(self.nothing_left());
        }
        Ok((new, points))
    }

    /// What every draw is tried with: a coordinate for each dimension that sets configurations apart, where
    /// it is not the drawn one.
    fn each(&self) -> Vec<Vec<Option<f64>>> {
        let values = |dimension: &Dimension| {
            let all = match dimension.each {
                true => dimension.all(&self.axes).unwrap_or_default(),
                false => Vec::new(),
            };
            if all.is_empty() { vec![None] } else { all.into_iter().map(Some).collect() }
        };
        let own = self.dimensions.iter().filter(|it| !it.repeats);
        product(&own.map(values).collect::<Vec<_>>())
    }

    /// The values that set one configuration apart, as text.
    fn text(&self, coordinates: &[f64]) -> String {
        let own = self.dimensions.iter().filter(|it| !it.repeats);
        let values = own.zip(coordinates).flat_map(|(it, at)| it.values(*at, &self.axes));
        values.map(|(axis, value)| format!("{axis} {}\n", value.to_toml())).collect()
    }

    /// Those of the coordinates that set configurations apart.
    fn apart(&self, coordinates: &[f64]) -> Vec<f64> {
        let both = self.dimensions.iter().zip(coordinates);
        both.filter(|it| !it.0.repeats).map(|it| *it.1).collect()
    }

    /// The points of a configuration: all combinations of what only repeats it.
    fn repeated(&self, coordinates: &[f64], number: usize) -> Vec<Point> {
        let mut own = coordinates.iter();
        let all: Vec<Vec<f64>> = self
            .dimensions
            .iter()
            .map(|dimension| match dimension.repeats {
                true => dimension.all(&self.axes).unwrap_or_default(),
                false => own.next().into_iter().copied().collect(),
            })
            .collect();
        product(&all).iter().map(|coordinates| self.point(coordinates, number)).collect()
    }

    fn point(&self, coordinates: &[f64], configuration: usize) -> Point {
        let both = self.dimensions.iter().zip(coordinates);
        let mut values: Vec<(usize, Node)> =
            both.flat_map(|(it, at)| it.values(*at, &self.axes)).collect();
        values.sort_by_key(|it| it.0);
        let mut point = Point { assignments: Vec::new(), overrides: Vec::new(), configuration };
        for (number, value) in values {
            let axis = &self.axes[number];
            point.overrides.push((axis.key.clone(), value.to_toml()));
            let (path, span) = (axis.path.clone(), axis.span);
            point.assignments.push(Assignment { path, span, value });
        }
        point
    }

    fn keeps(&self, point: &Point) -> Result<bool, Diagnostic> {
        let values: Vec<&Node> = point.assignments.iter().map(|it| &it.value).collect();
        self.condition.as_ref().map_or(Ok(true), |condition| condition.holds(&values))
    }

    fn nothing_left(&self) -> Diagnostic {
        let text = self.condition.as_ref().map_or("", |it| it.text());
        let span = self.condition.as_ref().map_or(self.axes[0].span, Condition::span);
        Diagnostic::at(span, format!("`where = {text:?}` leaves no trial"), "drops every one")
    }

    fn too_many(&self) -> Diagnostic {
        let message = format!("the sweep has more than {MOST_TRIALS} trials");
        Diagnostic::at(
            self.axes[0].span,
            message,
            "every axis that repeats or is in `each` multiplies them",
        )
    }
}

/// All combinations, the last fastest.
fn product<T: Copy>(all: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut points = vec![Vec::new()];
    for values in all {
        let longer = |point: &Vec<T>| {
            let point = point.clone();
            values.iter().map(move |value| [&point[..], &[*value]].concat()).collect::<Vec<_>>()
        };
        points = points.iter().flat_map(longer).collect();
    }
    points
}
