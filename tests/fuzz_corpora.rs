//! The fuzz targets without a fuzzer: every file of their corpora, and many files that are almost
//! those. Whatever the bytes, a reader answers and never panics.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use runner::random;

/// Changed files for each file of a corpus, and for all of them.
const CHANGES: u64 = 400;
const CHANGES_OF_ALL: u64 = 18 * CHANGES;

/// Numbers that are too large for something: memory, 32 and 64 bits, the places of a file.
const LARGE: [u64; 8] =
    [65_536, (1 << 24) + 1, 1 << 31, u32::MAX as u64, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX];

/// Puts `number` in place of one of the numbers that are written out in `bytes`, the one at or after
/// `at`.
fn write_out(bytes: &mut Vec<u8>, at: usize, number: u64) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes[at..].iter().position(digit).map(|after| at + after) else { return };
    let len = bytes[start..].iter().take_while(|byte| digit(byte)).count();
    bytes.splice(start..start + len, number.to_string().into_bytes());
}

/// `bytes` with a few bits flipped, bytes replaced, parts cut out, repeated or put elsewhere, and
/// numbers, written out or binary, replaced by large ones.
fn changed(bytes: &[u8], target: &str, number: u64) -> Vec<u8> {
    let mut stream = random::stream(number, target, 0, bytes.len() as u64);
    let mut below = |end: usize| stream.below(end.max(1));
    let mut bytes = bytes.to_vec();
    for _ in 0..=below(3) {
        let (at, len) = (below(bytes.len()), below(12) + 1);
        let end = (at + len).min(bytes.len());
        match below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 0xff, b'"', b'9', b'-', b'{'][below(6)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = below(bytes.len());
                bytes.splice(to..to, part);
            }
            5 => {
                let part = vec![0xff; end - at];
                bytes.splice(at..end, part);
            }
            6 | 7 => write_out(&mut bytes, at, LARGE[below(LARGE.len())]),
            _ => {
                let number = LARGE[below(LARGE.len())];
                let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
                let number = [&little[..4], &little[..], &big[4..], &big[..]][below(4)].to_vec();
                let end = (at + number.len()).min(bytes.len());
                bytes.splice(at..end, number);
            }
        }
    }
    bytes
}

#[test]
fn no_reader_panics_on_the_corpora_and_what_is_almost_them() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut files: Vec<_> =
            fs::read_dir(home.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {name}");
        let changes = CHANGES.min(CHANGES_OF_ALL / files.len() as u64);
        for file in files {
            let whole = fs::read(&file).unwrap();
            let all = (0..changes).map(|number| changed(&whole, name, number));
            for (number, bytes) in [whole.clone(), Vec::new()].into_iter().chain(all).enumerate() {
                if catch_unwind(|| target(&bytes)).is_err() {
                    let kept = std::env::temp_dir().join(format!("{name}-{number}"));
                    fs::write(&kept, &bytes).unwrap();
                    panic!(
                        "{name} panics on change {number} of {}, kept in {}",
                        file.display(),
                        kept.display()
                    );
                }
            }
        }
    }
}

#[test]
fn the_changes_write_large_numbers() {
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    for number in 0..CHANGES {
        let text = changed(br#"{"channels": 3, "height": 4}"#, "model", number);
        seen.extend(
            LARGE.iter().filter(|it| {
                String::from_utf8_lossy(&text).contains(&format!("\"channels\": {it},"))
            }),
        );
    }
    assert_eq!(seen.len(), LARGE.len(), "{seen:?}");
}

/// The corpora are what the readers are for, so that changes of them come far. With
/// `RUNNER_RENEW_CORPORA=1` the checkpoint among them is written anew, after its format changed.
#[test]
fn the_corpora_are_readable() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut training = targets::training();
    let path = home.join("checkpoint/within-epoch.safetensors");
    if std::env::var_os("RUNNER_RENEW_CORPORA").is_some() {
        fs::write(&path, runner::train::checkpoint::of_start(&mut training)).unwrap();
    }
    let bytes = fs::read(path).unwrap();
    assert!(runner::train::checkpoint::restore(&bytes, &mut training));
    runner::report::record::Record::read(&home.join("record")).unwrap();
    for file in ["tiny.toml", "sweep.toml"] {
        assert!(runner::plan::resolve::load(&home.join("pipeline").join(file), &[]).is_ok());
    }
}
