//! `runner explain FILE STAGE`: whether a stage would run, and why.

use std::process::ExitCode;

use super::Error;
use super::outlook::Outlook;
use crate::cli::ExplainArgs;
use crate::config::diagnostic::suggest;
use crate::data::outside::Known;
use crate::exec::{Holding, Holdings, display_name};
use crate::store::Store;

/// Explains a stage in every trial that it differs in.
///
/// # Errors
/// When the file is wrong, has no such stage, or the store cannot be read.
pub fn run(args: &ExplainArgs) -> Result<ExitCode, Error> {
    super::outside::read_for(&args.backend);
    let trials = super::trials_of(&args.file, args.sweep)?.trials;
    super::outside::say_untried();
    let store = Store::peek(&args.store);
    let plan = super::outside::plan(trials, &Known::from_folder(store.outside()), &args.backend)?;
    let holdings = Holdings::look_up(&plan, &store);
    let outlook = Outlook::new(&plan, (&store, holdings), &args.results, usize::MAX)?;
    let mut tasks = Vec::new();
    for stages in &plan.stages {
        let Some(task) = stages.get(&args.stage) else {
            let help = suggest(&args.stage, stages.keys().map(String::as_str)).unwrap_or_default();
            return Err(Error::Missing(format!("there is no stage `{}`; {help}", args.stage)));
        };
        if !tasks.contains(task) {
            tasks.push(*task);
        }
    }
    let mut text = String::new();
    for task in tasks {
        let node = &plan.graph[task];
        text += &format!("{} ({})\n", display_name(&plan, task), node.stage.kind());
        match outlook.holdings.get(task) {
            Some(Holding { fingerprint, artifact, .. }) => {
                let created = artifact.manifest()?.map_or_else(|_| "?".into(), |it| it.created);
                text += &format!("  cached: {}\n", artifact.summary);
                text += &format!("  made {created}\n  artifact {fingerprint}\n");
                text += &format!("  in {}\n", artifact.path.display());
            }
            None => {
                text += "  will run:\n";
                for line in &outlook.why[&task] {
                    text += &format!("    {line}\n");
                }
            }
        }
        for (input, line) in node.inputs.iter().zip(plan.input_texts(task)) {
            let state = match outlook.holdings.get(input.task) {
                Some(holding) => format!("cached: {}", holding.artifact.summary),
                None => "will run".to_owned(),
            };
            text += &format!("  input {line}: {state}\n");
        }
    }
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}
