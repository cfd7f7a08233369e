//! Names of a file's tensors and names of a network. Wrappers put a word before every name
//! (`DataParallel` `module.`, `torch.compile` `_orig_mod.`, training scripts `model.`, `backbone.`,
//! `net.`); it is dropped where the network's names appear by that.

use std::collections::HashSet;

use indexmap::IndexMap;

/// The words that wrappers put before names.
const WRAPPERS: [&str; 5] = ["module", "_orig_mod", "model", "backbone", "net"];

/// What every tensor that is taken is called in the file, by the network's name for it.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Names as the network has them, with those of the file.
    pub names: IndexMap<String, String>,
    /// What was dropped from the beginning of names.
    pub prefix: String,
}

/// Names that do not say what to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// No name begins with the prefix that was given; these lead to names of the network.
    NoSuchPrefix(Vec<String>),
    /// The network is there several times.
    Several(Vec<String>),
}

impl Taken {
    /// The tensors called `file`, for a network whose names are `wanted`: those whose names begin with
    /// `prefix`, or all of them, the usual prefixes dropped.
    ///
    /// # Errors
    /// When no name begins with `prefix`, or several usual prefixes would do.
    pub fn of(
        file: &[String],
        wanted: &HashSet<&str>,
        prefix: Option<&str>,
    ) -> Result<Self, NameError> {
        if let Some(prefix) = prefix {
            let taken = Self::below(file, prefix);
            if taken.names.is_empty() {
                return Err(NameError::NoSuchPrefix(best(&prefixes(file, wanted))));
            }
            return Ok(taken);
        }
        let found = prefixes(file, wanted);
        let as_they_are = found.get("").copied().unwrap_or_default();
        let is_wrapper = |prefix: &str| {
            prefix
                .strip_suffix('.')
                .is_some_and(|it| it.split('.').all(|it| WRAPPERS.contains(&it)))
        };
        let wrapped: IndexMap<&str, usize> =
            found.into_iter().filter(|(prefix, _)| is_wrapper(prefix)).collect();
        if wrapped.values().all(|count| *count <= as_they_are) {
            return Ok(Self::without(file, ""));
        }
        match best(&wrapped).as_slice() {
            [prefix] => Ok(Self::without(file, prefix)),
            several => Err(NameError::Several(several.to_vec())),
        }
    }

    /// Only names that begin with `prefix`, which is dropped.
    pub fn below(file: &[String], prefix: &str) -> Self {
        let bare = |name: &String| Some((name.strip_prefix(prefix)?.to_owned(), name.clone()));
        Self { names: file.iter().filter_map(bare).collect(), prefix: prefix.to_owned() }
    }

    /// All names; `prefix` is dropped where a name begins with it, unless another one is called so.
    fn without(file: &[String], prefix: &str) -> Self {
        let all: HashSet<&str> = file.iter().map(String::as_str).collect();
        let bare = |name: &String| {
            let bare = name.strip_prefix(prefix).filter(|bare| !all.contains(bare));
            (bare.unwrap_or(name).to_owned(), name.clone())
        };
        Self { names: file.iter().map(bare).collect(), prefix: prefix.to_owned() }
    }
}

/// What comes before a name of the network in names of the file, with how many names it does so for.
pub fn prefixes<'n>(file: &'n [String], wanted: &HashSet<&str>) -> IndexMap<&'n str, usize> {
    let mut found = IndexMap::new();
    for name in file {
        let ends = name.match_indices('.').map(|(at, _)| at + 1);
        // `layer1.0.conv1.weight` is the name that `x.layer1.0.conv1.weight` ends in, not `conv1.weight`.
        let longest = std::iter::once(0).chain(ends).find(|at| wanted.contains(&name[*at..]));
        if let Some(at) = longest {
            *found.entry(&name[..at]).or_default() += 1;
        }
    }
    found
}

/// The prefixes that stand before most names.
pub fn best(found: &IndexMap<&str, usize>) -> Vec<String> {
    let most = found.values().copied().max().unwrap_or_default();
    let best = found.iter().filter(|(prefix, count)| **count == most && !prefix.is_empty());
    best.map(|(prefix, _)| (*prefix).to_owned()).collect()
}

/// Patterns for exactly the names `these` of all names: a layer's, where all of its names are among
/// them.
pub fn patterns(these: &[&str], all: &[&str]) -> Vec<String> {
    let layer = |name: &str| name.rsplit_once('.').map_or_else(String::new, |it| it.0.to_owned());
    let mut counts: IndexMap<String, Vec<&str>> = IndexMap::new();
    for name in these {
        counts.entry(layer(name)).or_default().push(name);
    }
    let pattern = |(layer, names): (String, Vec<&str>)| {
        let below = format!("{layer}.");
        if all.iter().filter(|name| name.starts_with(&below)).count() == names.len() {
            return vec![format!("{layer}.*")];
        }
        names.into_iter().map(str::to_owned).collect()
    };
    counts.into_iter().flat_map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The names that are taken for a network of `a.weight` and `b.a.weight`.
    fn taken(file: &[&str], prefix: Option<&str>) -> Result<Vec<String>, NameError> {
        let wanted = HashSet::from(["a.weight", "b.a.weight"]);
        Taken::of(&names(file), &wanted, prefix).map(|it| it.names.into_keys().collect())
    }

    #[test]
    fn wrappers_are_dropped_alone_and_within_each_other() {
        let whole = ["a.weight", "b.a.weight"];
        for prefix in
            ["", "module.", "_orig_mod.", "model.", "backbone.", "net.", "module._orig_mod.model."]
        {
            let file: Vec<String> = whole.iter().map(|name| format!("{prefix}{name}")).collect();
            let file: Vec<&str> = file.iter().map(String::as_str).collect();
            assert_eq!(taken(&file, None).unwrap(), whole, "{prefix}");
        }
    }

    #[test]
    fn what_is_beside_a_wrapped_network_keeps_its_name_and_is_seen() {
        let file = ["backbone.a.weight", "backbone.b.a.weight", "head.weight"];
        assert_eq!(taken(&file, None).unwrap(), ["a.weight", "b.a.weight", "head.weight"]);
        assert_eq!(taken(&file, Some("backbone.")).unwrap(), ["a.weight", "b.a.weight"]);
    }

    #[test]
    fn names_that_fit_as_they_are_stay_and_no_name_is_lost_to_another() {
        let file = ["a.weight", "b.a.weight", "module.a.weight"];
        assert_eq!(taken(&file, None).unwrap(), file);
        let file = ["model.a.weight", "model.b.a.weight", "model.x", "x"];
        assert_eq!(taken(&file, None).unwrap(), ["a.weight", "b.a.weight", "model.x", "x"]);
    }

    #[test]
    fn a_network_that_is_there_twice_is_not_guessed() {
        let file = ["model.a.weight", "net.a.weight", "ema.a.weight", "ema.b.a.weight"];
        let several = NameError::Several(names(&["model.", "net."]));
        assert_eq!(taken(&file, None), Err(several));
        let near = NameError::NoSuchPrefix(names(&["ema."]));
        assert_eq!(taken(&file, Some("emma.")), Err(near));
        assert_eq!(taken(&file, Some("ema.")).unwrap(), ["a.weight", "b.a.weight"]);
    }

    #[test]
    fn patterns_match_the_names_and_no_other() {
        let all = ["fc.weight", "fc.bias", "bn.weight", "bn.bias", "bn.running_mean"];
        assert_eq!(patterns(&["fc.weight", "fc.bias"], &all), ["fc.*"]);
        assert_eq!(patterns(&["bn.running_mean"], &all), ["bn.running_mean"]);
    }
}
