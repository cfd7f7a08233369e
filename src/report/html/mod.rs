//! `report.html`: a run as one page that needs neither the network nor any other file. Each section is one of
//! the files beside this one; a section without data is left out. Text of the user is always escaped.

mod boundary;
mod confusion;
mod curves;
mod data;
mod embedding;
mod graph;
mod headline;
mod images;
mod provenance;
mod ranking;
mod section;
mod sweep;
mod table;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use section::Section;

use super::error::Error;
use super::figures;
use super::measured::MeasuredRun;
use super::plot::{escape, stylesheet};
use super::target_labels;
use crate::system;

/// The name of the page.
const NAME: &str = "report.html";

/// The end of every page, by which a complete one is recognised.
const END: &str = "</html>\n";

/// The content security policy: a page may load nothing that it does not contain.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Writes `report.html` into the `folder` of a run. The same folder always gives the same bytes.
///
/// # Errors
/// When the run cannot be read or the page cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf, Error> {
    write_of(&MeasuredRun::read(folder)?)
}

/// Writes `report.html` of a run that was read already.
///
/// # Errors
/// As [`write()`].
pub fn write_of(run: &MeasuredRun) -> Result<PathBuf, Error> {
    let path = run.folder.join(NAME);
    let text = page(run)?;
    system::write_file(&path, text.as_bytes())
        .map_err(|source| Error::Io { path: path.clone(), source })?;
    Ok(path)
}

/// Whether the run in `folder` has a complete page.
pub fn is_whole(folder: &Path) -> bool {
    let end = || -> io::Result<Vec<u8>> {
        let mut file = File::open(folder.join(NAME))?;
        let mut end = Vec::new();
        file.seek(SeekFrom::End(-i64::try_from(END.len()).unwrap_or(0)))?;
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    end().is_ok_and(|end| end == END.as_bytes())
}

/// The page of a run.
///
/// # Errors
/// When a file of it cannot be read.
pub fn page(run: &MeasuredRun) -> Result<String, Error> {
    let figures = figures::all(run)?;
    let sections: Vec<Section> = [
        headline::section(run),
        graph::section(run, &figures)?,
        curves::section(&figures),
        curves::schedules(&figures),
        sweep::section(run, &figures),
        ranking::section(run, &figures)?,
        confusion::section(&figures),
        boundary::section(run, &figures),
        embedding::section(run, &figures),
        images::section(run)?,
        provenance::section(run),
    ]
    .into_iter()
    .flatten()
    .collect();
    Ok(assemble(run, &sections, &data::numbers(&figures)))
}

fn assemble(run: &MeasuredRun, sections: &[Section], numbers: &str) -> String {
    let name = &run.record.provenance.pipeline;
    let title = escape(run.title());
    let mut links = String::new();
    let mut body = String::new();
    for Section { id, title, html } in sections {
        let _ = write!(links, "<li><a href=\"#{id}\">{title}</a></li>");
        let _ = writeln!(
            body,
            "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>{html}</section>"
        );
    }
    let oracle = if run.is_oracle() {
        "<p class=\"oracle\" role=\"note\"><strong>oracle: selected by target labels.</strong> The trials \
         of this sweep were selected by labels of the target, which an unsupervised method does not \
         have. Its scores are no estimate of what the method reaches without them.</p>"
    } else {
        ""
    };
    let labels = target_labels::warning(&run.record.trials);
    let doubts: String = run
        .doubts
        .iter()
        .chain(&labels)
        .map(|doubt| format!("<p class=\"oracle\" role=\"note\">{}</p>", escape(doubt)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"runner {version}\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{colors}\n{css}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the results</a>\n\
         <header><div class=\"bar\"><p class=\"name\">{name}</p>\
         <button type=\"button\" id=\"theme\" aria-pressed=\"false\">Dark theme</button></div>\
         <h1>{title}</h1>{facts}{oracle}{doubts}</header>\n\
         <nav aria-label=\"Sections\"><ul>{links}</ul></nav>\n\
         <main id=\"main\" tabindex=\"-1\">\n{body}</main>\n\
         <footer><p>Written by runner {version} from the files in the run’s folder.</p></footer>\n\
         <script type=\"application/json\" id=\"numbers\">{numbers}</script>\n\
         <script>\n{js}</script>\n</body>\n{END}",
        version = escape(&run.record.provenance.runner),
        colors = stylesheet(),
        css = include_str!("page.css"),
        js = include_str!("page.js"),
        name = escape(name),
        facts = headline::facts(run),
    )
}
