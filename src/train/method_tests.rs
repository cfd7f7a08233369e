//! Every method that is registered trains.

use std::sync::atomic::AtomicBool;

use super::contract::{Data, Ended};
use super::fit::{FitOptions, fit};
use super::tiny;
use crate::adapt::{Method, MethodKind};
use crate::config::node::Value;
use crate::config::source::Sources;
use crate::config::{Keys, Word, document};
use crate::metrics::TrainingSplit;
use crate::progress::{Silent, Watch};

/// The method of a line of TOML, unless the line lacks a key or has one too many.
fn read(line: &str) -> Option<Method> {
    let root = document::parse(Sources::default().add("test", line), line).unwrap();
    let Value::Table(table) = &root.value else { panic!("a document is a table") };
    Method::read(&mut Keys::new(table, root.span)).ok()
}

/// The method called `word` with its default settings, and with a target domain where it takes one.
fn method(word: &str) -> Method {
    let plain = format!("method = {{ kind = \"{word}\" }}");
    let adapting = format!("method = {{ kind = \"{word}\", target = \"other.train\" }}");
    let found = read(&plain).or_else(|| read(&adapting));
    found.unwrap_or_else(|| panic!("`{word}` wants more settings than a target"))
}

#[test]
fn every_registered_method_trains_three_steps_with_finite_losses() {
    for kind in MethodKind::all() {
        let word = kind.word();
        let method = method(word);
        let (mut model, dataset, split) = (tiny::model(), tiny::dataset(), tiny::split());
        for head in method.heads(model.spec()) {
            model.add_head(head, 0).unwrap();
        }
        let before: Vec<Vec<f32>> = model.parameters().iter().map(|it| it.value.host()).collect();
        let settings = tiny::settings(1);
        let settings = super::TrainingSettings { log_every: Some(1), ..settings };
        let target = tiny::split();
        let data = Data {
            source: Some((&dataset, &split)),
            target: method.target().map(|_| target.unlabelled(&dataset)),
            validate: None,
            scored: None,
        };
        let watch = Watch { progress: &Silent, cancel: &AtomicBool::new(false) };
        let options = FitOptions::default();
        let ended = fit(&mut model, &[], &method, &data, &settings, options, &watch);
        let Ok(Ended::Finished { rows, .. }) = ended else { panic!("{word}: {ended:?}") };
        let losses: Vec<_> = (rows.iter())
            .filter(|row| row.split == TrainingSplit::Train && row.metric.ends_with("loss"))
            .collect();
        let steps = losses.iter().filter(|row| row.metric == "class_loss").count();
        assert_eq!(steps, 3 + 1, "{word}: a row for each step, and one for the epoch");
        assert!(losses.iter().all(|row| row.value.is_finite()), "{word}: {losses:?}");
        let after = model.parameters().iter().map(|it| it.value.host());
        assert!(after.zip(&before).any(|(after, before)| after != *before), "{word} moved nothing");
    }
}
