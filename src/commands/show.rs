//! `runner show FILE`: prints a pipeline with every default and override filled in, or one of its models.

use std::process::ExitCode;

use super::Error;
use crate::cli::ShowArgs;
use crate::config::diagnostic::suggest;
use crate::nn::summary;
use crate::plan::pipeline::Pipeline;
use crate::plan::{print, resolve};
use crate::stages::{ModelShape, Product};

/// Prints the resolved pipeline as TOML, or the layers of a model.
pub fn run(args: &ShowArgs) -> Result<ExitCode, Error> {
    let pipeline = resolve::load(&args.file.file, &args.file.set).map_err(Box::new)?;
    let text = match &args.model {
        Some(stage) => model(&pipeline, stage)?,
        None => print::to_toml(&pipeline.resolved),
    };
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn model(pipeline: &Pipeline, name: &str) -> Result<String, Error> {
    let Some(stage) = pipeline.stages.iter().find(|stage| stage.name == name) else {
        let known = pipeline.stages.iter().map(|stage| stage.name.as_str());
        let help = suggest(name, known).unwrap_or_default();
        return Err(Error::Missing(format!("there is no stage `{name}`; {help}")));
    };
    let Product::Model(shape) = &stage.product else {
        let made = stage.product.name();
        return Err(Error::Missing(format!("stage `{name}` makes {made}, not a model")));
    };
    layers(shape)
}

fn layers(shape: &ModelShape) -> Result<String, Error> {
    let unknown = "the network is known only once the data were read: its input is not declared";
    let spec = shape.spec.as_ref().ok_or_else(|| Error::Missing(unknown.into()))?;
    let rows = summary::table(&spec.only(&shape.heads))
        .map_err(|error| Error::Missing(error.to_string()))?;
    let mut lines = vec![["layer", "what", "output", "parameters", "learns"].map(str::to_owned)];
    let (mut learning, mut all) = (0, 0);
    for row in rows {
        let count: usize = row.parameters.iter().map(|(_, len)| len).sum();
        let learns = |name: &String| !shape.frozen.contains(name);
        let thawed: usize =
            row.parameters.iter().filter(|(name, _)| learns(name)).map(|(_, len)| len).sum();
        learning += thawed;
        all += count;
        let state = match (count, thawed) {
            (0, _) => "",
            (_, 0) => "frozen",
            (count, thawed) if count == thawed => "yes",
            _ => "partly",
        };
        lines.push([row.name, row.about, row.output, count.to_string(), state.to_owned()]);
    }
    let width = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = format!("{} for {} images, {} classes\n\n", spec.arch, spec.input, spec.classes);
    for [name, about, output, count, state] in &lines {
        let line = format!(
            "{name:<0$}  {about:<1$}  {output:>2$}  {count:>3$}  {state}",
            widths[0], widths[1], widths[2], widths[3]
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&format!("\n{learning} of {all} parameters learn\n"));
    Ok(text)
}
