//! The rows that stages report. They hold numbers; text exists only in a file, where every value has
//! the shortest decimal form that reads back as the same number.
//!
//! Nothing here knows how a number came about or where a file lies.

use serde::{Deserialize, Serialize};

use super::{csv, number};

/// What a stage measured, one row per fact.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Metrics {
    /// The stage measures nothing, and has no file of metrics.
    #[default]
    None,
    /// Counts and moments of a data set.
    Facts(Vec<FactRow>),
    /// Numbers of the layers or tensors of a model.
    Layers(Vec<ModelRow>),
    /// What a training gave, epoch by epoch.
    Training(Vec<TrainingRow>),
    /// Scores of models on data sets.
    Scores(Vec<ScoreRow>),
}

/// A number of one split of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct FactRow {
    /// The split.
    pub split: String,
    /// What the number is: `images`, `class.cat`, `mean.0`.
    pub metric: String,
    /// The number.
    pub value: f64,
}

/// A number of one layer or tensor of a model, or of all together (`total`).
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRow {
    /// The layer, as the network's specification names it.
    pub layer: String,
    /// What the number is: `trainable`, `loaded`.
    pub metric: String,
    /// The number.
    pub value: f64,
}

/// A number that a training gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "[String; 5]", try_from = "[String; 5]")]
pub struct TrainingRow {
    /// Epoch from 1.
    pub epoch: usize,
    /// Steps since training began.
    pub step: usize,
    /// Which images it is of.
    pub split: TrainingSplit,
    /// What the number is: `class_loss`, `accuracy`.
    pub metric: String,
    /// The number.
    pub value: f64,
}

/// Which images a [`TrainingRow`] is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TrainingSplit {
    /// Those that the network learns from.
    Train,
    /// Unlabelled images of a target domain.
    Target,
    /// The labelled images that `validate` names, or names first: what decides goes by these.
    Validate,
    /// Validation again, in the epoch whose weights were kept.
    Best,
    /// Labelled images that `validate` names after the first, which decide nothing. In an artifact the word is the key,
    /// `@validate.1`; the report puts in [`TrainingSplit::RECORDED`] or [`TrainingSplit::ORACLE`] with the name.
    Recorded(String),
}

/// A score of a model on a data set.
///
/// A name such as `@models.0` stands for the reference that the stage has at that key, so that
/// renaming a stage changes no artifact; the report puts the name in.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRow {
    /// The model.
    pub model: String,
    /// The data set.
    pub dataset: String,
    /// What the number is: `accuracy`, `confusion.3.5`.
    pub metric: String,
    /// The number.
    pub value: f64,
}

/// Text that is not the rows of a stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedRows(String);

impl TrainingSplit {
    const ALL: [Self; 4] = [Self::Train, Self::Target, Self::Validate, Self::Best];

    /// What the words of splits begin with that are recorded and decide nothing: `recorded.usps.valid`.
    pub const RECORDED: &str = "recorded.";

    /// What the words of such splits begin with whose labels are of a target: `oracle.mnist_m.test`.
    pub const ORACLE: &str = "oracle.";

    /// What the words of both begin with in an artifact.
    const UNNAMED: &str = "@validate.";

    /// The split that `validate` names at this place, from 1: the one before them is [`TrainingSplit::Validate`].
    pub fn recorded(place: usize) -> Self {
        Self::Recorded(format!("{}{place}", Self::UNNAMED))
    }

    /// Whether the input at `key` of a stage is one that `validate` names after the first.
    pub fn is_recorded(key: &str) -> bool {
        Self::UNNAMED.strip_prefix('@').is_some_and(|start| key.starts_with(start))
    }

    /// What stands for the input at `key` of a stage in the rows of its metrics, when `name` is what the pipeline calls it:
    /// with a word before it where it is one of the splits that decide nothing.
    pub fn word_of(key: &str, name: &str, is_oracle: bool) -> String {
        let start = match (Self::is_recorded(key), is_oracle) {
            (true, true) => Self::ORACLE,
            (true, false) => Self::RECORDED,
            (false, _) => "",
        };
        format!("{start}{name}")
    }

    /// Its name in files.
    pub fn word(&self) -> &str {
        match self {
            Self::Train => "train",
            Self::Target => "target",
            Self::Validate => "validate",
            Self::Best => "best",
            Self::Recorded(word) => word,
        }
    }

    fn named(word: &str) -> Option<Self> {
        let is_recorded = |start: &str| word.strip_prefix(start).is_some_and(|it| !it.is_empty());
        if [Self::RECORDED, Self::ORACLE, Self::UNNAMED].into_iter().any(is_recorded) {
            return Some(Self::Recorded(word.to_owned()));
        }
        Self::ALL.into_iter().find(|split| split.word() == word)
    }
}

impl TrainingRow {
    /// The value of `metric` on a split of the model that a training with these `rows` gave: in the epoch whose
    /// weights were kept, or else in the last one. With `up_to`, what it was after that epoch.
    pub fn of_model(rows: &[Self], split: &str, metric: &str, up_to: Option<usize>) -> Option<f64> {
        // Where the best epoch's weights were kept, it is theirs that count.
        let kept = || Some(rows.iter().rfind(|row| row.split == TrainingSplit::Best)?.epoch);
        let epoch = up_to.or_else(kept);
        let row = rows
            .iter()
            .filter(|row| row.metric == metric && row.split.word() == split)
            .rfind(|row| epoch.is_none_or(|epoch| row.epoch <= epoch))?;
        Some(row.value)
    }
}

impl Metrics {
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Facts(rows) => rows.is_empty(),
            Self::Layers(rows) => rows.is_empty(),
            Self::Training(rows) => rows.is_empty(),
            Self::Scores(rows) => rows.is_empty(),
        }
    }

    /// The rows as CSV; `None` for a stage that measures nothing.
    pub fn csv(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Facts(rows) => Some(written(rows)),
            Self::Layers(rows) => Some(written(rows)),
            Self::Training(rows) => Some(written(rows)),
            Self::Scores(rows) => Some(written(rows)),
        }
    }

    /// Reads what [`Metrics::csv`] wrote. Text with other columns, or none, is [`Metrics::None`].
    ///
    /// # Errors
    /// When it is not CSV, rows differ in width, or a cell is not of its column.
    pub fn read(text: &str) -> Result<Self, MalformedRows> {
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(malformed)?.clone();
        Ok(if header == *FactRow::COLUMNS {
            Self::Facts(read(reader)?)
        } else if header == *ModelRow::COLUMNS {
            Self::Layers(read(reader)?)
        } else if header == *TrainingRow::COLUMNS {
            Self::Training(read(reader)?)
        } else if header == *ScoreRow::COLUMNS {
            Self::Scores(read(reader)?)
        } else {
            Self::None
        })
    }
}

/// One kind of row in a file.
trait MetricRow: Sized {
    /// Its columns.
    const COLUMNS: &'static [&'static str];

    /// Its cells, one for each column.
    fn cells(&self) -> Vec<String>;

    /// The row with these cells; `None` where one of them is not of its column.
    fn of_cells(cells: &[&str]) -> Option<Self>;
}

fn written<R: MetricRow>(rows: &[R]) -> String {
    let header = R::COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    csv::text(std::iter::once(header).chain(rows.iter().map(R::cells)))
}

fn read<R: MetricRow>(mut reader: ::csv::Reader<&[u8]>) -> Result<Vec<R>, MalformedRows> {
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let cells: Vec<&str> = record.iter().collect();
        let row = R::of_cells(&cells);
        rows.push(row.ok_or_else(|| MalformedRows(format!("no such row: {}", cells.join(","))))?);
    }
    Ok(rows)
}

#[expect(clippy::needless_pass_by_value, reason = "a function for `map_err`")]
fn malformed(error: ::csv::Error) -> MalformedRows {
    MalformedRows(error.to_string())
}

impl MetricRow for FactRow {
    const COLUMNS: &'static [&'static str] = &["split", "metric", "value"];

    fn cells(&self) -> Vec<String> {
        vec![self.split.clone(), self.metric.clone(), number(self.value)]
    }

    fn of_cells(cells: &[&str]) -> Option<Self> {
        let &[split, metric, value] = cells else { return None };
        Some(Self { split: split.into(), metric: metric.into(), value: value.parse().ok()? })
    }
}

impl MetricRow for ModelRow {
    const COLUMNS: &'static [&'static str] = &["layer", "metric", "value"];

    fn cells(&self) -> Vec<String> {
        vec![self.layer.clone(), self.metric.clone(), number(self.value)]
    }

    fn of_cells(cells: &[&str]) -> Option<Self> {
        let &[layer, metric, value] = cells else { return None };
        Some(Self { layer: layer.into(), metric: metric.into(), value: value.parse().ok()? })
    }
}

impl MetricRow for TrainingRow {
    const COLUMNS: &'static [&'static str] = &["epoch", "step", "split", "metric", "value"];

    fn cells(&self) -> Vec<String> {
        <[String; 5]>::from(self.clone()).to_vec()
    }

    fn of_cells(cells: &[&str]) -> Option<Self> {
        let &[epoch, step, split, metric, value] = cells else { return None };
        Some(Self {
            epoch: epoch.parse().ok()?,
            step: step.parse().ok()?,
            split: TrainingSplit::named(split)?,
            metric: metric.into(),
            value: value.parse().ok()?,
        })
    }
}

impl MetricRow for ScoreRow {
    const COLUMNS: &'static [&'static str] = &["model", "dataset", "metric", "value"];

    fn cells(&self) -> Vec<String> {
        let words = [&self.model, &self.dataset, &self.metric].map(String::clone);
        words.into_iter().chain([number(self.value)]).collect()
    }

    fn of_cells(cells: &[&str]) -> Option<Self> {
        let &[model, dataset, metric, value] = cells else { return None };
        Some(Self {
            model: model.into(),
            dataset: dataset.into(),
            metric: metric.into(),
            value: value.parse().ok()?,
        })
    }
}

/// A checkpoint holds rows as a file of metrics does: JSON has no NaN.
impl From<TrainingRow> for [String; 5] {
    fn from(row: TrainingRow) -> Self {
        let TrainingRow { epoch, step, split, metric, value } = row;
        [epoch.to_string(), step.to_string(), split.word().to_owned(), metric, number(value)]
    }
}

impl TryFrom<[String; 5]> for TrainingRow {
    type Error = MalformedRows;

    fn try_from(cells: [String; 5]) -> Result<Self, MalformedRows> {
        let found = Self::of_cells(&cells.each_ref().map(String::as_str));
        found.ok_or_else(|| MalformedRows(format!("no such row: {}", cells.join(","))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(split: TrainingSplit, metric: &str, value: f64) -> TrainingRow {
        TrainingRow { epoch: 1, step: 20, split, metric: metric.into(), value }
    }

    #[test]
    fn every_kind_of_rows_is_read_as_it_was_written() {
        let name = String::from;
        let all = [
            Metrics::Facts(vec![FactRow {
                split: name("train"),
                metric: name("class.a \"b\", c"),
                value: 60_000.0,
            }]),
            Metrics::Layers(vec![ModelRow {
                layer: name("conv1"),
                metric: name("trainable"),
                value: 0.1 + 0.2,
            }]),
            Metrics::Training(TrainingSplit::ALL.map(|split| row(split, "loss", 3e-9)).to_vec()),
            Metrics::Training(
                ["@validate.1", "recorded.usps.valid", "oracle.m.test"]
                    .map(|word| row(TrainingSplit::Recorded(word.into()), "loss", 0.5))
                    .to_vec(),
            ),
            Metrics::Scores(vec![ScoreRow {
                model: name("@models.0"),
                dataset: name("@on.1"),
                metric: name("accuracy"),
                value: f64::INFINITY,
            }]),
        ];
        for metrics in all {
            assert_eq!(Metrics::read(&metrics.csv().unwrap()).unwrap(), metrics);
        }
    }

    #[test]
    fn a_count_has_no_fraction_and_a_small_number_no_exponent() {
        let rows =
            vec![row(TrainingSplit::Train, "a", 60_000.0), row(TrainingSplit::Best, "b", 3e-9)];
        assert_eq!(
            Metrics::Training(rows).csv().unwrap(),
            "epoch,step,split,metric,value\n1,20,train,a,60000\n1,20,best,b,0.000000003\n"
        );
    }

    #[test]
    fn a_file_with_other_columns_has_no_metrics_and_a_wrong_cell_is_an_error() {
        assert_eq!(Metrics::None.csv(), None);
        assert_eq!(Metrics::read("").unwrap(), Metrics::None);
        assert_eq!(Metrics::read("part,seconds\nsteps,1\n").unwrap(), Metrics::None);
        for row in [
            "1,2,train,loss,many",
            "-1,2,train,loss,0.5",
            "1,2,trian,loss,0.5",
            "1,2,oracle.,loss,0.5",
            "1,2",
        ] {
            let text = format!("epoch,step,split,metric,value\n{row}\n");
            assert!(Metrics::read(&text).is_err(), "{row}");
        }
    }

    #[test]
    fn a_checkpoint_keeps_numbers_that_json_does_not_have() {
        let json = serde_json::to_string(&row(TrainingSplit::Target, "dev", f64::NAN)).unwrap();
        assert_eq!(json, r#"["1","20","target","dev","NaN"]"#);
        assert!(serde_json::from_str::<TrainingRow>(&json).unwrap().value.is_nan());
        assert!(serde_json::from_str::<TrainingRow>(r#"["1","20","x","dev","1"]"#).is_err());
    }
}
