//! Names of work and of its results: BLAKE3 over everything that decides the bytes, and nothing
//! else. Names and order of stages, comments and formatting never enter.

use crate::digest::{Digest, Fingerprint, Recipe};

/// What decides a stage's bytes besides its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// The stage's kind.
    pub kind: &'a str,
    /// The kind's code revision.
    pub revision: u32,
    /// Every setting that counts.
    pub settings: &'a toml::Table,
    /// Digest of outside files.
    pub external: Option<&'a str>,
    /// The backend, where it can move a byte.
    pub backend: Option<&'a str>,
}

/// An input: the key it is named at, the split, and its recipe or content.
#[derive(Debug, Clone)]
pub struct Ingredient {
    /// Dotted key of the reference.
    pub key: String,
    /// The split that the reference names.
    pub split: Option<String>,
    /// The input's recipe or content hash.
    pub digest: Digest,
}

/// The recipe of a stage whose inputs have these recipes.
pub fn recipe(ingredients: Ingredients, inputs: &[Ingredient]) -> Recipe {
    Recipe(digest("runner recipe 1", ingredients, inputs))
}

/// The fingerprint of a stage whose inputs have these contents.
pub fn fingerprint(ingredients: Ingredients, inputs: &[Ingredient]) -> Fingerprint {
    Fingerprint(digest("runner fingerprint 1", ingredients, inputs))
}

fn digest(purpose: &str, ingredients: Ingredients, inputs: &[Ingredient]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    text(&mut hasher, purpose);
    text(&mut hasher, ingredients.kind);
    hasher.update(&ingredients.revision.to_le_bytes());
    // No backend is called so.
    text(&mut hasher, ingredients.backend.unwrap_or_default());
    optional(&mut hasher, ingredients.external);
    table(&mut hasher, ingredients.settings);
    let mut inputs: Vec<&Ingredient> = inputs.iter().collect();
    inputs.sort_by(|a, b| a.key.cmp(&b.key));
    length(&mut hasher, inputs.len());
    for input in inputs {
        text(&mut hasher, &input.key);
        optional(&mut hasher, input.split.as_deref());
        hasher.update(input.digest.as_bytes());
    }
    hasher.finalize().into()
}

// Every part is preceded by its length or a tag, so that no two values write the same bytes.

fn length(hasher: &mut blake3::Hasher, length: usize) {
    hasher.update(&(length as u64).to_le_bytes());
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    length(hasher, text.len());
    hasher.update(text.as_bytes());
}

fn optional(hasher: &mut blake3::Hasher, value: Option<&str>) {
    hasher.update(&[u8::from(value.is_some())]);
    text(hasher, value.unwrap_or_default());
}

fn table(hasher: &mut blake3::Hasher, table: &toml::Table) {
    let mut keys: Vec<&String> = table.keys().collect();
    keys.sort_unstable();
    length(hasher, keys.len());
    for key in keys {
        text(hasher, key);
        value(hasher, &table[key]);
    }
}

fn value(hasher: &mut blake3::Hasher, it: &toml::Value) {
    // `1` and `1.0` are one number; below 2^53 a float holds every integer exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match it {
        toml::Value::Table(it) => {
            hasher.update(b"t");
            table(hasher, it);
        }
        toml::Value::Array(items) => {
            hasher.update(b"a");
            length(hasher, items.len());
            items.iter().for_each(|item| value(hasher, item));
        }
        toml::Value::String(it) => {
            hasher.update(b"s");
            text(hasher, it);
        }
        toml::Value::Boolean(it) => {
            hasher.update(&[b'b', u8::from(*it)]);
        }
        toml::Value::Integer(it) => {
            hasher.update(b"i");
            hasher.update(&it.to_le_bytes());
        }
        toml::Value::Float(it) if it.fract() == 0.0 && it.abs() < EXACT => {
            hasher.update(b"i");
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            hasher.update(&(*it as i64).to_le_bytes());
        }
        toml::Value::Float(it) => {
            hasher.update(b"f");
            let it = if it.is_nan() { f64::NAN } else { *it };
            hasher.update(&it.to_bits().to_le_bytes());
        }
        toml::Value::Datetime(it) => {
            hasher.update(b"d");
            text(hasher, &it.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(settings: &toml::Table, inputs: &[Ingredient]) -> Fingerprint {
        by(Some("cpu avx2"), settings, inputs)
    }

    fn by(backend: Option<&str>, settings: &toml::Table, inputs: &[Ingredient]) -> Fingerprint {
        let external = None;
        fingerprint(Ingredients { kind: "k", revision: 1, settings, external, backend }, inputs)
    }

    fn input(key: &str, split: Option<&str>, byte: u8) -> Ingredient {
        let split = split.map(str::to_owned);
        Ingredient {
            key: key.to_owned(),
            split,
            digest: blake3::Hash::from_bytes([byte; 32]).into(),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_settings_and_inputs_does_not_matter(
            entries in proptest::collection::btree_map("[a-z]{1,6}", -9i64..9, 0..6),
        ) {
            let forward: toml::Table =
                entries.iter().map(|(key, it)| (key.clone(), (*it).into())).collect();
            let backward: toml::Table =
                entries.iter().rev().map(|(key, it)| (key.clone(), (*it).into())).collect();
            let inputs = [input("a", None, 1), input("b", Some("train"), 2)];
            let swapped = [inputs[1].clone(), inputs[0].clone()];
            prop_assert_eq!(of(&forward, &inputs), of(&backward, &swapped));
        }

        #[test]
        fn every_setting_matters(
            entries in proptest::collection::btree_map("[a-z]{1,6}", -9i64..9, 1..6),
            by in 1i64..5,
        ) {
            let table: toml::Table =
                entries.iter().map(|(key, it)| (key.clone(), (*it).into())).collect();
            for (key, it) in &entries {
                let mut other = table.clone();
                other.insert(key.clone(), (it + by).into());
                prop_assert_ne!(of(&table, &[]), of(&other, &[]));
                other.remove(key);
                prop_assert_ne!(of(&table, &[]), of(&other, &[]));
            }
        }
    }

    #[test]
    fn a_whole_float_is_the_integer() {
        let one: toml::Table = toml::from_str("x = 1").unwrap();
        let float: toml::Table = toml::from_str("x = 1.0").unwrap();
        let other: toml::Table = toml::from_str("x = 1.5").unwrap();
        assert_eq!(of(&one, &[]), of(&float, &[]));
        assert_ne!(of(&one, &[]), of(&other, &[]));
    }

    #[test]
    fn key_split_and_bytes_of_an_input_matter() {
        let none = toml::Table::new();
        let base = of(&none, &[input("a", Some("train"), 1)]);
        assert_ne!(base, of(&none, &[input("b", Some("train"), 1)]));
        assert_ne!(base, of(&none, &[input("a", Some("test"), 1)]));
        assert_ne!(base, of(&none, &[input("a", Some("train"), 2)]));
        assert_ne!(base, of(&none, &[]));
    }

    #[test]
    fn the_backend_matters_where_there_is_one() {
        let none = toml::Table::new();
        let [one, other, independent] =
            [Some("cpu avx2"), Some("cpu avx512"), None].map(|it| by(it, &none, &[]));
        assert!(one != other && one != independent && other != independent);
    }
}
