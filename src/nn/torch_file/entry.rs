//! Finds the dictionary of a checkpoint that holds the weights: the one that the user names, or the one
//! with a name that training scripts use. Where several could be meant, it is an error, not a guess.

use std::collections::HashSet;

use super::TorchFileError;
use super::pickle::{Pickle, name_of};
use super::value::{Id, PickleValue};

/// What training scripts call a network's weights among the rest of a checkpoint.
const USUAL: &[&str] = &["state_dict", "model_state_dict", "model", "net", "network"];

/// Dictionaries within dictionaries that are looked into.
const DEPTH: usize = 2;

/// The dictionary that weights are taken from.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Its entries by name.
    pub entries: Vec<(String, Id)>,
    /// The keys that lead to it; none for the file's own.
    pub keys: Vec<String>,
    /// Other dictionaries that hold tensors, as `entry` takes them.
    pub others: Vec<String>,
}

/// A dictionary that holds tensors.
struct Candidate {
    keys: Vec<String>,
    id: Id,
}

/// Chooses the dictionary called `wanted`, or the one that is usual.
pub(super) fn choose(
    pickle: &Pickle,
    wanted: Option<&str>,
    is_tensor: impl Fn(&PickleValue) -> bool,
) -> Result<Chosen, TorchFileError> {
    let Some(all) = pickle.dict(pickle.root) else {
        let error = TorchFileError::other("it holds no dictionary of tensors");
        return Err(error.advise("save `model.state_dict()`, which has a name for every tensor"));
    };
    let candidates = candidates(pickle, all, is_tensor);
    let at = match wanted {
        Some(wanted) => named(pickle, &candidates, wanted)?,
        None => usual(pickle, &candidates)?,
    };
    let entries = named_entries(pickle, pickle.dict(candidates[at].id).unwrap_or_default());
    let others =
        candidates.iter().enumerate().filter(|(other, it)| *other != at && !it.keys.is_empty());
    let others = others.map(|(_, it)| it.keys.join(".")).collect();
    Ok(Chosen { entries, keys: candidates[at].keys.clone(), others })
}

/// The candidate called `wanted`.
fn named(pickle: &Pickle, candidates: &[Candidate], wanted: &str) -> Result<usize, TorchFileError> {
    if let Some(at) = candidates.iter().position(|it| it.keys.join(".") == wanted) {
        return Ok(at);
    }
    let error =
        TorchFileError::other(format!("its entry `{wanted}` holds no tensors, or is not there"));
    Err(with_entries(error, pickle, candidates))
}

/// The one candidate that is meant when nothing is said.
fn usual(pickle: &Pickle, candidates: &[Candidate]) -> Result<usize, TorchFileError> {
    let at = |holds: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        candidates.iter().enumerate().filter(|(_, it)| holds(it)).map(|(at, _)| at).collect()
    };
    let groups = [
        at(&|it| matches!(it.keys.as_slice(), [key] if USUAL.contains(&key.as_str()))),
        at(&|it| it.keys.is_empty()),
        at(&|it| it.keys.len() == 1),
        at(&|it| it.keys.last().is_some_and(|key| USUAL.contains(&key.as_str()))),
        at(&|it| it.keys.len() > 1),
    ];
    match groups.into_iter().find(|group| !group.is_empty()).as_deref() {
        Some([one]) => Ok(*one),
        Some(_) => {
            let error = TorchFileError::other("several of its entries hold tensors");
            Err(with_entries(error, pickle, candidates))
        }
        None => Err(with_entries(TorchFileError::other("it holds no tensors"), pickle, candidates)),
    }
}

/// Adds what there is: entries to choose from, else the keys of the file.
fn with_entries(
    error: TorchFileError,
    pickle: &Pickle,
    candidates: &[Candidate],
) -> TorchFileError {
    const MOST: usize = 8;
    let nested = candidates.iter().filter(|it| !it.keys.is_empty());
    let entries: Vec<String> =
        nested.take(MOST).map(|it| format!("`entry = {:?}`", it.keys.join("."))).collect();
    if !entries.is_empty() {
        return error.advise(format!("tensors are under {}", entries.join(", ")));
    }
    if !candidates.is_empty() {
        return error.advise("its tensors are not in an entry: leave `entry` out");
    }
    let all = pickle.dict(pickle.root).unwrap_or_default();
    let keys: Vec<String> =
        all.iter().take(MOST).filter_map(|(key, _)| name_of(pickle, *key)).collect();
    let error = if keys.is_empty() {
        error
    } else {
        error.and(&format!("; its keys are {}", keys.join(", ")))
    };
    error.advise("save `model.state_dict()`, which has a name for every tensor")
}

/// Every dictionary that holds tensors, the file's own first, each once.
fn candidates(
    pickle: &Pickle,
    all: &[(Id, Id)],
    is_tensor: impl Fn(&PickleValue) -> bool,
) -> Vec<Candidate> {
    let holds = |entries: &[(Id, Id)]| entries.iter().any(|(_, id)| is_tensor(pickle.get(*id)));
    let mut found = Vec::new();
    if holds(all) {
        found.push(Candidate { keys: Vec::new(), id: pickle.root });
    }
    // Dictionaries may be shared, or hold themselves.
    let mut seen = HashSet::from([pickle.root]);
    let mut level = vec![(Vec::new(), pickle.root)];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (keys, dict) in level {
            for (key, id) in pickle.dict(dict).unwrap_or_default() {
                let (Some(key), Some(entries)) = (pickle.text(*key), pickle.dict(*id)) else {
                    continue;
                };
                if !seen.insert(*id) {
                    continue;
                }
                let mut keys: Vec<String> = keys.clone();
                keys.push(key.to_owned());
                if holds(entries) {
                    found.push(Candidate { keys: keys.clone(), id: *id });
                }
                next.push((keys, *id));
            }
        }
        level = next;
    }
    found
}

fn named_entries(pickle: &Pickle, entries: &[(Id, Id)]) -> Vec<(String, Id)> {
    entries.iter().filter_map(|(key, value)| Some((name_of(pickle, *key)?, *value))).collect()
}
