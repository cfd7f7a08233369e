//! Advice about data sets that are known by name or by their files, and about data that must be fetched.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use super::own_data::{FORMAT, RUN, download, png, put, text, zipped};

/// Two files of the MNIST format: `count` images of 2 x 2 pixels, and their labels.
fn idx(prefix: &str, count: u8) -> [(String, Vec<u8>); 2] {
    let header =
        |numbers: &[u32]| numbers.iter().flat_map(|it| it.to_be_bytes()).collect::<Vec<u8>>();
    let images =
        [header(&[0x803, count.into(), 2, 2]), vec![count; usize::from(count) * 4]].concat();
    let labels = [header(&[0x801, count.into()]), (0..count).map(|at| at % 2).collect()].concat();
    [
        (format!("{prefix}-images-idx3-ubyte"), images),
        (format!("{prefix}-labels-idx1-ubyte"), labels),
    ]
}

fn put_idx(root: &Path, folder: &str, count: u8) {
    for (name, bytes) in idx("train", count) {
        put(root, &(&format!("{folder}/{name}"), bytes));
    }
}

#[test]
fn advice_about_the_files_of_known_formats_helps_when_it_is_followed() {
    let source = |format: &str| format!("source = \"file:c\"\nformat = \"{format}\"");
    let only = "only one can be meant: `root = \"FOLDER\"` points to its folder in the source";
    let mut scene = download(&source("idx"), &[]);
    put_idx(scene.root(), "c/old", 6);
    put_idx(scene.root(), "c/new", 8);
    scene.follow(RUN, only, &[("\"idx\"", "\"idx\"\n$0"), ("FOLDER", "new")]);
    // Two names for the same split.
    let mut scene = download(&source("idx"), &[]);
    put_idx(scene.root(), "c/old", 6);
    for (name, bytes) in idx("training", 6) {
        put(scene.root(), &(&format!("c/new/{name}"), bytes));
    }
    scene.follow(RUN, only, &[("\"idx\"", "\"idx\"\n$0"), ("FOLDER", "new")]);
    // Side by side no folder tells them apart.
    let beside = "only one can be meant: take the other one out of the folder";
    let scene = download(&source("idx"), &[]);
    put_idx(scene.root(), "c", 6);
    let [(name, _), _] = idx("train", 6);
    let [(_, other), _] = idx("train", 7);
    put(scene.root(), &(&format!("c/{name}.gz"), other));
    scene.advised(RUN, beside);
    fs::remove_file(scene.root().join(format!("c/{name}.gz"))).unwrap();
    scene.done(RUN, beside);

    let pairs =
        "expected pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz";
    let scene = download(&source("idx"), &[text("c/readme", "nothing")]);
    scene.advised(RUN, pairs);
    put_idx(scene.root(), "c", 6);
    scene.done(RUN, pairs);

    let one = "`root = \"FOLDER\"` points to the folder of one of them";
    let batch = |labels: usize| {
        (0..4_u8).flat_map(|at| [vec![at; labels], vec![at; 3072]].concat()).collect::<Vec<u8>>()
    };
    let ten = [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ];
    let put_ten = |root: &Path| {
        ten.iter().for_each(|name| put(root, &(&format!("c/ten/{name}.bin"), batch(1))));
    };
    let hundred = [("c/hundred/train.bin", batch(2)), ("c/hundred/test.bin", batch(2))];
    for folder in ["ten", "hundred"] {
        let mut scene = download(&source("cifar"), &hundred);
        put_ten(scene.root());
        scene.follow(RUN, one, &[("\"cifar\"", "\"cifar\"\n$0"), ("FOLDER", folder)]);
    }
    let version = "expected the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin, \
             test_batch.bin) or of CIFAR-100 (train.bin, test.bin)";
    let scene = download(&source("cifar"), &[("c/ten/data_batch_1.bin", batch(1))]);
    scene.advised(RUN, version);
    put_ten(scene.root());
    scene.done(RUN, version);
    // Two data sets as the runner itself writes them.
    let mut scene = download(&source("idx"), &[]);
    put_idx(scene.root(), "c", 6);
    scene.done(RUN, one);
    let artifacts = crate::binary::files(&scene.root().join(".runner/artifacts"));
    for (at, file) in artifacts.iter().enumerate() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(file).unwrap();
        put(scene.root(), &(&format!("own/a/{name}"), bytes.clone()));
        put(scene.root(), &(&format!("own/b/{name}"), bytes));
        assert!(at < 20, "an artifact has a few files");
    }
    scene.edit((&source("idx"), "source = \"file:own\"\nformat = \"safetensors\""), &[]);
    scene.follow(RUN, one, &[("\"safetensors\"", "\"safetensors\"\n$0"), ("FOLDER", "b")]);
}

/// Serves `bytes` to all that ask; its address.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/photos.zip", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1) {
                head.push(byte[0]);
            }
            let length = bytes.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&bytes));
        }
    });
    address
}

#[test]
fn advice_about_data_that_must_be_fetched_helps_when_it_is_followed() {
    let bytes = zipped();
    let sum = runner::data::checksum::of_bytes(&bytes);
    let url = serve(bytes.clone());
    let from_web = |url: &str, sum: &str| {
        download(&format!("source = \"{url}\"\nsha256 = \"{sum}\"\n{FORMAT}"), &[])
    };

    let once = "run once without `--offline`";
    let scene = from_web(&url, &sum);
    assert_eq!(scene.advised(RUN, once), ["--offline"]);
    scene.done(&["run", "p.toml"], once);
    scene.done(RUN, once);

    let by_hand = "or get the file yourself and write `source = \"file:PATH\"`";
    for online in [false, true] {
        let mut scene = from_web(&url, &"0".repeat(64));
        put(scene.root(), &("photos.zip", bytes.clone()));
        let arguments = if online { &RUN[..2] } else { RUN };
        let source = format!("source = \"{url}\"");
        let sums = format!("sha256 = \"{}\"", "0".repeat(64));
        scene.follow(arguments, by_hand, &[(&source, "$0"), ("PATH", "photos.zip"), (&sums, "")]);
    }
    let look = "look at `source` and `sha256`";
    let zeros = "0".repeat(64);
    from_web(&url, &zeros).follow(&RUN[..2], look, &[(&zeros, &sum)]);

    let list = "get the list, and write `source = \"file:PATH\"`";
    let lines = b"1.png,cat\n2.png,dog\n".to_vec();
    let url = serve(lines.clone());
    let sum = runner::data::checksum::of_bytes(&lines);
    let mut scene = download(
        &format!("source = \"{url}\"\nsha256 = \"{sum}\"\nformat = \"image-list\""),
        &[png("1.png", 1), png("2.png", 2), ("list.csv", lines)],
    );
    let source = format!("source = \"{url}\"");
    scene.follow(&RUN[..2], list, &[(&source, "$0"), ("PATH", "list.csv")]);

    // The runner knows the data set, the user brings its files.
    let put_by_hand = "or put {} (plain or .gz) into a folder and write `source = \"file:FOLDER\"` and \
                 `format = \"{}\"` in place of `dataset = \"{name}\"`";
    let mut scene = download("dataset = \"mnist\"", &[]);
    for (name, bytes) in idx("train", 6).into_iter().chain(idx("t10k", 4)) {
        put(scene.root(), &(&format!("mine/{name}"), bytes));
    }
    scene.follow(RUN, put_by_hand, &[("dataset = \"mnist\"", "$0\n$1"), ("FOLDER", "mine")]);
    let whole = "or get {file} yourself and write `source = \"file:PATH/{file}\"` and {instead}";
    let mut scene = download("dataset = \"cifar-10\"", &[]);
    let words = scene.advised(RUN, whole);
    let batch: Vec<u8> = (0..4_u8).flat_map(|at| vec![at; 3073]).collect();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        fs::File::create(scene.root().join("cifar-10-binary.tar.gz")).unwrap(),
        flate2::Compression::fast(),
    ));
    for name in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(batch.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10/{name}.bin"), &batch[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    scene.edit(("dataset = \"cifar-10\"", "$0\n$1"), &words);
    scene.edit(("PATH/", "./"), &[]);
    scene.done(RUN, whole);
}
