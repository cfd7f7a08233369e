//! Which images are of the domain that a stage adapts to, by what they come from: names mean nothing here. Reads
//! no results.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::fingerprint::{self, Ingredient, Ingredients};
use super::pipeline::{Pipeline, PlannedStage};
use crate::config::Reference;
use crate::digest::Recipe;
use crate::stages::{Renamed, handed_on};

/// The key of the images that a stage gives pseudo labels.
const LABELLED: &str = "target";

/// What the stages of a pipeline, or of a trial that ran, read.
#[derive(Debug, Default)]
pub struct Lineage<'a> {
    /// By the name of the stage.
    stages: Vec<(&'a str, Vec<Link<'a>>)>,
    /// For stages that build what another one builds as well, the first of these.
    twins: HashMap<&'a str, &'a str>,
    /// The stages that hand the images of their input on, with the splits that have another name there.
    handed: HashMap<&'a str, Renamed>,
}

/// Something that a stage reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// The key that names it: `train`, `method.target`.
    pub key: &'a str,
    /// The stage that builds it.
    pub stage: &'a str,
    /// The split, where it is one split of a data set.
    pub split: Option<&'a str>,
}

impl<'a> FromIterator<(&'a str, Vec<Link<'a>>)> for Lineage<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, Vec<Link<'a>>)>>(stages: I) -> Self {
        Self { stages: stages.into_iter().collect(), ..Self::default() }
    }
}

impl<'a> Lineage<'a> {
    /// That of a checked pipeline.
    pub fn of(pipeline: &'a Pipeline) -> Self {
        Self::of_stages(&pipeline.stages)
    }

    /// That of stages which name no others. Those of one kind with the same settings and inputs build one thing, whatever
    /// they are called.
    pub fn of_stages(stages: &'a [PlannedStage]) -> Self {
        let mut recipes = HashMap::new();
        for stage in stages {
            recipe(stage, stages, &mut recipes);
        }
        let links = stages.iter().map(|stage| {
            let link = |input: &'a Reference| Link {
                key: &input.key,
                stage: &input.stage,
                split: input.split.as_deref(),
            };
            let links: Vec<Link> = stage.inputs.iter().map(link).collect();
            (stage.name.as_str(), links)
        });
        let handed = stages.iter().filter_map(|stage| {
            let setting = |key: &str| serde_json::to_value(stage.settings.get(key)?).ok();
            Some((stage.name.as_str(), handed_on(stage.stage.kind(), setting)?))
        });
        links.collect::<Self>().with_twins(recipes).with_handed(handed)
    }

    /// The same where these stages hand the images of their input on.
    #[must_use]
    pub fn with_handed(self, handed: impl IntoIterator<Item = (&'a str, Renamed)>) -> Self {
        Self { handed: handed.into_iter().collect(), ..self }
    }

    /// The same where stages with the same thing in `built` build one thing.
    #[must_use]
    pub fn with_twins<T: Eq + Hash>(self, built: impl IntoIterator<Item = (&'a str, T)>) -> Self {
        let built: HashMap<&str, T> = built.into_iter().collect();
        let mut first = HashMap::new();
        let twins = self.stages.iter().filter_map(|(name, _)| {
            let first = *first.entry(built.get(name)?).or_insert(*name);
            (first != *name).then_some((*name, first))
        });
        let twins = twins.collect();
        Self { twins, ..self }
    }

    /// The first of the stages that build what `stage` builds.
    pub fn origin<'s>(&self, stage: &'s str) -> &'s str
    where
        'a: 's,
    {
        self.twins.get(stage).copied().unwrap_or(stage)
    }

    /// What `stage` reads at `key`.
    pub fn link(&self, stage: &str, key: &str) -> Option<Link<'a>> {
        let (_, links) = self.stages.iter().find(|it| it.0 == stage)?;
        links.iter().find(|link| link.key == key).copied()
    }

    /// Whether a method adapts to the domain of these images, a program of the user's does, or a model gives them pseudo
    /// labels.
    pub fn is_hidden(&self, images: &str, split: &str) -> bool {
        self.stages.iter().any(|(stage, _)| self.hides(stage, images, split))
    }

    /// The stage whose target these images are of, as far as `stage` hands their labels on: the targets of the stage and of
    /// all that it is built from count, or those of any other stage where these have none.
    pub fn hidden_from(&self, stage: &str, images: &str, split: &str) -> Option<&'a str> {
        let behind = self.behind(stage, |_, _| true);
        let adapts = behind.iter().any(|it| self.targets(it).next().is_some());
        let all = self.stages.iter().map(|it| it.0);
        // The stage itself is named first.
        let mut concerned = all.clone().filter(|it| *it == stage).chain(all);
        concerned.find(|it| (!adapts || behind.contains(it)) && self.hides(it, images, split))
    }

    /// Whether these images are of a target of `stage`.
    fn hides(&self, stage: &str, images: &str, split: &str) -> bool {
        self.targets(stage).any(|target| self.is_of_domain(stage, target.key, images, split))
    }

    /// What a stage adapts to, or gives pseudo labels.
    fn targets(&self, stage: &str) -> impl Iterator<Item = Link<'a>> {
        let links = self.stages.iter().find(|it| it.0 == stage).map(|it| it.1.clone());
        let is_target = |key: &str| {
            ["method.target", LABELLED, "inputs.target"].contains(&key)
                || key.starts_with("inputs.target_")
        };
        links.into_iter().flatten().filter(move |link| is_target(link.key))
    }

    /// Whether the split `split` of the stage `images` is of the domain that `stage` reads at `key`. A domain is
    /// what its images come from beyond what the images come from that the model learned the classes of; or, where both
    /// come from the same data sets, the splits of these.
    pub fn is_of_domain(&self, stage: &str, key: &str, images: &str, split: &str) -> bool {
        let Some(target) = self.link(stage, key) else { return false };
        if self.origin(target.stage) == self.origin(images) && target.split == Some(split) {
            return true;
        }
        let labelled = self.labelled(stage);
        let source = labelled.map(|source| self.ancestors(source.stage)).unwrap_or_default();
        let from = self.ancestors(images);
        let behind = self.ancestors(target.stage);
        if behind.iter().any(|it| !source.contains(it) && from.contains(it)) {
            return true;
        }
        let Some((labelled, target_split)) = labelled.zip(target.split) else { return false };
        let Some(source_split) = labelled.split else { return false };
        let target = self.roots(target.stage, target_split);
        if target.iter().any(|(stage, _)| !source.contains(stage)) {
            return false;
        }
        let source = self.roots(labelled.stage, source_split);
        let from = self.roots(images, split);
        target.iter().any(|it| !source.contains(it) && from.contains(it))
    }

    /// The origins and splits that the images of a split are, through all stages that hand images on.
    fn roots(&self, stage: &str, split: &str) -> HashSet<(&'a str, String)> {
        let (mut seen, mut found) = (HashSet::new(), HashSet::new());
        let mut left = vec![(stage, split.to_owned())];
        while let Some((name, split)) = left.pop() {
            let Some((stage, links)) = self.stages.iter().find(|it| it.0 == name) else { continue };
            // A record that was written by hand may lead in a circle.
            if !seen.insert((*stage, split.clone())) {
                continue;
            }
            let at = |key: &str| links.iter().find(|it| it.key == key);
            match (at(LABELLED), at("input"), self.handed.get(stage)) {
                (Some(images), ..) => {
                    left.push((images.stage, images.split.map_or(split, str::to_owned)));
                }
                (None, Some(input), Some(renamed)) => {
                    let renamed = renamed.iter().find(|(name, _)| *name == split);
                    let from = renamed.map_or_else(|| vec![split], |(_, from)| from.clone());
                    left.extend(from.into_iter().map(|it| (input.stage, it)));
                }
                _ => {
                    found.insert((self.origin(stage), split));
                }
            }
        }
        found
    }

    /// The stage that gave the images of `stage` pseudo labels, if their labels are such.
    pub fn pseudo_labels(&self, stage: &str) -> Option<&'a str> {
        let mut stage = stage;
        for _ in &self.stages {
            let (name, links) = self.stages.iter().find(|it| it.0 == stage)?;
            if links.iter().any(|it| it.key == LABELLED) {
                return Some(name);
            }
            self.handed.get(name)?;
            stage = links.iter().find(|it| it.key == "input")?.stage;
        }
        None
    }

    /// The labelled images that the model of a stage learned from: those of the stage itself, or of the
    /// stage that its model comes from; behind pseudo labels, those of the model that gave them. `None` for a model that
    /// came in with its weights.
    pub fn labelled(&self, stage: &str) -> Option<Link<'a>> {
        let mut stage = stage;
        // A record that was written by hand may lead in a circle.
        for _ in &self.stages {
            let train = self.link(stage, "train").or(self.link(stage, "inputs.source"));
            stage = match train {
                Some(train) => match self.pseudo_labels(train.stage) {
                    Some(labels) => labels,
                    None => return Some(train),
                },
                None => self.link(stage, "model").or(self.link(stage, "inputs.model"))?.stage,
            };
        }
        None
    }

    /// The origins of a stage, and of all stages that it is built from. What a network makes of images comes from these,
    /// and not from what the network learned from.
    fn ancestors(&self, stage: &str) -> HashSet<&'a str> {
        let all = self
            .behind(stage, |links, key| key != "model" || links.iter().all(|it| it.key != "input"));
        all.into_iter().map(|it| self.origin(it)).collect()
    }

    /// A stage of images, and all stages of images that it is built from: what a model that labels them is trained
    /// on is not among them.
    pub fn images_behind(&self, stage: &str) -> HashSet<&'a str> {
        self.behind(stage, |_, key| key != "model")
    }

    /// A stage, and all stages that lead to it through these keys.
    fn behind(&self, stage: &str, follows: impl Fn(&[Link], &str) -> bool) -> HashSet<&'a str> {
        let mut found = HashSet::new();
        let mut left = vec![stage];
        while let Some(name) = left.pop() {
            let Some((stage, links)) = self.stages.iter().find(|it| it.0 == name) else { continue };
            if found.insert(*stage) {
                let followed = links.iter().filter(|it| follows(links, it.key));
                left.extend(followed.map(|link| link.stage));
            }
        }
        found
    }
}

/// What `stage` builds, as far as that follows from the pipeline, and what all stages build that lead to it.
fn recipe<'a>(
    stage: &'a PlannedStage,
    stages: &'a [PlannedStage],
    known: &mut HashMap<&'a str, Recipe>,
) -> Recipe {
    if let Some(recipe) = known.get(stage.name.as_str()) {
        return *recipe;
    }
    let mut inputs = Vec::new();
    for input in &stage.inputs {
        let Some(built) = stages.iter().find(|it| it.name == input.stage) else { continue };
        inputs.push(Ingredient {
            key: input.key.clone(),
            split: input.split.clone(),
            digest: recipe(built, stages, known).0,
        });
    }
    let ingredients = Ingredients {
        kind: stage.stage.kind(),
        revision: stage.stage.revision(),
        settings: &stage.settings,
        external: None,
        backend: None,
    };
    let recipe = fingerprint::recipe(ingredients, &inputs);
    known.insert(&stage.name, recipe);
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link<'a>(key: &'a str, stage: &'a str, split: Option<&'a str>) -> Link<'a> {
        Link { key, stage, split }
    }

    #[test]
    fn a_domain_is_what_its_images_come_from_beyond_those_of_the_source() {
        let lineage: Lineage = [
            ("mnist", vec![]),
            ("mnist_m", vec![link("input", "mnist", None)]),
            ("source", vec![link("input", "mnist", None)]),
            ("target", vec![link("input", "mnist_m", None)]),
            ("resized", vec![link("input", "mnist_m", None)]),
            ("net", vec![link("train", "source", Some("train"))]),
            (
                "tuned",
                vec![link("model", "net", None), link("method.target", "target", Some("train"))],
            ),
        ]
        .into_iter()
        .collect();
        let of = |images| lineage.is_of_domain("tuned", "method.target", images, "test");
        assert_eq!(["target", "resized", "mnist_m"].map(of), [true; 3]);
        assert_eq!(["source", "mnist", "nowhere"].map(of), [false; 3]);
        assert!(lineage.is_hidden("target", "valid") && !lineage.is_hidden("source", "train"));
        let labels: Lineage = [
            ("mnist", vec![]),
            ("target", vec![]),
            ("net", vec![link("train", "mnist", Some("train"))]),
            ("labels", vec![link("model", "net", None), link("target", "target", Some("train"))]),
        ]
        .into_iter()
        .collect();
        assert!(labels.is_hidden("target", "valid") && !labels.is_hidden("mnist", "valid"));
        let source_only = lineage.is_of_domain("net", "method.target", "target", "test");
        assert!(!source_only, "it adapts to nothing");
    }

    #[test]
    fn features_are_of_the_domain_of_their_images_whatever_their_network_learned_from() {
        let lineage: Lineage = [
            ("amazon", vec![]),
            ("webcam", vec![]),
            ("net", vec![link("train", "amazon", None), link("method.target", "webcam", None)]),
            ("a", vec![link("input", "amazon", None), link("model", "net", None)]),
            ("w", vec![link("input", "webcam", None), link("model", "net", None)]),
            ("tuned", vec![link("train", "a", None), link("method.target", "w", None)]),
        ]
        .into_iter()
        .collect();
        let of = |images| lineage.is_of_domain("tuned", "method.target", images, "test");
        assert_eq!(["w", "webcam", "a", "amazon"].map(of), [true, true, false, false]);
    }

    #[test]
    fn what_a_program_adapts_to_is_hidden_and_its_own_target_counts_before_that_of_others() {
        let lineage: Lineage = [
            ("mnist", vec![]),
            ("mnist_m", vec![link("input", "mnist", None)]),
            (
                "own",
                vec![link("inputs.source", "mnist", None), link("inputs.target", "mnist_m", None)],
            ),
            ("back", vec![link("train", "mnist_m", None), link("method.target", "usps", None)]),
            ("usps", vec![]),
            ("other", vec![link("inputs.all", "usps", None)]),
        ]
        .into_iter()
        .collect();
        assert!(lineage.is_hidden("mnist_m", "train") && lineage.is_hidden("usps", "train"));
        assert_eq!(lineage.hidden_from("own", "mnist_m", "train"), Some("own"));
        assert_eq!(lineage.hidden_from("own", "mnist", "train"), None);
        assert_eq!(
            lineage.hidden_from("own", "usps", "train"),
            None,
            "it adapts to something else"
        );
        assert_eq!(lineage.hidden_from("other", "usps", "train"), Some("back"));
    }

    #[test]
    fn stages_that_build_one_thing_are_one_origin_whatever_they_are_called() {
        let stages = || -> Lineage<'static> {
            [
                ("source", vec![]),
                ("photos", vec![]),
                ("again", vec![]),
                ("target", vec![link("input", "photos", None)]),
                ("seen", vec![link("input", "again", None)]),
                ("net", vec![link("train", "source", None), link("method.target", "target", None)]),
            ]
            .into_iter()
            .collect()
        };
        assert!(!stages().is_hidden("seen", "test"), "nothing says that they are one");
        let lineage = stages().with_twins([("source", 1), ("photos", 2), ("again", 2)]);
        assert!(lineage.is_hidden("seen", "test") && lineage.is_hidden("again", "test"));
        assert!(!lineage.is_hidden("source", "test"));
        assert_eq!([lineage.origin("again"), lineage.origin("source")], ["photos", "source"]);
        // A second name of the source is none of the target.
        let same = stages().with_twins([("source", 1), ("photos", 2), ("again", 1)]);
        assert!(!same.is_hidden("again", "test") && same.is_hidden("photos", "test"));
    }

    #[test]
    fn two_splits_of_one_data_set_are_told_apart_by_the_split() {
        let lineage: Lineage = [
            ("photos", vec![]),
            (
                "net",
                vec![
                    link("train", "photos", Some("train")),
                    link("target_scores.on", "photos", Some("test")),
                ],
            ),
        ]
        .into_iter()
        .collect();
        let of = |split| lineage.is_of_domain("net", "target_scores.on", "photos", split);
        assert_eq!([of("test"), of("train")], [true, false]);
    }
}
