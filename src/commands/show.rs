//! `runner show FILE`: prints a pipeline with every default and override filled in, or one of its models.

use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::comparison::Comparison;
use crate::cli::{BackendOption, ShowArgs};
use crate::config::diagnostic::suggest;
use crate::data::outside::Known;
use crate::exec::Holdings;
use crate::nn::summary;
use crate::plan::pipeline::Pipeline;
use crate::plan::trials::Trials;
use crate::plan::{print, resolve};
use crate::stages::{ModelShape, Product};
use crate::store::Store;

/// Prints the resolved pipeline as TOML, or the layers of a model.
pub fn run(args: &ShowArgs) -> Result<ExitCode, Error> {
    let (file, sets) = (&args.file.file, &args.file.set);
    let text = match &args.model {
        Some(stage) => model(resolve::load(file, sets).map_err(Box::new)?, stage, &args.store)?,
        None => print::to_toml(&resolve::shown(file, sets).map_err(Box::new)?),
    };
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn model(pipeline: Pipeline, name: &str, store: &Path) -> Result<String, Error> {
    let Some(stage) = pipeline.stages.iter().find(|stage| stage.name == name) else {
        let known = pipeline.stages.iter().map(|stage| stage.name.as_str());
        let help = suggest(name, known).unwrap_or_default();
        return Err(Error::Missing(format!("there is no stage `{name}`; {help}")));
    };
    let Product::Model(shape) = &stage.product else {
        let made = stage.product.name();
        return Err(Error::Missing(format!("stage `{name}` makes {made}, not a model")));
    };
    if shape.spec.is_some() {
        return layers(shape);
    }
    match known_by_data(pipeline, name, store)? {
        Some(Product::Model(shape)) => layers(&shape),
        _ => layers(&ModelShape::unknown()),
    }
}

/// What is known of a stage with what the store has and a glance at the user's files tells.
///
/// # Errors
/// When there is no plan, or a stage does not fit its data.
fn known_by_data(pipeline: Pipeline, name: &str, store: &Path) -> Result<Option<Product>, Error> {
    let store = Store::peek(store);
    let known = Known::from_folder(store.outside());
    let trials = Trials::single(pipeline).trials;
    let plan = super::outside::plan(trials, &known, &BackendOption::default())?;
    let comparison = Comparison::new(&plan, &Holdings::look_up(&plan, &store))?;
    Ok(plan.stages[0].get(name).and_then(|task| comparison.product(*task)))
}

fn layers(shape: &ModelShape) -> Result<String, Error> {
    let unknown = "the network is known only once the stages that it learns from are in the store: their images say how \
                   large its input is, and how many classes it has; `runner run` builds them";
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
