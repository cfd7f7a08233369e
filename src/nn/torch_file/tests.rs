//! Against files that PyTorch wrote (tests/golden/torch_files.py).

use std::fs;
use std::path::PathBuf;

use super::storage::ElementType;
use super::value::TensorView;
use super::*;

/// Every tensor of the file at `path`.
fn read(path: &Path) -> Result<IndexMap<String, Tensor>, TorchFileError> {
    TorchFile::open(path, None)?.tensors()
}

/// Every tensor of a file's bytes.
fn parse(bytes: &[u8]) -> Result<IndexMap<String, Tensor>, TorchFileError> {
    TorchFile::of(bytes, None)?.tensors()
}

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
fn numbers(values: &Numbers) -> Vec<f64> {
    match values {
        Numbers::Float(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Numbers::Integer(values) => values.iter().map(|value| *value as f64).collect(),
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
        assert!(matches!(found["bn.num_batches_tracked"].values, Numbers::Integer(_)));
        assert!(matches!(found["half"].values, Numbers::Float(_)));
    }
}

#[test]
fn the_tar_form_is_read() {
    assert_as_written(&read(&file("tar.pth")).unwrap(), &["conv.weight", "turned", "tail"]);
}

#[test]
fn a_checkpoint_is_looked_into_and_names_stay_as_they_are() {
    let found = TorchFile::open(&file("checkpoint.pth"), None).unwrap();
    assert_eq!(found.names().collect::<Vec<_>>(), ["module.conv.weight", "module.turned"]);
    assert_eq!(found.entry(), Some("state_dict"));
    assert_eq!(found.shape("module.turned"), Some(Ok(&[4, 3][..])));
    assert_eq!(found.shape("turned"), None);
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
    let error = read(&file("one-tensor.pth")).unwrap_err();
    assert!(error.help(Path::new("x"))[0].contains("save `model.state_dict()`"), "{error}");
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
    let view = |shape: &[usize], stride: &[usize], offset| TensorView {
        storage: 0,
        offset,
        shape: shape.to_vec(),
        stride: stride.to_vec(),
        dtype: None,
    };
    let read = |view: &TensorView| ElementType::Float.tensor("w", view, &bytes);
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

/// Every file of both forms holds these among other things.
const TWO: [&str; 2] = ["conv.weight", "turned"];

#[test]
fn weights_are_found_beside_everything_that_torch_load_accepts() {
    for name in ["imagenet.pth.tar", "legacy-imagenet.pth.tar"] {
        let found = TorchFile::open(&file(name), None).unwrap();
        assert_eq!(found.entry(), Some("state_dict"), "{name}");
        let bare = found.tensors().unwrap().into_iter();
        let bare = bare.map(|(name, it)| (name.strip_prefix("module.").unwrap().to_owned(), it));
        assert_as_written(&bare.collect(), &TWO);
    }
}

#[test]
fn the_entry_that_is_usual_is_found_and_one_that_is_named_is_taken() {
    for (name, named, taken) in [
        ("net.pth", None, Some("net")),
        ("only.pth", None, Some("encoder")),
        ("deep.pth", None, Some("checkpoint.model")),
        ("deep.pth", Some("checkpoint.model"), Some("checkpoint.model")),
        ("ema.pth", None, Some("model")),
        ("teacher.pth", Some("teacher"), Some("teacher")),
        ("parameters.pth", None, None),
    ] {
        for form in ["", "legacy-"] {
            let path = file(&format!("{form}{name}"));
            let found = TorchFile::open(&path, named).unwrap();
            assert_eq!(found.entry(), taken, "{form}{name}");
            assert_as_written(&found.tensors().unwrap(), &TWO);
        }
    }
    let found = TorchFile::open(&file("ema.pth"), None).unwrap();
    assert_eq!(found.others(), ["model_ema"]);
    let tar = TorchFile::open(&file("tar.pth"), Some("model")).unwrap_err();
    assert!(tar.help(Path::new("x"))[0].contains("leave `entry` out"), "{tar}");
}

#[test]
fn an_entry_that_is_not_there_or_not_said_is_an_error_that_lists_them() {
    for named in [None, Some("techer"), Some("epoch"), Some("teacher.conv")] {
        let error = TorchFile::open(&file("teacher.pth"), named).unwrap_err();
        let help = error.help(Path::new("x"));
        assert_eq!(help, ["tensors are under `entry = \"student\"`, `entry = \"teacher\"`"]);
    }
}

#[test]
fn a_tensor_that_weights_are_not_is_in_nobodys_way() {
    let found = TorchFile::open(&file("strange.pth"), None).unwrap();
    for name in ["uint64", "float8", "complex", "conjugate", "sparse", "quantised", "meta"] {
        assert!(found.shape(name).unwrap().is_err(), "{name}");
        assert!(found.tensor(name).is_err(), "{name}");
    }
    assert_eq!(found.tensor("uint16").unwrap().values, Numbers::Integer(vec![1, 65535]));
    let two = TWO.map(|name| (name.to_owned(), found.tensor(name).unwrap()));
    assert_as_written(&two.into_iter().collect(), &TWO);
}

#[test]
fn packed_archives_and_archives_without_checksums_are_read() {
    for name in ["deflated.pth", "no-checksums.pth"] {
        assert_as_written(&read(&file(name)).unwrap(), &TWO);
    }
}

#[test]
fn a_changed_number_in_a_file_with_checksums_is_an_error() {
    for name in ["zip.pth", "deflated.pth"] {
        let whole = fs::read(file(name)).unwrap();
        let expected = parse(&whole).unwrap();
        let mut refused = 0;
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            match parse(&damaged) {
                // Between parts, in times and such, there is nothing to be damaged.
                Ok(found) => {
                    let same = found.iter().zip(&expected).all(|(a, b)| a.1 == b.1);
                    assert!(same, "{name}, byte {at}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 300, "{refused}");
    }
}

#[test]
fn a_refused_file_says_how_to_get_its_weights() {
    let help = |name: &str| {
        let error = TorchFile::open(&file(name), None).unwrap_err();
        assert!(matches!(error, TorchFileError::Refused { .. }), "{name}: {error}");
        error.help(Path::new("/it's/here.pth"))[0].clone()
    };
    assert!(help("module.pth").contains("torch.save(c.state_dict(), sys.argv[2])"));
    assert!(help("scripted.pt").contains("torch.jit.load(sys.argv[1]"));
    assert!(help("namespace.pth").contains("for k, v in c[\"model\"].items()"));
    assert!(help("evil-zip.pth").contains("for k, v in c.items()"));
    assert!(help("evil-legacy.pth").contains("'/it'\\''s/here.pth' weights.pth"));
}

#[test]
fn what_is_no_file_of_pytorchs_is_called_what_it_is() {
    for (bytes, what) in [
        (&b""[..], "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (&[0x1f, 0x8b, 8, 0], "gzip"),
        (b"\x93NUMPY\x01", "NumPy"),
        (b"hello", "neither a zip archive nor a pickle"),
    ] {
        let error = parse(bytes).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.help(Path::new("x")).len(), 1, "{error}");
    }
}

/// A pickle of the form before 1.6 whose object is `object`.
fn pickled(object: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let facts = b"\x80\x02M\xe9\x03.\x80\x02}q\x00.";
    [&magic[..], facts, b"\x80\x02", object, b".\x80\x02]."].concat()
}

#[test]
fn a_small_pickle_cannot_ask_for_much_memory() {
    let many = |start: &[u8], part: &[u8], times: usize| {
        let mut object = start.to_vec();
        (0..times).for_each(|_| object.extend_from_slice(part));
        object
    };
    // A list of a million Nones, wrapped again and again.
    let mut list = b"](".to_vec();
    list.extend(vec![b'N'; 1_000_000]);
    list.extend(b"eq\x000ctorch\nSize\nq\x010");
    for (what, object) in [
        ("tuples in tuples", many(b")", b"\x85", 3_000_000)),
        ("lists", many(b"", b"]", 3_000_000)),
        ("dictionaries", many(b"", b"}", 3_000_000)),
        ("marks", many(b"", b"(", 20_000_000)),
        ("texts", many(b"", b"U\x01x", 3_000_000)),
        ("memories", many(b"N", b"\x94", 8_000_000)),
    ] {
        let error = parse(&pickled(&object)).unwrap_err();
        assert!(error.to_string().contains("more than 64 MB"), "{what}: {error}");
    }
    // What is wrapped is not copied.
    let wrapped = many(&list, b"h\x01h\x00\x85R", 200_000);
    let error = parse(&pickled(&wrapped)).unwrap_err();
    assert!(error.to_string().contains("no dictionary"), "{error}");
    // More dimensions than a tensor has are not copied, either.
    let shape = b"ctorch._utils\n_rebuild_tensor\n(U\x01x\x85QK\x00h\x00h\x00tR";
    let error = parse(&pickled(&[&list[..], shape].concat())).unwrap_err();
    assert!(error.to_string().contains("other arguments"), "{error}");
}

#[test]
fn a_dictionary_that_holds_itself_is_looked_into_once() {
    let error = parse(&pickled(b"}q\x00U\x05modelh\x00s")).unwrap_err();
    assert_eq!(error.to_string(), "it holds no tensors; its keys are model");
}
