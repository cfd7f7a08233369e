//! `runner init`: writes a starter pipeline, commented, that checks and runs as it is.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum as _;

use super::Error;
use crate::cli::{InitArgs, Template};
use crate::system;

/// Writes the file that was asked for.
pub fn run(args: &InitArgs) -> Result<ExitCode, Error> {
    let template = match args.template {
        Some(template) => template,
        None => ask()?,
    };
    let file = place(&args.to, template);
    if file.exists() && !args.force {
        return Err(Error::Missing(format!(
            "`{}` is there already; `--force` writes over it",
            file.display()
        )));
    }
    let name = name(&file, template);
    // Commands are to be copied into a shell.
    let typed = system::as_typed(&[file.display().to_string()]);
    let text = text(template)
        .replace("name  = \"starter\"", &format!("name  = \"{name}\""))
        .replace("FILE", &typed);
    let failed =
        |error: io::Error| Error::Machine(format!("cannot write `{}`: {error}", file.display()));
    if let Some(folder) = file.parent() {
        system::create_folder(folder).map_err(failed)?;
    }
    // Without `--force` a file that came in between is not written over either.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!args.force);
    options.open(&file).and_then(|mut to| to.write_all(text.as_bytes())).map_err(failed)?;
    let first = match template {
        Template::OwnImages => "put your images in `photos` as it says, then",
        _ => "next",
    };
    let file = file.display();
    super::print(format!("wrote {file}\n{first}: runner run {typed}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The starter's text.
fn text(template: Template) -> &'static str {
    match template {
        Template::Adapt => include_str!("../starters/adapt.toml"),
        Template::Finetune => include_str!("../starters/finetune.toml"),
        Template::OwnImages => include_str!("../starters/own-images.toml"),
    }
}

/// The template's word on the command line.
fn word(template: Template) -> String {
    let value = template.to_possible_value().expect("no template is hidden");
    value.get_name().to_owned()
}

/// The file itself where `to` names one, else one in that folder.
fn place(to: &Path, template: Template) -> PathBuf {
    if to.extension().is_some_and(|ending| ending == "toml") && !to.is_dir() {
        return to.to_owned();
    }
    let file = format!("{}.toml", word(template));
    if to == Path::new(".") { PathBuf::from(file) } else { to.join(file) }
}

/// The file's name as far as a pipeline may have it.
fn name(file: &Path, template: Template) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let name: String = stem
        .chars()
        .map(|letter| if fits(letter) || letter == '_' { letter } else { '-' })
        .collect();
    let some = name.chars().any(fits);
    if some { name } else { word(template) }
}

/// Asks on the terminal.
fn ask() -> Result<Template, Error> {
    let words = "`--template adapt`, `--template finetune` or `--template own-images`";
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Error::Missing(format!("which template? say {words}")));
    }
    let mut question = io::stderr().lock();
    writeln!(question, "What is the pipeline to do?")?;
    writeln!(question, "  1  adapt       to images of another domain, without their labels")?;
    writeln!(question, "  2  finetune    a trained network to a new task, with few labels")?;
    writeln!(question, "  3  own-images  train on images of your own")?;
    loop {
        write!(question, "1, 2 or 3: ")?;
        question.flush()?;
        let mut answer = String::new();
        if io::stdin().lock().read_line(&mut answer)? == 0 {
            writeln!(question)?;
            return Err(Error::Missing(format!("no template was chosen; say {words}")));
        }
        match answer.trim() {
            "1" | "adapt" => return Ok(Template::Adapt),
            "2" | "finetune" => return Ok(Template::Finetune),
            "3" | "own-images" => return Ok(Template::OwnImages),
            other => writeln!(question, "`{other}` is not one of them.")?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_gets_a_name_that_a_pipeline_may_have() {
        let name = |file: &str| name(Path::new(file), Template::Adapt);
        assert_eq!(name("a/My Digits.toml"), "my-digits");
        assert_eq!(name("ä.toml"), "adapt");
    }
}
