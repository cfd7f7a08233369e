//! Against files that PyTorch wrote (tests/golden/torch_files.py).

use std::fs;
use std::path::PathBuf;

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_files").join(name)
}

fn expected() -> IndexMap<String, (Vec<usize>, Vec<f64>)> {
    let text = fs::read(file("expected.json")).unwrap();
    let tensors: IndexMap<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::INFINITY);
    let tensor = |(name, value): (String, serde_json::Value)| {
        let shape = serde_json::from_value(value["shape"].clone()).unwrap();
        (name, (shape, value["values"].as_array().unwrap().iter().map(number).collect()))
    };
    tensors.into_iter().map(tensor).collect()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn numbers(values: &Values) -> Vec<f64> {
    match values {
        Values::Float(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Values::Integer(values) => values.iter().map(|value| *value as f64).collect(),
    }
}

/// All of `found` is as PyTorch has it, to the last bit of single precision.
#[expect(clippy::cast_possible_truncation, reason = "what single precision keeps")]
fn assert_as_written(found: &IndexMap<String, Tensor>, names: &[&str]) {
    let expected = expected();
    assert_eq!(found.keys().collect::<Vec<_>>(), names);
    for (name, tensor) in found {
        let (shape, values) = &expected[name];
        let single = |values: &[f64]| values.iter().map(|it| *it as f32).collect::<Vec<_>>();
        assert_eq!(&tensor.shape, shape, "{name}");
        assert_eq!(single(&numbers(&tensor.values)), single(values), "{name}");
    }
}

#[test]
fn both_pickled_forms_give_every_kind_of_number_and_every_view() {
    for name in ["zip.pth", "legacy.pth"] {
        let found = read(&file(name)).unwrap();
        let names = expected();
        assert_as_written(&found, &names.keys().map(String::as_str).collect::<Vec<_>>());
        assert!(matches!(found["bn.num_batches_tracked"].values, Values::Integer(_)));
        assert!(matches!(found["half"].values, Values::Float(_)));
    }
}

#[test]
fn the_tar_form_is_read() {
    assert_as_written(&read(&file("tar.pth")).unwrap(), &["conv.weight", "turned", "tail"]);
}

#[test]
fn a_checkpoint_is_looked_into_and_a_wrapper_s_prefix_dropped() {
    assert_as_written(&read(&file("checkpoint.pth")).unwrap(), &["conv.weight", "turned"]);
}

#[test]
fn a_file_that_wants_code_to_be_run_is_refused_by_its_name() {
    for name in ["evil-zip.pth", "evil-legacy.pth"] {
        let error = read(&file(name)).unwrap_err().to_string();
        assert!(error.starts_with("the file wants `posix.system` to be run"), "{name}: {error}");
    }
    let error = read(&file("module.pth")).unwrap_err().to_string();
    assert!(error.contains("`torch.nn.modules.linear.Linear`"), "{error}");
}

#[test]
fn what_holds_no_named_tensors_is_said() {
    let error = read(&file("no-tensors.pth")).unwrap_err().to_string();
    assert_eq!(error, "it holds no tensors; its keys are epoch, lr");
    let error = read(&file("one-tensor.pth")).unwrap_err().to_string();
    assert!(error.contains("save `model.state_dict()`"), "{error}");
    let error = parse(b"hello").unwrap_err().to_string();
    assert!(error.contains("neither a zip archive nor a pickle"), "{error}");
}

/// Whatever the damage, there is an error or values, and never a panic or endless work.
#[test]
fn no_damage_makes_it_panic() {
    for name in ["zip.pth", "legacy.pth", "tar.pth", "checkpoint.pth"] {
        let whole = fs::read(file(name)).unwrap();
        for at in 0..whole.len() {
            let _ = parse(&whole[..at]);
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= change;
                let _ = parse(&damaged);
            }
        }
    }
}

#[test]
fn a_small_file_cannot_ask_for_a_large_tensor() {
    let bytes = [0_u8; 16];
    let view = |shape: &[usize], stride: &[usize], offset| View {
        storage: 0,
        offset,
        shape: shape.to_vec(),
        stride: stride.to_vec(),
    };
    let read = |view: &View| Kind::Float.tensor("w", view, &bytes, &mut 0);
    assert!(read(&view(&[2, 2], &[2, 1], 0)).is_ok());
    assert!(read(&view(&[4], &[0], 3)).is_ok());
    for wrong in [
        view(&[1 << 20], &[0], 0),
        view(&[5], &[1], 0),
        view(&[2], &[usize::MAX], 1),
        view(&[usize::MAX, 2], &[0, 0], 0),
        view(&[1], &[1], 4),
    ] {
        assert!(read(&wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(read(&view(&[1, 1], &[usize::MAX, 7], 0)).unwrap().shape, [1, 1]);
}
