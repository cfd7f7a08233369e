//! `download`: a data set or weights known by name, or the user's own from a file or an address.

use std::path::Path;

use self::archive::read_archive;
use self::own::Own;
use super::pretrained::Pretrained;
use super::source::{Source, find, unchanged};
use super::{
    Context, DatasetShape, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product,
    Stage,
};
use crate::config::{Diagnostic, Keys, Noted, Word};
use crate::data::Dataset;
use crate::data::catalog::weights::Weights;
use crate::data::catalog::{CatalogEntry, Delivery};
use crate::data::fetch::Whole;
use crate::data::outside::{Files, Known};
use crate::data::readers::{DataFormat, Decoding};

mod archive;
mod own;

pub(super) const KIND: Kind = Kind {
    name: "download",
    about: "get a data set or weights by name, or your own from a file or an address",
    measures: Measures::Nothing,
    parse,
};

#[derive(Debug)]
enum Download {
    Known(&'static CatalogEntry),
    Own(Own),
    Weights(Pretrained),
}

/// What a file or folder of the user's own holds: `format = ...`.
#[derive(Clone, Copy)]
enum Holds {
    /// A data set.
    Dataset(DataFormat),
    /// Weights of a network.
    Weights,
}

impl Word for Holds {
    fn all() -> impl Iterator<Item = Self> {
        DataFormat::all().map(Self::Dataset).chain([Self::Weights])
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Dataset(format) => format.word(),
            Self::Weights => "weights",
        }
    }
}

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
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
            Ok(Box::new(Download::Weights(stage)))
        }
        Some("dataset") => {
            keys.about(&[("dataset", "a data set known by name")]);
            let entry = keys.choice("dataset").required();
            for key in ["sha256", "format"] {
                if let Some(node) = keys.unwanted(key) {
                    keys.problem(Diagnostic::at(
                        node.span,
                        format!("`{key}` has no meaning with `dataset`"),
                        "a data set known by name brings its own",
                    ));
                }
            }
            Ok(Box::new(Download::Known(entry?)))
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
            Err(keys.problem(
                Diagnostic::at(span, message, "in this table")
                    .help(format!("`dataset` is one of {}", quoted::<&CatalogEntry>()))
                    .help("`source = \"file:PATH\"` with `format` takes your own images or weights")
                    .help(format!("`weights` is one of {}", quoted::<&Weights>())),
            ))
        }
    }
}

/// Every word for a `T`, in quotes.
fn quoted<T: Word>() -> String {
    T::all().map(|it| format!("\"{}\"", it.word())).collect::<Vec<_>>().join(", ")
}

fn custom(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let span = keys.span();
    keys.about(&[
        ("source", "your own file, folder or address"),
        ("sha256", "what the file must be; required of an address"),
        ("format", "what the source holds"),
    ]);
    let written = keys.peek("source").map_or(span, |node| node.span);
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
    let holds = keys.choice("format").required();
    let (source, sha256) = (source?, sha256?.map(|sum| sum.to_lowercase()));
    let source = match (source.strip_prefix("file:"), sha256) {
        (Some(path), sha256) => {
            // file:///home/me is the long form of file:/home/me.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            Source::File { path: path.to_owned(), sha256, span: written }
        }
        (None, Some(sha256)) => Source::Web { url: source, sha256 },
        (None, None) => {
            return Err(keys.problem(
                Diagnostic::at(span, "missing key `sha256`", "in this table").help(
                    "a download must be checked: add `sha256 = \"...\"`, from `sha256sum FILE`",
                ),
            ));
        }
    };
    Ok(Box::new(match holds? {
        Holds::Dataset(format) => Download::Own(Own::parse(keys, source, format)?),
        Holds::Weights => Download::Weights(Pretrained::custom(keys, defaults, source)?),
    }))
}

impl Stage for Download {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        match self {
            Self::Known(_) => 1,
            Self::Own(own) => own.revision(),
            Self::Weights(weights) => weights.revision(),
        }
    }

    /// Files are unpacked and decoded, not computed with. Weights that are not in a file are drawn, by a logarithm.
    fn computes(&self) -> bool {
        match self {
            Self::Known(_) | Self::Own(_) => false,
            Self::Weights(weights) => weights.draws(),
        }
    }

    /// What the settings do not say: the contents of files without `sha256`.
    fn external(&self, known: &Known, _: &Path) -> Result<Option<String>, Halt> {
        match self {
            Self::Known(_) => Ok(None),
            Self::Own(own) => own.external(known),
            Self::Weights(_) => {
                let Some(files) = self.weights_file()? else { return Ok(None) };
                Ok(Some(known.digest(&format!("{files:?}"), || Ok(files))?))
            }
        }
    }

    fn absent(&self, _: &Path) -> Vec<Diagnostic> {
        self.source()
            .filter(|_| self.is_read_to_plan())
            .and_then(Source::absent)
            .into_iter()
            .collect()
    }

    fn absent_to_build(&self) -> Vec<Diagnostic> {
        self.source()
            .filter(|_| !self.is_read_to_plan())
            .and_then(Source::absent)
            .into_iter()
            .collect()
    }

    fn glance(&self) -> Result<Option<Product>, Diagnostic> {
        match self {
            Self::Own(own) => Ok(own.glance()?.map(Product::Dataset)),
            Self::Known(_) | Self::Weights(_) => Ok(None),
        }
    }

    fn describe(&self, _: &Described) -> Result<Product, Vec<Problem>> {
        let entry = match self {
            Self::Known(entry) => entry,
            Self::Own(own) => {
                let features = own.is_of_features();
                return Ok(Product::Dataset(DatasetShape { features, ..DatasetShape::unknown() }));
            }
            Self::Weights(weights) => return weights.describe().map(Product::Model),
        };
        let splits = entry.splits.iter().map(|(name, count)| ((*name).to_owned(), *count));
        Ok(Product::Dataset(DatasetShape {
            splits: Some(splits.collect()),
            channels: Some(entry.channels),
            size: entry.size,
            features: false,
            classes: Some(entry.classes.len()),
            names: Some(entry.class_names()),
            empty: Vec::new(),
        }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        match self {
            Self::Known(entry) => Outcome::of_dataset(&known(entry, context)?, context),
            Self::Own(own) => own.run(context),
            Self::Weights(weights) => {
                unchanged(context.external, || self.weights_file(), || weights.run(context))
            }
        }
    }
}

impl Download {
    /// Where the user's own file or folder is.
    fn source(&self) -> Option<&Source> {
        match self {
            Self::Known(_) => None,
            Self::Own(own) => Some(own.source()),
            Self::Weights(weights) => weights.source(),
        }
    }

    /// Whether the fingerprint needs the user's own files: a checksum stands for the file that it is of.
    fn is_read_to_plan(&self) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Own(own) => own.is_read_to_plan(),
            Self::Weights(weights) => weights.source().is_some_and(|it| !it.has_checksum()),
        }
    }

    /// The user's own file of weights, if it has no `sha256`.
    fn weights_file(&self) -> Result<Option<Files>, Halt> {
        match self {
            Self::Weights(weights) => match weights.source() {
                Some(Source::File { path, sha256: None, .. }) => Ok(Some(Files::one(find(path)?))),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

fn known(entry: &CatalogEntry, context: &Context) -> Result<Dataset, Halt> {
    let fetcher = context.fetcher();
    let mut set = match &entry.content {
        Delivery::BuiltIn(make) => make()?,
        Delivery::Files { files, sources, format } => {
            let folder = fetcher.files(entry.name, files, sources, *format)?;
            format.read(&folder, &Decoding::strict(), &context.watch())?
        }
        Delivery::Computed { files, sources, compute } => {
            let folder = fetcher.files(entry.name, files, sources, None::<DataFormat>)?;
            let paths: Vec<_> = files.iter().map(|file| folder.join(file.name)).collect();
            compute(&paths, &context.watch())?
        }
        Delivery::Archive { name, checksum, urls, format } => {
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
            let written = archive.display().to_string();
            read_archive(&archive, &written, context, |folder, watch| {
                format.read(folder, &Decoding::strict(), watch)
            })?
        }
    };
    entry.check(&set)?;
    set.classes = entry.class_names();
    set.provenance = vec![entry.provenance()];
    Ok(set)
}
