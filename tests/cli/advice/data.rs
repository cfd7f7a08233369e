//! Advice about data of the user's own, where they are and how they are laid out, and about data that
//! must be fetched.

use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use super::scene::Scene;

const RUN: &[&str] = &["run", "p.toml", "--offline"];

/// A file of this name below the scene's folder, as `files` lists them.
type File<'a> = (&'a str, Vec<u8>);

fn put(root: &Path, (name, bytes): &File) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A picture of one colour.
fn png(name: &str, colour: u8) -> File<'_> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(4, 4, image::Rgb([colour, colour, 0]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    (name, bytes.into_inner())
}

fn text<'a>(name: &'a str, text: &str) -> File<'a> {
    (name, text.as_bytes().to_vec())
}

/// A pipeline of one download with these lines, beside these files.
fn download(lines: &str, files: &[File]) -> Scene {
    let scene = Scene::new(format!(
        "[pipeline]\nname = \"p\"\n\n[stages.d]\nkind = \"download\"\n{lines}\n"
    ));
    files.iter().for_each(|file| put(scene.root(), file));
    scene
}

/// A folder of images, called `photos`, with these files in it.
fn photos(names: &[&str]) -> Scene {
    let scene = download("source = \"file:photos\"\nformat = \"image-folder\"", &[]);
    for (at, name) in names.iter().enumerate() {
        put(&scene.root().join("photos"), &png(name, u8::try_from(at * 9).unwrap()));
    }
    scene
}

/// A folder of pictures called `0.png` to `15.png`, with these lists in it.
fn lists(files: &[(&str, &str)]) -> Scene {
    let scene = download("source = \"file:lists\"\nformat = \"image-list\"", &[]);
    let folder = scene.root().join("lists");
    (0..16).for_each(|at| put(&folder, &png(&format!("{at}.png"), at * 9)));
    files.iter().for_each(|(name, lines)| put(&folder, &text(name, lines)));
    scene
}

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

const FORMAT: &str = "format = \"image-folder\"";
const ROOT: &str = "`root = \"FOLDER\"` points to a folder in the source where that begins";
const NO_SPLITS: &str =
    "`splits = \"none\"` takes folders called train, valid or test for classes as well";

#[test]
fn advice_about_folders_of_images_helps_when_it_is_followed() {
    let both = format!("{FORMAT}\n$0");
    let add: &[(&str, &str)] = &[(FORMAT, &both)];
    let domains = ["amazon/cat/1.png", "amazon/dog/1.png", "webcam/cat/1.png", "webcam/dog/1.png"];
    let one = "`root = {inside}` takes `{a}` alone";
    photos(&["cat/1.png"]).follow(RUN, "`single_class = true` if that is meant", add);
    photos(&domains).follow(RUN, one, add);
    photos(&domains).follow(RUN, "`splits = \"none\"` if `{a}` and `{b}` are classes", add);
    photos(&domains).follow(RUN, ROOT, &[(FORMAT, &both), ("FOLDER", "webcam")]);
    // What a folder is called may need escapes in TOML.
    for odd in ["a\"b", "a\\tb"] {
        let names = domains.map(|name| name.replace("amazon", odd));
        photos(&names.each_ref().map(String::as_str)).follow(RUN, one, add);
    }
    photos(&["train/cat/1.png", "other/dog/1.png"]).follow(RUN, NO_SPLITS, add);
    photos(&["train/1.png", "test/1.png"]).follow(RUN, NO_SPLITS, add);

    for expected in [
        "expected <split>/<class>/<image> with the splits train, valid and test (any of them)",
        "or <class>/<image>, which makes one split `train`",
        "images are {}; every image needs a class",
    ] {
        let scene = photos(&["1.png", "2.png"]);
        scene.advised(RUN, expected);
        for (at, class) in ["cat", "dog"].iter().enumerate() {
            let split = if expected.contains("<split>") { "train/" } else { "" };
            let folder = scene.root().join(format!("photos/{split}{class}"));
            fs::create_dir_all(&folder).unwrap();
            let from = scene.root().join(format!("photos/{}.png", at + 1));
            fs::rename(from, folder.join("1.png")).unwrap();
        }
        scene.done(RUN, expected);
    }
}

#[test]
fn advice_about_the_place_of_a_source_helps_when_it_is_followed() {
    let cats = ["cat/1.png", "dog/1.png"];
    let sum = "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"";
    let with = |line: &str| format!("{FORMAT}\n{line}");
    let wrong = |scene: &mut Scene, line: &str| scene.edit((FORMAT, &with(line)), &[]);

    let mut scene = photos(&cats);
    scene.edit(("file:photos", "file:/photos-of-nobody"), &[]);
    let relative = "a path that does not start with / is taken from the current directory";
    scene.follow(RUN, relative, &[("file:/photos-of-nobody", "file:photos")]);

    let mut scene = photos(&["photos/cat/1.png", "photos/dog/1.png"]);
    wrong(&mut scene, "root = \"../x\"");
    scene.follow(
        RUN,
        "name a folder in it, such as `root = \"photos\"`",
        &[("root = \"../x\"", "$0")],
    );

    let mut scene = photos(&["photos/cat/1.png", "photos/dog/1.png"]);
    wrong(&mut scene, "root = \"fotos\"");
    scene.follow(RUN, "its folders are {}", &[("\"fotos\"", "\"$0\"")]);

    let mut scene = photos(&cats);
    wrong(&mut scene, sum);
    let folder = "leave `sha256` out: changes to the folder's files are noticed anyway";
    scene.follow(RUN, folder, &[(sum, "")]);

    let lines = "source = \"file:lists/a.csv\"\nformat = \"image-list\"\nroot = \"pics\"";
    let files = [
        png("lists/1.png", 1),
        png("lists/2.png", 2),
        text("lists/a.csv", "1.png,cat\n2.png,dog\n"),
    ];
    let begin = "where the names in a list begin; a path that does not start with / is \
                 taken from the current directory";
    download(lines, &files).follow(RUN, begin, &[("\"pics\"", "\"lists\"")]);

    let mut scene = download("source = \"file:one\"\nformat = \"safetensors\"\nroot = \"x\"", &[]);
    let tensors = std::collections::HashMap::from([
        ("images", (safetensors::Dtype::U8, vec![2, 2, 2, 3], vec![9_u8; 24])),
        (
            "labels",
            (safetensors::Dtype::I64, vec![2], [[0_u8; 8], [1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        ),
    ]);
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (*name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    put(scene.root(), &("one", bytes.clone()));
    let meaning = "`root` is a folder in a folder or archive, or where the names in a list begin";
    scene.follow(RUN, meaning, &[("root = \"x\"", "")]);
    // The same tensors under a name that says nothing, in a folder.
    let expected = "expected train.safetensors, valid.safetensors or test.safetensors, each with the \
             tensors `images` (u8, [N, H, W, C]) and `labels` (i64, [N])";
    scene.edit(("file:one", "file:several"), &[]);
    put(scene.root(), &("several/one", bytes.clone()));
    scene.advised(RUN, expected);
    put(scene.root(), &("several/train.safetensors", bytes));
    scene.done(RUN, expected);
}

#[test]
fn advice_about_archives_helps_when_it_is_followed() {
    let by_hand = "unpack it yourself, and name the folder: `source = \"file:FOLDER\"`";
    let source = "source = \"file:photos.7z\"";
    let mut scene = photos(&["cat/1.png", "dog/1.png"]);
    scene.edit(("source = \"file:photos\"", source), &[]);
    put(scene.root(), &("photos.7z", b"7z\xbc\xaf\x27\x1cmore".to_vec()));
    scene.follow(RUN, by_hand, &[(source, "$0"), ("FOLDER", "photos")]);

    let once_more = "get it once more, and compare its size or checksum with the published one";
    for (name, whole) in [
        ("photos.zip", zipped()),
        ("photos.tar", tarred(Vec::new())),
        ("photos.tar.gz", {
            let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            tarred(gz).finish().unwrap()
        }),
    ] {
        let mut scene = photos(&[]);
        scene.edit(("file:photos", &format!("file:{name}")), &[]);
        put(scene.root(), &(name, whole[..whole.len() / 2].to_vec()));
        scene.advised(RUN, once_more);
        put(scene.root(), &(name, whole));
        scene.done(RUN, once_more);
    }
}

/// A picture of two classes each.
fn zipped() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["cat/1.png", "dog/1.png"] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&png(name, 7).1).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The same in a .tar.
fn tarred<W: std::io::Write>(into: W) -> W {
    let mut tar = tar::Builder::new(into);
    for name in ["cat/1.png", "dog/1.png"] {
        let (_, bytes) = png(name, 7);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn advice_about_lists_of_images_helps_when_it_is_followed() {
    const LIST: &str = "format = \"image-list\"";
    let two = "0.png,cat\n1.png,dog\n";
    let also = format!("{LIST}\n$0");
    let columns =
        |image: &str, label: &str| format!("{LIST}\ncolumns = [\"{image}\", \"{label}\"]");
    let headed = [("a.csv", "photo,what\n0.png,cat\n1.png,dog\n")];

    let one = "name one list as the source, `source = \"file:FOLDER/LIST\"`";
    let named = [("source = \"file:lists\"", "$0"), ("FOLDER/LIST", "lists/a.csv")];
    lists(&[("a.csv", two), ("b.csv", two)]).follow(RUN, one, &named);
    lists(&[("a.csv", two), ("b.csv", two)]).follow(
        RUN,
        "or put all lists into `train`: `splits = \"none\"`",
        &[(LIST, &format!("{LIST}\n$1"))],
    );
    let other = "or take it out of the folder if it is no list of images";
    let scene = lists(&[("notes.csv", two), ("test.csv", two)]);
    scene.advised(RUN, other);
    fs::remove_file(scene.root().join("lists/notes.csv")).unwrap();
    scene.done(RUN, other);

    let none = "expected a text file such as train_labels.txt with a line `name.png label` for each \
             image, beside the images or beside a folder `train` that holds them";
    let scene = lists(&[]);
    scene.advised(RUN, none);
    put(&scene.root().join("lists"), &text("train_labels.txt", "0.png cat\n1.png dog\n"));
    scene.done(RUN, none);

    let mut scene = lists(&headed);
    scene.edit((LIST, &columns("image", "label")), &[]);
    scene.follow(RUN, "its columns are {}", &[("\"image\", \"label\"", "\"$0\", \"$1\"")]);
    let names = [(LIST, &*also), ("\"IMAGE\", \"LABEL\"", "\"photo\", \"what\"")];
    lists(&headed).follow(
        RUN,
        "if the line names the columns, say which: `columns = [\"IMAGE\", \"LABEL\"]`",
        &names,
    );
    let form = "a line is an image and its label, between them a comma, semicolon, tab or space";
    for between in [',', ';', '\t', ' '] {
        let scene = lists(&[("a.csv", "0.png:cat\n1.png:dog\n")]);
        scene.advised(RUN, form);
        let lines = format!("0.png{between}cat\n1.png{between}dog\n");
        put(&scene.root().join("lists"), &text("a.csv", &lines));
        scene.done(RUN, form);
    }
    lists(&[("a.csv", "path,label,class\n0.png,1,cat\n1.png,2,dog\n")]).follow(
        RUN,
        "say which count: `columns = [\"IMAGE\", \"LABEL\"]`",
        &[(LIST, &also), ("\"IMAGE\", \"LABEL\"", "\"path\", \"class\"")],
    );
    let split = [("a.csv", "path,label,split\n0.png,1,train\n1.png,2,test\n")];
    lists(&split).follow(
        RUN,
        "or ignore the column: `columns = [{:?}, {:?}]` takes every image of the list",
        &[(LIST, &also)],
    );
    let each = "make one list for each split, such as train.csv and test.csv";
    let scene = lists(&split);
    scene.advised(RUN, each);
    let folder = scene.root().join("lists");
    fs::remove_file(folder.join("a.csv")).unwrap();
    put(&folder, &text("train.csv", "path,label\n0.png,1\n2.png,2\n"));
    put(&folder, &text("test.csv", "path,label\n1.png,2\n"));
    scene.done(RUN, each);

    // Texts of the list that are corrected.
    let stray: String = (0..15).map(|at| format!("{at}.png,{}\n", at % 3)).collect();
    let quotes = "a value that holds the separator needs quotes around it";
    for (advice, before, after) in [
        (
            quotes,
            "path,label\n0.png,cat\n1.png,dog, wild\n".to_owned(),
            "path,label\n0.png,cat\n1.png,\"dog, wild\"\n".to_owned(),
        ),
        (
            "a value that holds the separator needs quotes around it; of more than two \
                     columns the first line must give the names, such as `path,label,source`",
            "0.png,cat,web\n1.png,dog,web\n".to_owned(),
            "path,label,source\n0.png,cat,web\n1.png,dog,web\n".to_owned(),
        ),
        (
            "correct it: numbers count classes, and {} of them would have no image",
            format!("{stray}15.png,1999\n"),
            format!("{stray}15.png,1\n"),
        ),
        (
            "or, if it is right, give the classes names: a label that is a word makes all labels names",
            format!("{stray}15.png,1999\n"),
            format!("{stray}15.png,class-1999\n"),
        ),
    ] {
        let scene = lists(&[("a.csv", &before)]);
        scene.advised(RUN, advice);
        put(&scene.root().join("lists"), &text("a.csv", &after));
        scene.done(RUN, advice);
    }
    let utf16: Vec<u8> =
        "\u{feff}0.png,cat\n1.png,dog\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let scene = lists(&[]);
    let folder = scene.root().join("lists");
    put(&folder, &("a.csv", utf16));
    let encoding = "the file is UTF-16; save it as UTF-8";
    scene.advised(RUN, encoding);
    put(&folder, &text("a.csv", two));
    scene.done(RUN, encoding);

    let elsewhere = "names are relative to the list's folder; `root = \"FOLDER\"` says another one";
    let mut scene = lists(&[("a.csv", "x.png,cat\ny.png,dog\n")]);
    let looked = "looked for it in {}";
    scene.advised(RUN, looked);
    for (name, colour) in [("pics/x.png", 1), ("pics/y.png", 2)] {
        put(scene.root(), &png(name, colour));
    }
    scene.edit(("file:lists", "file:lists/a.csv"), &[]);
    scene.follow(RUN, elsewhere, &[(LIST, &also), ("FOLDER", "pics")]);
    let scene = lists(&[("a.csv", "x.png,cat\ny.png,dog\n")]);
    scene.advised(RUN, looked);
    put(scene.root(), &png("lists/x.png", 1));
    put(scene.root(), &png("lists/y.png", 2));
    scene.done(RUN, looked);
    // The advice is worked out where the files are found above the list.
    for folder in ["lists", "a\"b", "a\\tb"] {
        let lines = format!("source = 'file:{folder}/of/a.csv'\n{LIST}");
        let names = [format!("{folder}/x.png"), format!("{folder}/y.png")];
        let mut scene = download(&lines, &[png(&names[0], 1), png(&names[1], 2)]);
        put(scene.root(), &text(&format!("{folder}/of/a.csv"), "x.png,cat\ny.png,dog\n"));
        scene.follow(RUN, "`root = {root}` says where the names begin", &[(LIST, &also)]);
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

#[test]
fn a_checksum_that_is_corrected_as_the_advice_says_is_taken() {
    let advice = "look whether it is the right file, whole; or correct `sha256`";
    let lines = b"1.png,cat\n2.png,dog\n".to_vec();
    let zeros = "0".repeat(64);
    let sum = runner::data::checksum::of_bytes(&lines);
    let source =
        format!("source = \"file:list.csv\"\nformat = \"image-list\"\nsha256 = \"{zeros}\"");
    download(&source, &[png("1.png", 1), png("2.png", 2), ("list.csv", lines)]).follow(
        RUN,
        advice,
        &[(&zeros, &sum)],
    );
}
