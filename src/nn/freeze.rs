//! Which parameters learn: glob patterns on their names.

use globset::Glob;

use super::model::Model;
use super::placement::Placed;
use super::spec::{Part, Spec};

/// A pattern that freezes or thaws nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a glob.
    #[error("`{pattern}` is not a glob pattern: {reason}")]
    Invalid {
        /// As written.
        pattern: String,
        /// The parser's message.
        reason: String,
    },
    /// Matches no parameter.
    #[error("`{pattern}` matches no parameter; names near it: {}", near.join(", "))]
    Unmatched {
        /// As written.
        pattern: String,
        /// The most similar names.
        near: Vec<String>,
    },
}

/// Checks that a pattern is a glob that matches one of `names` at least, and says which.
///
/// `*` matches any run of characters, dots included, so `features.*` takes the whole part; so does `features`, the name of
/// a layer or part without the rest.
///
/// # Errors
/// When it is not a glob or matches nothing.
pub fn matching(pattern: &str, names: &[&str]) -> Result<Vec<bool>, PatternError> {
    let invalid = |error: globset::Error| PatternError::Invalid {
        pattern: pattern.to_owned(),
        reason: error.kind().to_string(),
    };
    let matcher = Glob::new(pattern).map_err(invalid)?.compile_matcher();
    let is_part = |name: &str| name.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.'));
    let matches: Vec<bool> =
        names.iter().map(|name| matcher.is_match(name) || is_part(name)).collect();
    if matches.contains(&true) {
        return Ok(matches);
    }
    let plain = pattern.replace('*', "");
    let mut near: Vec<&str> = names.to_vec();
    let likeness = |name: &str| strsim::jaro_winkler(&plain, name);
    near.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    near.truncate(4);
    Err(PatternError::Unmatched {
        pattern: pattern.to_owned(),
        near: near.into_iter().map(|name| format!("`{name}`")).collect(),
    })
}

/// Names of the parameters of a network with `heads` of those of `spec`.
pub fn names(spec: &Spec, heads: &[Part]) -> Vec<String> {
    let layers = spec.only(heads).place().map(|placement| placement.layers).unwrap_or_default();
    layers.iter().flat_map(Placed::parameters).map(|slot| slot.name).collect()
}

/// What a pattern of `freeze` or `thaw` matches, and whether that learns from then on: a `!` before
/// it turns it round.
///
/// # Errors
/// As [`matching`].
pub fn turn(pattern: &str, thaws: bool, names: &[&str]) -> Result<(Vec<bool>, bool), PatternError> {
    match pattern.strip_prefix('!') {
        Some(pattern) => Ok((matching(pattern, names)?, !thaws)),
        None => Ok((matching(pattern, names)?, thaws)),
    }
}

/// Freezes what `freeze` matches, then thaws what `thaw` matches, pattern by pattern: the last one
/// that matches a name counts. A `!` before a pattern of `freeze` thaws, one of `thaw` freezes.
///
/// # Errors
/// When a pattern is not a glob or matches nothing; the model is left as it was.
pub fn apply(model: &mut Model, freeze: &[String], thaw: &[String]) -> Result<(), PatternError> {
    let mut trainable: Vec<bool> = model.parameters().iter().map(|p| p.trainable).collect();
    let names: Vec<&str> = model.parameters().iter().map(|p| p.name.as_str()).collect();
    for (patterns, thaws) in [(freeze, false), (thaw, true)] {
        for pattern in patterns {
            let (matched, learns) = turn(pattern, thaws, &names)?;
            for (trainable, matched) in trainable.iter_mut().zip(matched) {
                if matched {
                    *trainable = learns;
                }
            }
        }
    }
    for (parameter, learns) in model.parameters_mut().iter_mut().zip(trainable) {
        parameter.trainable = learns;
    }
    Ok(())
}

/// Numbers of values that learn, and of all.
pub fn counts(model: &Model) -> (usize, usize) {
    let count = |trainable_only: bool| {
        model
            .parameters()
            .iter()
            .filter(|p| p.trainable || !trainable_only)
            .map(|p| p.value.len())
            .sum()
    };
    (count(true), count(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_crosses_dots() {
        let names = ["layer4.0.conv1.weight", "layer3.0.conv1.weight", "fc.bias"];
        assert_eq!(matching("layer4.*", &names), Ok(vec![true, false, false]));
        assert_eq!(matching("*", &names), Ok(vec![true; 3]));
        assert_eq!(matching("*.bias", &names), Ok(vec![false, false, true]));
    }

    #[test]
    fn the_name_of_a_part_takes_what_is_in_it() {
        let names = ["layer4.0.conv1.weight", "layer40.conv1.weight", "fc.bias"];
        assert_eq!(matching("layer4", &names), Ok(vec![true, false, false]));
        assert_eq!(matching("layer4.0", &names), Ok(vec![true, false, false]));
        assert_eq!(matching("fc.bias", &names), Ok(vec![false, false, true]));
        assert!(matching("layer", &names).is_err() && matching("layer4.", &names).is_err());
    }

    #[test]
    fn the_last_pattern_that_matches_counts() {
        let names = ["layer4.0.conv1.weight", "layer4.0.bn1.weight", "fc.bias"];
        let learns = |freeze: &[&str], thaw: &[&str]| {
            let mut learns = [true; 3];
            for (patterns, thaws) in [(freeze, false), (thaw, true)] {
                for pattern in patterns {
                    let (matched, to) = turn(pattern, thaws, &names).unwrap();
                    for (learns, _) in learns.iter_mut().zip(matched).filter(|it| it.1) {
                        *learns = to;
                    }
                }
            }
            learns
        };
        assert_eq!(learns(&["*", "!layer4.*", "*.bn1.*"], &[]), [true, false, false]);
        assert_eq!(learns(&["*"], &["*", "!fc.*"]), [true, true, false]);
        assert!(turn("!conv9.*", false, &names).is_err());
    }

    #[test]
    fn an_unmatched_pattern_names_what_is_near() {
        let names = ["features.conv1.weight", "classifier.fc1.weight"];
        let error = matching("feature.conv1.*", &names).unwrap_err();
        assert!(error.to_string().contains("`features.conv1.weight`"), "{error}");
        assert!(matches!(matching("a[", &names), Err(PatternError::Invalid { .. })));
    }
}
