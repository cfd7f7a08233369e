//! Advice about data sets of features: their files, and what can be done with them.

use super::own_data::{File, RUN, download, put, text};
use super::scene::Scene;

const CHECK: &[&str] = &["check", "p.toml"];

/// Two features and a label of two classes, in lines.
const PLAIN: &str = "0.5,1,0\n1.5,2,1\n2.5,3,0\n3.5,5,1\n";
/// The same with the names of the columns.
const NAMED: &str = "x,y1,kind,part\n0.5,1,0,a\n1.5,2,1,b\n2.5,3,0,a\n3.5,5,1,b\n";

/// A download of one table with these lines in its stage.
fn table(content: &str, lines: &str) -> Scene {
    download(
        &format!("source = \"file:d.csv\"\nformat = \"csv\"\n{lines}"),
        &[text("d.csv", content)],
    )
}

/// A download of features with this stage besides.
fn with_stage(stage: &str) -> Scene {
    table(PLAIN, &format!("\n{stage}"))
}

/// An array of NumPy's.
fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(text.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), data].concat()
}

/// Two rows of one feature, and as many labels.
fn rows() -> Vec<u8> {
    npy("<f4", "(2, 1)", &[0.5_f32.to_le_bytes(), 1.5_f32.to_le_bytes()].concat())
}

fn labels(first: i32) -> Vec<u8> {
    npy("<i4", "(2,)", &[first.to_le_bytes(), 1_i32.to_le_bytes()].concat())
}

fn arrays(files: &[File], lines: &str) -> Scene {
    let scene = download(&format!("source = \"file:d\"\nformat = \"npy\"\n{lines}"), &[]);
    files.iter().for_each(|file| put(&scene.root().join("d"), file));
    scene
}

#[test]
fn advice_about_columns_helps_when_it_is_followed() {
    let format = "format = \"csv\"";
    let add = &[(format, "format = \"csv\"\n$0")][..];
    let label = "say which is the label: `labels = \"{last}\"`";
    table("0,1,2\n0.5,1,0\n1.5,2,1\n", "").follow(RUN, label, add);
    table("x,y1,kind\n0.5,1,0\n1.5,2,1\n", "").follow(RUN, label, add);
    let two = "a,b,class,label\n0.5,1,0,1\n1.5,2,1,0\n";
    let both = "say which is the label, and which columns are features: `labels = \"{last}\"` and `features = {names}`";
    table(two, "").follow(RUN, both, &[(format, "format = \"csv\"\n$0\n$1")]);
    let leak = "`features = {names}` leaves it out; if it is a feature, name it there as well";
    table(two, "labels = \"label\"").follow(RUN, leak, add);
    let named = [(format, "format = \"csv\"\n$0"), ("\"b\"]", "\"b\", \"class\"]")];
    table(two, "labels = \"label\"").follow(RUN, leak, &named);
    let names: String = (0..21).map(|at| format!("f{at},")).collect();
    let values = "0.5,".repeat(21);
    let wide = format!("{names}class,label\n{values}0,1\n{values}1,0\n");
    let alone = format!("{names}label\n{values}1\n{values}0\n");
    let chosen = "format = \"csv\"\nlabels = \"label\"\nfeatures = [\"f0\", \"f1\"]";
    for (lines, advice) in [
        (
            "",
            "say which is the label, `labels = \"{last}\"`, and take the other ones out of the file or name the features in `features`",
        ),
        (
            "labels = \"label\"",
            "name the features in `features`, or take that column out of the file",
        ),
    ] {
        let edits = [(lines, ""), (format, chosen)];
        table(&wide, lines).follow(RUN, advice, &edits[usize::from(lines.is_empty())..]);
        let scene = table(&wide, lines);
        scene.advised(RUN, advice);
        put(scene.root(), &text("d.csv", &alone));
        scene.done(RUN, advice);
    }
    let of = "its columns are {}";
    table(NAMED, "labels = \"kinds\"\nfeatures = [\"x\"]").follow(RUN, of, &[("kinds", "$2")]);
    table(PLAIN, "labels = \"kind\"").follow(
        RUN,
        "of a file without names of columns the label is the last: leave `labels`, `groups` and `features` out",
        &[("$0 = \"kind\"", "")],
    );
    table(NAMED, "labels = \"kind\"\nfeatures = [\"x\", \"kind\"]").follow(
        RUN,
        "name each column once",
        &[(", \"kind\"]", "]")],
    );
    let one = "between the values stand commas, semicolons, tabs or spaces";
    let scene = table("0.5|1\n1.5|0\n", "");
    scene.advised(RUN, one);
    put(scene.root(), &text("d.csv", PLAIN));
    scene.done(RUN, one);
    let unnamed =
        "a column without a name is left out if it counts the rows; give any other one a name";
    let scene = table(",x,label\n7,0.5,0\n9,1.5,1\n", "");
    scene.advised(RUN, unnamed);
    put(scene.root(), &text("d.csv", "z,x,label\n7,0.5,0\n9,1.5,1\n"));
    scene.done(RUN, unnamed);
}

#[test]
fn advice_about_groups_and_labels_helps_when_it_is_followed() {
    let groups = "labels = \"kind\"\nfeatures = [\"x\", \"y1\"]\ngroups = \"part\"";
    let odd = NAMED.replace(",a\n", ",a/b\n");
    let names = "name groups by letters, digits, `-` and `_`: every group becomes a split";
    let scene = table(&odd, groups);
    scene.advised(RUN, names);
    put(scene.root(), &text("d.csv", NAMED));
    scene.done(RUN, names);
    let many: String = (0..1001).map(|at| format!("{at}.5,{at},{},g{at}\n", at % 2)).collect();
    let most = "`groups` names what tells splits apart: at most {most} of them";
    let many = format!("x,y1,kind,part\n{many}");
    table(&many, groups).follow(RUN, most, &[("groups = \"part\"", "")]);
    let below = "numbers of classes count from 0 or from 1; words are taken as names";
    let scene = table("0.5,1,-1\n1.5,2,1\n", "");
    scene.advised(RUN, below);
    put(scene.root(), &text("d.csv", PLAIN));
    scene.done(RUN, below);
    let scene = table("0.5,1,-1\n1.5,2,1\n", "");
    put(scene.root(), &text("d.csv", "0.5,1,minus\n1.5,2,plus\n"));
    scene.done(RUN, below);
}

#[test]
fn advice_about_several_files_helps_when_it_is_followed() {
    let folder = || {
        download(
            "source = \"file:f\"\nformat = \"csv\"",
            &[text("f/amazon.csv", PLAIN), text("f/webcam.csv", PLAIN)],
        )
    };
    let one = "of several data sets in one folder, `source` names the file of one";
    folder().follow(RUN, one, &[("file:f", "file:f/amazon.csv")]);
    let none = "`source` may also name the file itself: `source = \"file:FOLDER/FILE\"`";
    let mut scene =
        download("source = \"file:f\"\nformat = \"csv\"", &[text("f/amazon.data", PLAIN)]);
    scene.follow(RUN, none, &[("source = \"file:f\"", "$1"), ("FOLDER/FILE", "f/amazon.data")]);
    let splits = || {
        download(
            "source = \"file:f\"\nformat = \"csv\"\nlabels = \"kind\"\nfeatures = [\"x\"]\ngroups = \"part\"",
            &[text("f/train.csv", NAMED), text("f/test.csv", NAMED)],
        )
    };
    let both = "leave `groups` out, or let `source` name one file";
    splits().follow(RUN, both, &[("groups = \"part\"", "")]);
    splits().follow(RUN, both, &[("file:f", "file:f/train.csv")]);
}

#[test]
fn advice_about_arrays_helps_when_it_is_followed() {
    let files = [("a.npy", rows()), ("labels.npy", labels(0))];
    let format = "format = \"npy\"";
    let add = &[(format, "format = \"npy\"\n$0")][..];
    arrays(&files, "").follow(RUN, "say which holds them: `{key} = \"{one}\"`", add);
    let which = "`features`, `labels` and `groups` say which arrays are meant";
    arrays(&files, "features = \"b\"").follow(RUN, which, &[("\"b\"", "\"a\"")]);
    let two = [("X.npy", rows()), ("fts.npy", rows()), ("labels.npy", labels(0))];
    arrays(&two, "").follow(RUN, "say which does: `{key} = \"{}\"`", add);
    let several = "only of a table (`format = \"csv\"`) several columns can be named";
    arrays(&files, "features = [\"a\", \"b\"]").follow(RUN, several, &[(", \"b\"", "")]);
}

#[test]
fn advice_of_stages_that_want_pixels_helps_when_it_is_followed() {
    let resized = "[stages.n]\nkind = \"normalize\"\ninput = \"d\"\nresize = 4\nstd = \"auto\"";
    with_stage(resized).follow(
        CHECK,
        "leave `{key}` out: of features only `mean` and `std` can be set",
        &[("$0 = 4", "")],
    );
    let wide = "0.5,1,2,4,0\n1.5,2,3,1,1\n2.5,3,0,2,0\n3.5,5,1,0,1\n";
    let one = "\n[stages.n]\nkind = \"normalize\"\ninput = \"d\"\nmean = [0.5]";
    table(wide, one).follow(
        RUN,
        "write {channels} numbers, one for each feature, or `0.5` for all of them",
        &[("mean = [0.5]", "mean = $0")],
    );
    let net = "[stages.net]\nkind = \"pretrain\"\ntrain = \"d\"\nepochs = 1\nbatch_size = 2\n";
    let perceptron = "list the layers of a perceptron: `model = { layers = [100, \"relu\"] }`";
    with_stage(&format!("{net}model = \"lenet\"")).follow(
        CHECK,
        perceptron,
        &[("model = \"lenet\"", "$0")],
    );
    let layers = "model = { layers = [100, \"relu\"] }";
    with_stage(&format!("{net}{layers}\naugment = [\"flip\", \"mixup\"]")).follow(
        CHECK,
        "leave `augment` out; `mixup` alone mixes features as well",
        &[("\"flip\", ", "")],
    );
    let mic = "method = { kind = \"mic\", target = \"d\" }";
    let adapted = "[stages.adapted]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"d\"\nepochs = 1\n\
                   batch_size = 2\n";
    with_stage(&format!("{net}{layers}\n\n{adapted}{mic}")).follow(
        CHECK,
        "choose a method that needs no pixels, such as `dann` or `coral`",
        &[("mic", "$0")],
    );
    let worse = "[stages.w]\nkind = \"synthesize\"\nrecipe = \"corrupt\"\ninput = \"d\"\n\
                 corruption = \"gaussian_noise\"\nseverity = 1\n\n\
                 [stages.images]\nkind = \"download\"\ndataset = \"mnist-10k\"";
    with_stage(worse).follow(
        CHECK,
        "name a data set of images",
        &[("input = \"d\"", "input = \"images\"")],
    );
}

#[test]
fn advice_about_a_boundary_helps_when_it_is_followed() {
    let moons = |angle: &str| {
        format!("[stages.{angle}]\nkind = \"synthesize\"\nrecipe = \"two-moons\"\nsamples = 20\n")
    };
    let net = "[stages.net]\nkind = \"pretrain\"\ntrain = \"a\"\nepochs = 1\nbatch_size = 4\n\
               model = { layers = [4, \"relu\"] }\n";
    let score = |on: &str| {
        format!(
            "[stages.s]\nkind = \"evaluate\"\nmodels = [\"net\"]\non = [{on}]\nboundary = {{ resolution = 10 }}\n"
        )
    };
    let file = |rest: &str| format!("[pipeline]\nname = \"p\"\n\n{rest}");
    let images = "[stages.images]\nkind = \"download\"\ndataset = \"mnist-10k\"\n";
    let of_images = net.replace("train = \"a\"", "train = \"images\"");
    let mut scene = Scene::new(file(&[images, &of_images, &score("\"images\"")].concat()));
    scene.follow(
        CHECK,
        "leave `boundary` out; `embedding` brings any features into a plane",
        &[("boundary = { resolution = 10 }", "embedding = {}")],
    );
    let scaled = "[stages.n]\nkind = \"normalize\"\ninput = \"b\"\nmean = \"auto\"\nstd = 1.0\n";
    let all = [&moons("a"), &moons("b"), scaled, net, &score("\"a\", \"n\"")].concat();
    Scene::new(file(&all)).follow(
        RUN,
        "give the data sets the same numbers for `mean` and `std`, or score each in a stage of its own",
        &[("mean = \"auto\"", "mean = 0.0")],
    );
}
