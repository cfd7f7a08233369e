//! Checks that a network is small enough to be computed. A damaged description or a slip in a setting can
//! ask for any size; it becomes an error here, before a product overflows or an allocation ends the process.

use super::geometry::Chw;
use super::placement::{Placed, SpecError};
use super::spec::Layer;
use crate::system;

/// Numbers in a tensor, a map or all parameters at most. No machine holds as many; sizes below it can be
/// multiplied by bytes and images without overflow.
const MOST_NUMBERS: usize = 1 << 40;

/// The largest size in the settings of a layer.
const MOST_SIZE: usize = 1 << 24;

/// Whether a shape has few enough numbers.
pub(super) fn check_shape(shape: Chw) -> Result<(), String> {
    match shape.channels.checked_mul(shape.height).and_then(|it| it.checked_mul(shape.width)) {
        Some(len) if len <= MOST_NUMBERS => Ok(()),
        _ => Err(format!("{shape} are more numbers than any machine holds")),
    }
}

/// Whether the sizes in the settings of `layer` can be computed with.
pub(super) fn check_settings(layer: &Layer) -> Result<(), String> {
    match sizes(layer).into_iter().find(|size| *size > MOST_SIZE) {
        Some(size) => {
            Err(format!("a size of {size} is too large, at most {MOST_SIZE} can be computed"))
        }
        None => Ok(()),
    }
}

/// The shape `output` of what comes out of `placed`, if it and the layer's parameters are small enough.
pub(super) fn check_layer(placed: &Placed, output: Chw) -> Result<Chw, String> {
    check_shape(output)?;
    for slot in placed.parameters() {
        let len = slot.shape.iter().try_fold(1_usize, |len, side| len.checked_mul(*side));
        if len.is_none_or(|len| len > MOST_NUMBERS) {
            let shape = &slot.shape;
            return Err(format!("its weights {shape:?} are more numbers than any machine holds"));
        }
    }
    Ok(output)
}

/// Whether the parameters of checked layers are few enough together.
pub(super) fn check_parameters(layers: &[Placed]) -> Result<(), SpecError> {
    let mut parameters = 0;
    for placed in layers {
        parameters += placed.parameter_count();
        if parameters > MOST_NUMBERS {
            let reason = "the network has more parameters than any machine holds".into();
            return Err(SpecError { layer: placed.name.clone(), reason });
        }
    }
    Ok(())
}

/// Whether there is memory for the parameters of `layers`.
pub(super) fn check_memory(layers: &[Placed]) -> Result<(), SpecError> {
    /// What every machine has.
    const SMALL: usize = 256 << 20;
    let numbers: usize = layers.iter().map(Placed::parameter_count).sum();
    let bytes = numbers * size_of::<f32>();
    // A system may promise more than it has.
    let is_there = system::memory().is_none_or(|memory| bytes <= memory);
    if bytes <= SMALL || (is_there && system::is_free(bytes as u64)) {
        return Ok(());
    }
    let largest = layers.iter().max_by_key(|placed| placed.parameter_count());
    Err(SpecError {
        layer: largest.map(|placed| placed.name.clone()).unwrap_or_default(),
        reason: format!(
            "the network's {numbers} parameters take {} GB, more memory than there is; this layer has \
             most of them",
            bytes.div_ceil(1_000_000_000)
        ),
    })
}

/// The sizes in the settings of a layer.
fn sizes(layer: &Layer) -> Vec<usize> {
    match layer {
        Layer::Conv2d { filters, kernel, stride, padding, groups, .. } => {
            vec![*filters, *groups, kernel.0, kernel.1, stride.0, stride.1, padding.0, padding.1]
        }
        Layer::MaxPool { kernel, stride, padding, .. }
        | Layer::AvgPool { kernel, stride, padding } => {
            vec![kernel.0, kernel.1, stride.0, stride.1, padding.0, padding.1]
        }
        Layer::AdaptiveAvgPool { output } => vec![output.0, output.1],
        Layer::Linear { outputs, .. } => vec![*outputs],
        Layer::Takes { values } => vec![*values],
        Layer::BatchNorm { .. }
        | Layer::GlobalAvgPool
        | Layer::Relu
        | Layer::Relu6
        | Layer::Dropout { .. }
        | Layer::Dropout2d { .. }
        | Layer::Flatten
        | Layer::Residual { .. }
        | Layer::Parallel { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::spec::{Named, Part, Spec};
    use crate::nn::zoo::{self, ArchSettings};

    fn lenet() -> serde_json::Value {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
        serde_json::to_value(spec).unwrap()
    }

    /// Every number in a JSON value, by its path.
    fn numbers(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Number(number) if number.is_u64() => found.push(path.to_owned()),
            serde_json::Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    numbers(item, &format!("{path}/{at}"), found);
                }
            }
            serde_json::Value::Object(entries) => {
                for (key, item) in entries {
                    numbers(item, &format!("{path}/{key}"), found);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn no_size_is_too_large_to_be_refused() {
        let lenet = lenet();
        let mut paths = Vec::new();
        numbers(&lenet, "", &mut paths);
        assert!(paths.len() > 20, "{paths:?}");
        for path in &paths {
            for large in [1 << 24, (1 << 32) - 1, 1 << 40, 1 << 62, u64::MAX / 2, u64::MAX] {
                let mut changed = lenet.clone();
                *changed.pointer_mut(path).unwrap() = large.into();
                let spec: Spec = serde_json::from_value(changed).unwrap();
                if let Ok(placement) = spec.place() {
                    let count = placement.layers.iter().map(Placed::parameter_count).sum::<usize>();
                    assert!(count <= MOST_NUMBERS, "{path} {large}");
                }
            }
        }
    }

    #[test]
    fn sizes_that_multiply_beyond_every_machine_are_an_error_with_the_layer() {
        let mut spec: Spec = serde_json::from_value(lenet()).unwrap();
        spec.features = vec![Named::new("features.0", Layer::Flatten)];
        spec.input = Chw { channels: 1 << 13, height: 1 << 13, width: 1 << 13 };
        let layer = Layer::Linear { outputs: 10, bias: true };
        spec.heads.insert(Part::CLASSIFIER, vec![Named::new("fc", layer)]);
        let error = spec.place().unwrap_err().to_string();
        assert!(error.starts_with("layer `fc`: its weights [10, 549755813888]"), "{error}");
        spec.input.height = usize::MAX;
        let error = spec.place().unwrap_err().to_string();
        assert!(error.contains("more numbers than any machine holds"), "{error}");
    }

    #[test]
    fn parameters_that_the_memory_does_not_hold_are_an_error_with_the_largest_layer() {
        // 4 TB and less than what no machine holds.
        let mut spec: Spec = serde_json::from_value(lenet()).unwrap();
        spec.heads[&Part::CLASSIFIER] = vec![
            Named::new("wide", Layer::Linear { outputs: 1 << 20, bias: false }),
            Named::new("wider", Layer::Linear { outputs: (1 << 20) - (1 << 11), bias: false }),
            Named::new("last", Layer::Linear { outputs: 10, bias: false }),
        ];
        let error = check_memory(&spec.place().unwrap().layers).unwrap_err().to_string();
        assert!(error.starts_with("layer `wider`: the network's 1"), "{error}");
        assert!(error.contains("more memory than there is"), "{error}");
    }
}
