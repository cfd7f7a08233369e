//! Class scores of images, as a program of the user's gives them, on disk: `predictions.json` and
//! `predictions.safetensors`. Which images they are of is known by the bytes of their pixels, so that they are never
//! compared with the labels of others. Knows no model.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::dataset::Images;
use super::error::DataError;
use crate::config::{Word as _, words};

/// Name of the description in the folder of predictions.
pub const DESCRIPTION: &str = "predictions.json";
const VALUES: &str = "predictions.safetensors";
/// The files that predictions are, their description first.
pub const FILES: [&str; 2] = [DESCRIPTION, VALUES];
const FORMAT: u32 = 1;

words! {
    /// What the scores of the classes of an image are.
    pub enum ClassScores {
        /// Any numbers, of which a softmax makes probabilities.
        Logits = "logits",
        /// Probabilities: none below 0, and 1 together.
        Probabilities = "probabilities",
    }
}

/// How far the probabilities of an image may be from 1 together: rounding to a few digits of a CSV.
const SLACK: f64 = 1e-3;

/// Class scores of the images of some splits.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Names of the classes, in the order of the scores.
    pub classes: Vec<String>,
    /// What the scores are.
    pub scores: ClassScores,
    /// Split by split.
    pub splits: Vec<PredictedSplit>,
}

/// Class scores of the images of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictedSplit {
    /// As the stage calls it, `target.test`.
    pub name: String,
    /// Which images they are of: [`Images::digest`].
    pub images: String,
    /// `[N, classes]`, an image after the other.
    pub values: Vec<f32>,
}

/// What the description of predictions says, without the scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictionsOutline {
    /// Names of the classes, in the order of the scores.
    pub classes: Vec<String>,
    /// The splits as the stage calls them.
    pub splits: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    classes: Vec<String>,
    scores: String,
    splits: Vec<DescribedSplit>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DescribedSplit {
    name: String,
    count: usize,
    images: String,
}

impl PredictionsOutline {
    /// Of the predictions in `folder`, as their description has it.
    ///
    /// # Errors
    /// When the description is missing or malformed.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let Description { classes, splits, .. } = describe(folder)?;
        Ok(Self { classes, splits: splits.into_iter().map(|split| split.name).collect() })
    }
}

fn describe(folder: &Path) -> Result<Description, DataError> {
    let path = folder.join(DESCRIPTION);
    let text = fs::read_to_string(&path).map_err(|error| DataError::io(&path, error))?;
    let found: Description = serde_json::from_str(&text)
        .map_err(|error| DataError::malformed(&path, format!("not predictions: {error}")))?;
    if found.format != FORMAT {
        let reason = format!("format {} is not known, only {FORMAT}", found.format);
        return Err(DataError::malformed(&path, reason));
    }
    Ok(found)
}

impl Predictions {
    /// Writes the predictions to `folder`, the same bytes for the same predictions.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), DataError> {
        let classes = self.classes.len();
        let described = |split: &PredictedSplit| DescribedSplit {
            name: split.name.clone(),
            count: split.values.len() / classes,
            images: split.images.clone(),
        };
        let description = Description {
            format: FORMAT,
            classes: self.classes.clone(),
            scores: self.scores.word().to_owned(),
            splits: self.splits.iter().map(described).collect(),
        };
        let text = serde_json::to_string_pretty(&description).expect("a plain value") + "\n";
        let path = folder.join(DESCRIPTION);
        fs::write(&path, text).map_err(|error| DataError::io(&path, error))?;
        let bytes: Vec<Vec<u8>> = (self.splits.iter())
            .map(|split| split.values.iter().flat_map(|it| it.to_le_bytes()).collect())
            .collect();
        let views = self.splits.iter().zip(&bytes).map(|(split, bytes)| {
            let shape = vec![split.values.len() / classes, classes];
            let view = TensorView::new(Dtype::F32, shape, bytes).expect("whole rows");
            (split.name.as_str(), view)
        });
        let bytes = safetensors::serialize(views, None).expect("valid tensors");
        let path = folder.join(VALUES);
        fs::write(&path, bytes).map_err(|error| DataError::io(&path, error))
    }

    /// Reads a folder written by [`Predictions::save`].
    ///
    /// # Errors
    /// When a file is missing or does not hold what it should.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let Description { classes, scores, splits, .. } = describe(folder)?;
        let path = folder.join(VALUES);
        let bytes = fs::read(&path).map_err(|error| DataError::io(&path, error))?;
        let malformed = |reason: String| DataError::malformed(&path, reason);
        let scores = ClassScores::named(&scores)
            .ok_or_else(|| malformed(format!("`{scores}` are no class scores")))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| malformed(error.to_string()))?;
        let read = |split: DescribedSplit| {
            let DescribedSplit { name, count, images } = split;
            let tensor = tensors.tensor(&name).map_err(|error| malformed(error.to_string()))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != [count, classes.len()] {
                let (kind, shape) = (tensor.dtype(), tensor.shape());
                return Err(malformed(format!(
                    "`{name}` is {kind:?} {shape:?}, not F32 [{count}, {}]",
                    classes.len()
                )));
            }
            let values = tensor.data().as_chunks().0.iter().map(|it| f32::from_le_bytes(*it));
            Ok(PredictedSplit { name, images, values: values.collect() })
        };
        let splits = splits.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { classes, scores, splits })
    }

    /// The logits of images, `[N, classes]`, if they are among those that were predicted. The logarithms of
    /// probabilities are logits of theirs.
    pub fn logits(&self, images: &Images) -> Option<Vec<f32>> {
        let digest = images.digest();
        let split = self.splits.iter().find(|split| split.images == digest)?;
        Some(match self.scores {
            ClassScores::Logits => split.values.clone(),
            ClassScores::Probabilities => split.values.iter().map(|it| it.ln()).collect(),
        })
    }
}

impl ClassScores {
    /// What is wrong with scores `[N, classes]`: the first image whose scores are no such scores.
    pub fn fault(self, values: &[f32], classes: usize) -> Option<String> {
        values.chunks_exact(classes).enumerate().find_map(|(row, values)| {
            if let Some(value) = values.iter().find(|it| !it.is_finite()) {
                return Some(format!(
                    "image {row} has the score {value}, which is no finite number"
                ));
            }
            if self == Self::Logits {
                return None;
            }
            if let Some(value) = values.iter().find(|it| **it < 0.0) {
                return Some(format!("image {row} has the probability {value}, below 0"));
            }
            let sum: f64 = values.iter().map(|it| f64::from(*it)).sum();
            ((sum - 1.0).abs() > SLACK)
                .then(|| format!("the probabilities of image {row} add up to {sum:.6}, not 1"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(first: u8) -> Images {
        Images::same(1, (1, 2), vec![first, 2, 3, 4])
    }

    fn predictions(scores: ClassScores, values: Vec<f32>) -> Predictions {
        let split = |name: &str, images: Images, values| PredictedSplit {
            name: name.into(),
            images: images.digest(),
            values,
        };
        let splits =
            vec![split("a.test", images(1), values), split("a.train", images(9), vec![0.0; 4])];
        Predictions { classes: vec!["x".into(), "y".into()], scores, splits }
    }

    #[test]
    fn predictions_come_back_and_know_their_images_by_their_pixels() {
        let folder = tempfile::tempdir().unwrap();
        let made = predictions(ClassScores::Logits, vec![0.5, -1.0, 2.0, 3.0]);
        made.save(folder.path()).unwrap();
        let back = Predictions::open(folder.path()).unwrap();
        assert_eq!(back, made);
        assert_eq!(back.logits(&images(1)), Some(vec![0.5, -1.0, 2.0, 3.0]));
        assert_eq!(back.logits(&images(7)), None);
        assert_eq!(back.logits(&Images::same(1, (2, 1), vec![1, 2, 3, 4])), None, "another shape");
        let outline = PredictionsOutline::read(folder.path()).unwrap();
        assert_eq!(outline.splits, ["a.test", "a.train"]);
    }

    #[test]
    fn probabilities_are_logits_by_their_logarithms() {
        let made = predictions(ClassScores::Probabilities, vec![0.25, 0.75, 1.0, 0.0]);
        let logits = made.logits(&images(1)).unwrap();
        assert_eq!(logits[2..], [0.0, f32::NEG_INFINITY]);
        assert!((f64::from(logits[0]) - 0.25_f64.ln()).abs() < 1e-7);
    }

    #[test]
    fn what_are_no_scores_is_said_with_the_image() {
        use ClassScores::{Logits, Probabilities};
        assert_eq!(Logits.fault(&[5.0, -9.0, 0.0, 0.0], 2), None);
        assert_eq!(Probabilities.fault(&[0.5, 0.5, 0.3333, 0.6667], 2), None);
        for (scores, values, said) in [
            (Logits, [0.0, 0.0, f32::NAN, 0.0], "image 1 has the score NaN"),
            (Probabilities, [1.5, -0.5, 1.0, 0.0], "image 0 has the probability -0.5"),
            (Probabilities, [0.5, 0.5, 0.5, 0.6], "image 1 add up to 1.1"),
        ] {
            let fault = scores.fault(&values, 2).unwrap();
            assert!(fault.contains(said), "{fault}");
        }
    }
}
