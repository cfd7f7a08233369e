//! The user's own data set: a folder, an archive or a file, and how it is laid out.

use std::path::{Component, Path, PathBuf};

use super::archive::read_archive;
use crate::config::{Diagnostic, Keys, Noted, Word, words};
use crate::data::outside::{Files, Known};
use crate::data::readers::{DataFormat, Decoding, FeatureNames, Layout, ReadNames};
use crate::data::shown::PathAlias;
use crate::data::unpack::ArchiveKind;
use crate::data::{DataError, Dataset, Provenance, unpack};
use crate::metrics::{FactRow, Metrics};
use crate::stages::source::{Source, find, unchanged};
use crate::stages::{Context, DatasetShape, Failure, Halt, Outcome};
use crate::system;

words! {
    /// What becomes of an image that cannot be decoded.
    enum OnError {
        /// The stage fails.
        Fail = "fail",
        /// The image is left out.
        Skip = "skip",
    }
}

words! {
    /// What becomes of the orientation in an image's EXIF data.
    enum Orientation {
        /// Pixels are taken as they are stored.
        Ignore = "ignore",
        /// The image is turned upright.
        Apply = "apply",
    }
}

words! {
    /// Whether names of folders and lists mean splits.
    enum SplitNames {
        /// Those that are called like splits are splits.
        Auto = "auto",
        /// None is: all images are `train`.
        None = "none",
    }
}

/// Settings of the user's own data set.
#[derive(Debug)]
pub(super) struct Own {
    source: Source,
    format: DataFormat,
    skips_broken: bool,
    /// Whether images are turned as their EXIF data say.
    upright: bool,
    /// As written: a folder in the source or, of a list, where its names begin.
    root: Option<String>,
    layout: Layout,
}

impl Own {
    /// Which files count as images, how folders, lists and archives are laid out, and what labels that count from 1
    /// stand for; of tables, which labels are numbers.
    pub(super) fn revision(&self) -> u32 {
        if self.format == DataFormat::Csv { 3 } else { 2 }
    }

    /// Reads what goes with a `source` of images.
    pub(super) fn parse(
        keys: &mut Keys,
        source: Source,
        format: DataFormat,
    ) -> Result<Self, Noted> {
        let is_list = format == DataFormat::ImageList;
        for (key, has_meaning) in [
            ("on_error", format.has_files()),
            ("orientation", format.has_files()),
            ("splits", format.has_files()),
            ("single_class", format == DataFormat::ImageFolder),
            ("columns", is_list),
        ] {
            if !has_meaning && let Some(node) = keys.unwanted(key) {
                return Err(keys.problem(Diagnostic::at(
                    node.span,
                    format!("`{key}` has no meaning with `format = \"{}\"`", format.word()),
                    "it is about image files",
                )));
            }
        }
        for key in ["features", "labels", "groups"] {
            if !format.may_hold_features()
                && let Some(node) = keys.unwanted(key)
            {
                return Err(keys.problem(Diagnostic::at(
                    node.span,
                    format!("`{key}` has no meaning with `format = \"{}\"`", format.word()),
                    "it is about files of features",
                )));
            }
        }
        keys.about(&[
            ("root", "folder in the source to begin at or, for a list, where its names begin"),
            ("on_error", "whether a broken image fails the stage or is left out and counted"),
            ("orientation", "whether photographs are turned as their EXIF data say"),
            ("splits", "whether folders may be splits; with `none` every folder is a class"),
            ("single_class", "whether the data set may have one class alone"),
            ("columns", "which columns of a list name the image and its label"),
            (
                "features",
                "array of the features, `[N, D]`, or of a table the columns; when left out, the array that is usually called so, and all columns but label and group",
            ),
            (
                "labels",
                "array or column of the labels; when left out, the one that is usually called so, and of a table without names the last column",
            ),
            (
                "groups",
                "array or column that says which group a row is of: every group becomes a split",
            ),
        ]);
        let root = keys
            .string("root")
            .such_that("a folder in the source, or where the names in a list begin", |root| {
                !root.is_empty()
            })
            .optional();
        let (mut skips_broken, mut upright) = (Ok(false), Ok(false));
        let mut layout = Layout::default();
        if format.has_files() {
            let on_error = keys.choice("on_error").or(OnError::Fail);
            skips_broken = on_error.map(|it| it == OnError::Skip);
            let orientation = keys.choice("orientation").or(Orientation::Ignore);
            upright = orientation.map(|it| it == Orientation::Apply);
            layout.ignores_splits = keys.choice("splits").or(SplitNames::Auto)? == SplitNames::None;
        }
        if format == DataFormat::ImageFolder {
            layout.may_be_one_class = keys.boolean("single_class").or(false)?;
        }
        if is_list {
            let columns = keys
                .strings("columns")
                .such_that("the names of two columns: of images, of labels", |names| {
                    names.len() == 2 && names[0] != names[1]
                })
                .limits([("minItems", 2.into()), ("maxItems", 2.into())])
                .optional()?;
            layout.columns = columns.and_then(|names| names.try_into().ok());
        }
        if format.may_hold_features() {
            let features = keys
                .strings("features")
                .such_that("the name of an array, or the names of columns", |names| {
                    !names.is_empty() && names.iter().all(|name| !name.is_empty())
                })
                .limits([("minItems", 1.into())])
                .optional();
            let mut name = |key| {
                let is_name = |name: &String| !name.is_empty();
                keys.string(key).such_that("the name of an array or a column", is_name).optional()
            };
            let (labels, groups) = (name("labels"), name("groups"));
            layout.arrays = FeatureNames {
                features: features?.unwrap_or_default(),
                labels: labels?,
                groups: groups?,
            };
        }
        let (skips_broken, upright) = (skips_broken?, upright?);
        Ok(Self { source, format, skips_broken, upright, root: root?, layout })
    }

    /// Whether the fingerprint needs its files: the images that a list names are not in the list's checksum.
    pub(super) fn is_read_to_plan(&self) -> bool {
        !self.source.has_checksum() || self.format == DataFormat::ImageList
    }

    /// Where it is.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What names of folders and lists say of it, without a look at any image; `None` where these say nothing, or nothing
    /// that can be relied on.
    ///
    /// # Errors
    /// Where they alone say that it cannot be read.
    pub(super) fn glance(&self) -> Result<Option<DatasetShape>, Diagnostic> {
        let Source::File { path: written, span, .. } = &self.source else { return Ok(None) };
        // That nothing is there is said of the plan.
        let Ok(found) = find(written) else { return Ok(None) };
        let Ok((path, layout)) = self.place(&found) else { return Ok(None) };
        let Some(names) = self.format.names(&path, &layout) else { return Ok(None) };
        let ReadNames { classes, splits, empty } = names.map_err(|error| {
            let shown = PathAlias::new(&found, written);
            let error = error.map_texts(|text| shown.text(text));
            let mut problem = Diagnostic::at(*span, error.to_string(), "what is there");
            problem.help = error.help();
            problem
        })?;
        let splits = splits.into_iter().map(|name| (name, None)).collect();
        let shape = DatasetShape { splits: Some(splits), ..DatasetShape::unknown() };
        // Which classes have images is known only once it is known which of these are broken.
        if self.skips_broken {
            return Ok(Some(shape));
        }
        let names = Some(classes);
        let classes = names.as_ref().map(Vec::len);
        Ok(Some(DatasetShape { classes, names, empty, ..shape }))
    }

    /// The digest of every file outside the store that is read, without what `sha256` says already.
    pub(super) fn external(&self, known: &Known) -> Result<Option<String>, Halt> {
        let Some(path) = self.outside()? else { return Ok(None) };
        let Self { format, root, layout, .. } = self;
        let name = format!("{}\n{} {root:?} {layout:?}", path.display(), format.word());
        // The reader's errors are those of the stage, but a folder that is not there is one of the plan.
        let (path, layout) = self.place(&path)?;
        Ok(Some(known.digest(&name, || self.files_at(&path, &layout))?))
    }

    /// The path of the source, if what is there is not known by its `sha256` alone.
    fn outside(&self) -> Result<Option<PathBuf>, Halt> {
        let Source::File { path, sha256, .. } = &self.source else { return Ok(None) };
        if !self.is_read_to_plan() {
            return Ok(None);
        }
        let found = find(path)?;
        Ok((sha256.is_none() || self.is_list(&found)?).then_some(found))
    }

    /// Whether `path` is a list itself, not a folder or an archive with lists.
    fn is_list(&self, path: &Path) -> Result<bool, Halt> {
        let is =
            self.format == DataFormat::ImageList && !path.is_dir() && unpack::kind(path)?.is_none();
        Ok(is)
    }

    /// Whether `path` is to be unpacked before it is read.
    fn is_archive(&self, path: &Path) -> Result<bool, Halt> {
        let kind = unpack::kind(path)?;
        let is_itself = self.format.is_itself_zipped() && kind == Some(ArchiveKind::Zip);
        Ok(kind.is_some() && !is_itself)
    }

    /// Whether it is known before anything ran that it holds features.
    pub(super) fn is_of_features(&self) -> bool {
        self.format.is_of_features() || self.layout.arrays != FeatureNames::default()
    }

    fn files_at(&self, path: &Path, layout: &Layout) -> Result<Files, DataError> {
        if path.is_dir() || (self.format == DataFormat::ImageList && unpack::kind(path)?.is_none())
        {
            return Ok(Files::new(path, self.format.files(path, layout)?));
        }
        Ok(Files::one(path))
    }

    fn files(&self) -> Result<Option<Files>, Halt> {
        let Some(path) = self.outside()? else { return Ok(None) };
        let (path, layout) = self.place(&path)?;
        Ok(Some(self.files_at(&path, &layout)?))
    }

    /// Where in the source at `path` to begin, and how to read what is there. Of an archive it is the
    /// archive, as nothing of it is unpacked yet.
    fn place(&self, path: &Path) -> Result<(PathBuf, Layout), Halt> {
        let mut layout = self.layout.clone();
        let Some(root) = &self.root else { return Ok((path.to_owned(), layout)) };
        let is_list = self.is_list(path)?;
        if !is_list && !path.is_dir() {
            if self.is_archive(path)? {
                return Ok((path.to_owned(), layout));
            }
            let place = self.source.place();
            return Err(Failure::new(format!("`root` has no meaning here: {place} is one file"))
                .help(
                    "`root` is a folder in a folder or archive, or where the names in a list begin",
                )
                .into());
        }
        if is_list || (self.format == DataFormat::ImageList && Path::new(root).is_absolute()) {
            let folder = std::path::absolute(system::at_home(Path::new(root)))
                .map_err(|error| Failure::new(format!("`root = \"{root}\"`: {error}")))?;
            if !folder.is_dir() {
                let folder = folder.display();
                return Err(Failure::new(format!(
                    "`root = \"{root}\"`: there is no folder {folder}"
                ))
                .help(
                    "where the names in a list begin; a path that does not start with / is \
                           taken from the current directory",
                )
                .into());
            }
            layout.names = Some(folder);
            return Ok((path.to_owned(), layout));
        }
        Ok((below(path, root, self.source.place())?, layout))
    }

    /// Reads it.
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let decoding = if self.skips_broken { Decoding::skipping() } else { Decoding::strict() };
        let decoding = decoding.upright(self.upright);
        let set = unchanged(context.external, || self.files(), || self.read(&decoding, context))?;
        let mut outcome = Outcome::of_dataset(&set, context)?;
        if let Metrics::Facts(rows) = &mut outcome.metrics {
            #[expect(clippy::cast_precision_loss, reason = "a count of images")]
            let row = |(split, count): (String, usize)| FactRow {
                split,
                metric: "skipped".into(),
                value: count as f64,
            };
            rows.extend(decoding.skipped().into_iter().map(row));
        }
        Ok(outcome)
    }

    fn read(&self, decoding: &Decoding, context: &Context) -> Result<Dataset, Halt> {
        let path = self.source.locate(context)?;
        let mut set = self.read_at(&path, decoding, context)?;
        if set.provenance.is_empty() {
            let origin = self.source.text();
            set.provenance.push(Provenance {
                title: origin.clone(),
                licence: String::new(),
                citation: String::new(),
                source: origin,
            });
        }
        Ok(set)
    }

    fn read_at(
        &self,
        path: &Path,
        decoding: &Decoding,
        context: &Context,
    ) -> Result<Dataset, Halt> {
        let (format, watch, written) = (self.format, context.watch(), self.source.place());
        if !path.is_dir() && self.is_archive(path)? {
            let set = read_archive(path, written, context, |folder, watch| {
                let layout = Layout { is_archive: true, ..self.layout.clone() };
                let folder = match &self.root {
                    None => folder.to_owned(),
                    Some(root) => below(folder, root, written)?,
                };
                format.read_as(&folder, &layout, decoding, watch)
            })?;
            return Ok(set);
        }
        if self.is_list(path)? && matches!(self.source, Source::Web { .. }) {
            return Err(Failure::new("a list from an address has no images beside it")
                .help("get the list, and write `source = \"file:PATH\"`")
                .into());
        }
        let takes_folders =
            matches!(format, DataFormat::Idx | DataFormat::ImageFolder | DataFormat::Cifar);
        if !path.is_dir() && takes_folders {
            return Err(unpack::no_archive(path, "neither a folder nor an archive").into());
        }
        let (place, layout) = self.place(path)?;
        let shown = PathAlias::new(path, written);
        Ok(shown.during(&watch, |watch| format.read_as(&place, &layout, decoding, watch))?)
    }
}

/// The folder `root` in the source, which is at `folder` and was written as `written`.
fn below(folder: &Path, root: &str, written: &str) -> Result<PathBuf, DataError> {
    let is_inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(root).components().all(is_inside) {
        return Err(DataError::rejected(format!("`root = \"{root}\"` leads out of {written}"))
            .advise("name a folder in it, such as `root = \"photos\"`"));
    }
    let inside = folder.join(root);
    if inside.is_dir() {
        return Ok(inside);
    }
    let mut names: Vec<String> = crate::data::readers::visible_entries(folder)?
        .iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(format!("`{}`", path.file_name()?.to_string_lossy())))
        .collect();
    names.truncate(8);
    let error =
        DataError::rejected(format!("`root = \"{root}\"`: there is no such folder in {written}"));
    Err(match names.is_empty() {
        true => error,
        false => error.advise(format!("its folders are {}", names.join(", "))),
    })
}
