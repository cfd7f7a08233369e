//! How a [`Spec`] is written in `model.json`. The classifier and the domain classifier have keys of their
//! own, as when there were no other heads; the others stand under `heads`, which is left out when
//! there are none. Decides nothing.

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::geometry::Chw;
use super::spec::{Init, Named, Part, Spec, two_heads};

/// A network as `model.json` has it.
#[derive(Serialize, Deserialize)]
struct SpecFile {
    arch: String,
    input: Chw,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    middle_of: Option<(usize, usize)>,
    classes: usize,
    init: Init,
    features: Vec<Named>,
    classifier: Vec<Named>,
    domain_classifier: Vec<Named>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    heads: IndexMap<String, Vec<Named>>,
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SpecFile::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SpecFile::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

impl From<Spec> for SpecFile {
    fn from(spec: Spec) -> Self {
        let Spec { arch, input, middle_of, classes, init, features, mut heads } = spec;
        let mut take = |part| heads.shift_remove(&part).unwrap_or_default();
        let (classifier, domain_classifier) = (take(Part::CLASSIFIER), take(Part::DOMAIN));
        let heads = heads.into_iter().map(|(part, layers)| (part.name().to_owned(), layers));
        let heads = heads.collect();
        Self {
            arch,
            input,
            middle_of,
            classes,
            init,
            features,
            classifier,
            domain_classifier,
            heads,
        }
    }
}

impl TryFrom<SpecFile> for Spec {
    type Error = String;

    fn try_from(file: SpecFile) -> Result<Self, String> {
        let SpecFile { arch, input, middle_of, classes, init, features, .. } = file;
        let mut heads = two_heads(file.classifier, file.domain_classifier);
        for (name, layers) in file.heads {
            let part = Part::from(name);
            if part == Part::FEATURES || heads.contains_key(&part) {
                return Err(format!("`heads` may not name `{}` again", part.name()));
            }
            heads.insert(part, layers);
        }
        Ok(Self { arch, input, middle_of, classes, init, features, heads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::spec::Layer;

    const TWO_HEADS: &str = include_str!("../../fuzz/spec.json");

    fn written(spec: &Spec) -> String {
        serde_json::to_string_pretty(spec).unwrap()
    }

    #[test]
    fn a_network_of_the_two_usual_heads_has_no_other_key_than_ever() {
        let spec: Spec = serde_json::from_str(TWO_HEADS).unwrap();
        let before: serde_json::Value = serde_json::from_str(TWO_HEADS).unwrap();
        assert_eq!(written(&spec), serde_json::to_string_pretty(&before).unwrap());
    }

    #[test]
    fn other_heads_keep_their_order_and_layers() {
        let mut spec: Spec = serde_json::from_str(TWO_HEADS).unwrap();
        for name in ["projection", "critic"] {
            let layer = Layer::Linear { outputs: 3, bias: true };
            let layers = vec![Named::new(format!("{name}.0"), layer)];
            spec.heads.insert(Part::named(name), layers);
        }
        let again: Spec = serde_json::from_str(&written(&spec)).unwrap();
        assert_eq!(again, spec);
        let names: Vec<&str> = again.heads.keys().map(Part::name).collect();
        assert_eq!(names, ["classifier", "domain_classifier", "projection", "critic"]);
    }

    #[test]
    fn a_head_that_is_there_twice_is_an_error() {
        for name in ["features", "classifier", "domain_classifier"] {
            let mut file: serde_json::Value = serde_json::from_str(TWO_HEADS).unwrap();
            file["heads"] = serde_json::json!({ name: [] });
            let error = serde_json::from_value::<Spec>(file).unwrap_err().to_string();
            assert!(error.contains(&format!("may not name `{name}` again")), "{error}");
        }
    }
}
