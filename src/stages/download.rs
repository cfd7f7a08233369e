//! `download`: a data set or weights known by name, or the user's own from a file or an address.

use std::path::{Path, PathBuf};

use super::pretrained::Pretrained;
use super::{
    Context, DatasetShape, Defaults, Described, Failure, Kind, Outcome, Problem, Product, Stage,
};
use crate::config::{Diagnostic, Keys};
use crate::data::catalog::{self, Content, Entry};
use crate::data::fetch::{Fetcher, Whole};
use crate::data::readers::{Broken, Format};
use crate::data::{Dataset, Error, Provenance, Watch, checksum, unpack};
use crate::system;

pub(super) const KIND: Kind = Kind {
    name: "download",
    about: "get a data set or weights by name, or your own from a file or an address",
    scores: false,
    parse,
};

#[derive(Debug)]
enum Download {
    Known(&'static Entry),
    Custom { source: Source, format: Format, skips_broken: bool },
    Weights(Pretrained),
}

/// Where a file of the user's own is.
#[derive(Debug)]
pub(super) enum Source {
    /// As written after `file:`; its checksum, if given.
    File { path: String, sha256: Option<String> },
    /// An address, and what must come from it.
    Web { url: String, sha256: String },
}

/// The word of `format = ...` for weights.
const WEIGHTS: &str = "weights";

/// The words of `format = ...`.
const FORMATS: &[&str] = &["idx", "image-folder", "image-list", "safetensors", "cifar", WEIGHTS];

fn parse(keys: &mut Keys, defaults: &Defaults) -> Option<Box<dyn Stage>> {
    let span = keys.span();
    const ORIGINS: [&str; 3] = ["dataset", "source", "weights"];
    match keys.only_one(&ORIGINS) {
        Some("weights") => {
            for key in ["sha256", "format"] {
                if let Some(node) = keys.unwanted(key) {
                    keys.problem(Diagnostic::at(
                        node.span,
                        format!("`{key}` has no meaning with `weights`"),
                        "weights known by name bring their own",
                    ));
                }
            }
            let stage = Pretrained::known(keys, defaults)?;
            Some(Box::new(Download::Weights(stage)))
        }
        Some("dataset") => {
            let name = keys.choice("dataset", catalog::NAMES).required();
            for key in ["sha256", "format"] {
                if let Some(node) = keys.unwanted(key) {
                    keys.problem(Diagnostic::at(
                        node.span,
                        format!("`{key}` has no meaning with `dataset`"),
                        "a data set known by name brings its own",
                    ));
                }
            }
            let entry = catalog::find(name?)?;
            Some(Box::new(Download::Known(entry)))
        }
        Some(_) => custom(keys, defaults),
        None => {
            let some = ORIGINS.iter().any(|key| keys.has(key));
            // Noted as known, so that they are not reported a second time.
            for key in ["dataset", "source", "weights", "sha256", "format"] {
                keys.node(key);
            }
            let message = if some {
                "`dataset`, `source` and `weights` exclude each other"
            } else {
                "missing key `dataset`, `source` or `weights`"
            };
            let names: Vec<String> =
                catalog::NAMES.iter().map(|name| format!("\"{name}\"")).collect();
            keys.problem(
                Diagnostic::at(span, message, "in this table")
                    .help(format!("`dataset` is one of {}", names.join(", ")))
                    .help("`source = \"file:PATH\"` with `format` takes your own images or weights")
                    .help(format!("`weights` is one of {}", known_weights())),
            );
            None
        }
    }
}

fn known_weights() -> String {
    let names = catalog::weights::NAMES.iter().map(|name| format!("\"{name}\""));
    names.collect::<Vec<_>>().join(", ")
}

fn custom(keys: &mut Keys, defaults: &Defaults) -> Option<Box<dyn Stage>> {
    let span = keys.span();
    let source = keys
        .string("source")
        .such_that("\"file:PATH\", or an address starting with https:// or http://", |source| {
            let long =
                |start: &str| source.strip_prefix(start).is_some_and(|rest| !rest.is_empty());
            long("file:") || long("https://") || long("http://")
        })
        .required();
    let sha256 = keys
        .string("sha256")
        .such_that("64 hexadecimal digits", |sum| {
            sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit())
        })
        .optional();
    let format = keys.choice("format", FORMATS).required();
    let (source, sha256) = (source?, sha256?.map(|sum| sum.to_lowercase()));
    let source = match (source.strip_prefix("file:"), sha256) {
        (Some(path), sha256) => {
            // file:///home/me is the long form of file:/home/me.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            Source::File { path: path.to_owned(), sha256 }
        }
        (None, Some(sha256)) => Source::Web { url: source, sha256 },
        (None, None) => {
            keys.problem(
                Diagnostic::at(span, "missing key `sha256`", "in this table").help(
                    "a download must be checked: add `sha256 = \"...\"`, from `sha256sum FILE`",
                ),
            );
            return None;
        }
    };
    if format == Some(WEIGHTS) {
        let stage = Pretrained::custom(keys, defaults, source)?;
        return Some(Box::new(Download::Weights(stage)));
    }
    let format = Format::named(format?)?;
    let mut skips_broken = Some(false);
    if format.has_files() {
        let word = keys.choice("on_error", &["fail", "skip"]).or("fail");
        skips_broken = word.map(|word| word == "skip");
    } else if let Some(node) = keys.unwanted("on_error") {
        keys.problem(Diagnostic::at(
            node.span,
            format!("`on_error` has no meaning with `format = \"{}\"`", format.word()),
            "it is about image files",
        ));
        return None;
    }
    Some(Box::new(Download::Custom { source, format, skips_broken: skips_broken? }))
}

impl Stage for Download {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    /// What the settings do not say: the contents of a file or folder without `sha256`.
    fn external(&self) -> Result<Option<String>, Failure> {
        let source = match self {
            Self::Known(_) => None,
            Self::Custom { source, .. } => Some(source),
            Self::Weights(weights) => weights.source(),
        };
        match source {
            Some(Source::File { path, sha256: None }) => Ok(Some(checksum::of_tree(&find(path)?)?)),
            _ => Ok(None),
        }
    }

    fn describe(&self, _: &Described) -> Result<Product, Vec<Problem>> {
        let entry = match self {
            Self::Known(entry) => entry,
            Self::Custom { .. } => return Ok(Product::Dataset(DatasetShape::unknown())),
            Self::Weights(weights) => return weights.describe().map(Product::Model),
        };
        let splits = entry.splits.iter().map(|(name, count)| ((*name).to_owned(), *count));
        Ok(Product::Dataset(DatasetShape {
            splits: Some(splits.collect()),
            channels: Some(entry.channels),
            size: entry.size,
            classes: Some(entry.classes.len()),
        }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let set = match self {
            Self::Known(entry) => known(entry, context)?,
            Self::Custom { source, format, skips_broken } => {
                let broken = if *skips_broken { Broken::skips() } else { Broken::fails() };
                let set = own(source, *format, &broken, context)?;
                let mut outcome = Outcome::of_dataset(&set, context)?;
                for (split, count) in broken.skipped() {
                    let count = count.to_string();
                    outcome.metrics.push([split, "skipped".to_owned(), count]);
                }
                return Ok(outcome);
            }
            Self::Weights(weights) => return weights.run(context),
        };
        Outcome::of_dataset(&set, context)
    }
}

fn known(entry: &Entry, context: &Context) -> Result<Dataset, Failure> {
    let watch = context.watch();
    let fetcher = Fetcher { folder: context.downloads, offline: context.offline, watch };
    let mut set = match &entry.content {
        Content::BuiltIn(make) => make()?,
        Content::Files { files, sources, format } => {
            let folder = fetcher.files(entry.name, files, sources, *format)?;
            format.read(&folder, &Broken::fails(), &watch)?
        }
        Content::Archive { name, checksum, urls, format } => {
            let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
            let instead = format!(
                "`format = \"{}\"` in place of `dataset = \"{}\"`",
                format.word(),
                entry.name
            );
            let archive = fetcher.whole(&Whole {
                name: entry.name,
                file: name,
                checksum: *checksum,
                urls: &urls,
                packages: &[],
                instead: &instead,
            })?;
            read(&archive, *format, &Broken::fails(), context.downloads, &watch)?
        }
    };
    entry.check(&set)?;
    set.classes = entry.class_names();
    set.provenance = vec![entry.provenance()];
    Ok(set)
}

fn own(
    source: &Source,
    format: Format,
    broken: &Broken,
    context: &Context,
) -> Result<Dataset, Failure> {
    let path = source.locate(context)?;
    let mut set = read(&path, format, broken, context.downloads, &context.watch())?;
    if set.provenance.is_empty() {
        let origin = source.text();
        set.provenance.push(Provenance {
            title: origin.clone(),
            licence: String::new(),
            citation: String::new(),
            source: origin,
        });
    }
    Ok(set)
}

impl Source {
    /// As the user wrote it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::File { path, .. } => format!("file:{path}"),
            Self::Web { url, .. } => url.clone(),
        }
    }

    /// The path of the file or folder, checked, fetched if need be.
    pub(super) fn locate(&self, context: &Context) -> Result<PathBuf, Failure> {
        match self {
            Self::File { path, sha256 } => {
                let found = find(path)?;
                if let Some(sha256) = sha256 {
                    verify(&found, sha256)?;
                }
                Ok(found)
            }
            Self::Web { url, sha256 } => {
                let watch = context.watch();
                let fetcher =
                    Fetcher { folder: context.downloads, offline: context.offline, watch };
                Ok(fetcher.url(url, sha256)?)
            }
        }
    }
}

/// The absolute path of a `file:` source that exists.
fn find(path: &str) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(system::at_home(Path::new(path)))
        .map_err(|error| Failure::new(format!("`source = \"file:{path}\"`: {error}")))?;
    if absolute.exists() {
        return Ok(absolute);
    }
    Err(Failure::new(format!("`source = \"file:{path}\"`: there is no {}", absolute.display()))
        .help("a path that does not start with / is taken from the current directory"))
}

fn verify(path: &Path, sha256: &str) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::new(format!(
            "`sha256` is of a file, but {} is a folder",
            path.display()
        ))
        .help("leave `sha256` out: changes to the folder's files are noticed anyway"));
    }
    let io = |error| Failure::from(Error::io(path, error));
    let found = checksum::of_reader(std::fs::File::open(path).map_err(io)?).map_err(io)?;
    if found == *sha256 {
        return Ok(());
    }
    Err(Failure::new(format!("{}: its sha256 is {found}, not {sha256}", path.display()))
        .help("look whether it is the right file, whole; or correct `sha256`"))
}

/// Reads a folder, an archive, or a file that a format takes as it is.
fn read(
    path: &Path,
    format: Format,
    broken: &Broken,
    scratch: &Path,
    watch: &Watch,
) -> Result<Dataset, Error> {
    if path.is_dir() {
        return format.read(path, broken, watch);
    }
    if unpack::kind(path)?.is_none() {
        return match format {
            Format::Safetensors | Format::ImageList => format.read(path, broken, watch),
            Format::Idx | Format::ImageFolder | Format::Cifar => Err(Error::malformed(
                path,
                "neither a folder nor an archive (.tar.gz, .tgz, .tar, .zip)",
            )),
        };
    }
    std::fs::create_dir_all(scratch).map_err(|error| Error::io(scratch, error))?;
    let folder = tempfile::tempdir_in(scratch).map_err(|error| Error::io(scratch, error))?;
    unpack::unpack(path, folder.path(), unpack::Limits::default(), watch)?;
    format.read(folder.path(), broken, watch).map_err(|error| {
        error.with_path_replaced(&folder.path().display().to_string(), &path.display().to_string())
    })
}
