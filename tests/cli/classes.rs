//! Data sets and models that call, order or number their classes differently.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::binary::{runner, text};
use crate::photos::folders;

const BLUE: [u8; 3] = [20, 30, 220];
const RED: [u8; 3] = [220, 30, 20];
const GREEN: [u8; 3] = [20, 220, 40];

/// A stage that reads such a folder.
fn download(name: &str) -> String {
    format!(
        "[stages.{name}]\nkind = \"download\"\nsource = \"file:{name}\"\nformat = \"image-folder\"\n\n"
    )
}

/// A stage that reads such a folder from an archive, which tells nothing of itself before it is unpacked.
fn packed(root: &Path, name: &str) -> String {
    let archive = format!("{name}.tar");
    let mut tar = tar::Builder::new(fs::File::create(root.join(&archive)).unwrap());
    tar.append_dir_all(name, root.join(name)).unwrap();
    tar.finish().unwrap();
    download(name).replace(&format!("file:{name}"), &format!("file:{archive}"))
}

const NET: &str = "[stages.net]\nkind = \"pretrain\"\ntrain = \"amazon\"\n\
                   model = { layers = [\"flatten\"] }\nepochs = 15\nbatch_size = 6\n\
                   optimizer = { kind = \"adam\", lr = 0.02 }\n";

/// A pipeline that trains on `amazon`, has `more` in it and scores on the splits `on`.
fn pipeline(root: &Path, more: &str, on: &str) {
    let score = format!("[stages.score]\nkind = \"evaluate\"\nmodels = [\"net\"]\non = [{on}]\n");
    let all =
        ["[pipeline]\nname = \"p\"\n\n", &download("amazon"), more, NET, "\n", &score].concat();
    fs::write(root.join("p.toml"), all).unwrap();
}

/// Exit code and standard error of a run.
fn run(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = runner(root, &[&["run", "p.toml"], arguments].concat());
    (output.status.code(), text(&output.stderr))
}

fn score(root: &Path, dataset: &str, metric: &str) -> Option<String> {
    let csv = fs::read_to_string(root.join("results/p/latest/score.csv")).unwrap();
    let start = format!("net,{dataset},{metric},");
    csv.lines().find_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
}

#[test]
fn other_names_are_an_error_with_both_lists_whose_advice_works() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("mug", RED)]);
    folders(root, "caltech", &[("coffee-mug", RED), ("touring-bike", BLUE)]);
    pipeline(root, &packed(root, "caltech"), "\"amazon.train\", \"caltech.train\"");
    // Both data sets are built, and then the stages compared with them.
    let (code, first) = run(root, &[]);
    assert_eq!(code, Some(2), "{first}");
    assert!(first.contains("caltech: done in") && !first.contains("net: "), "{first}");
    assert!(first.contains("the classes of the model: 0 `bike`, 1 `mug`"), "{first}");
    assert!(first.contains("data set: 0 `coffee-mug`, 1 `touring-bike`"), "{first}");
    assert!(!root.join("results/p/latest").exists(), "no number was made");

    // Now that the store has both, nothing runs at all, and the report is the same.
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("p.toml:") && said.contains("\"caltech.train\""), "{said}");
    assert!(said.contains("the model has no class `coffee-mug`"), "{said}");
    assert!(!said.contains("net: ") && !said.contains("caltech: "), "nothing ran: {said}");
    assert!(first.ends_with(&said), "the same report:\n{first}\n{said}");
    let planned = runner(root, &["plan", "p.toml"]);
    assert_eq!(planned.status.code(), Some(2), "{}", text(&planned.stderr));

    let table = said.split("`classes = {").nth(1).unwrap().split('}').next().unwrap();
    let named = format!(
        "{}[stages.named]\nkind = \"split\"\ninput = \"caltech\"\nclasses = {{{table}}}\n\n",
        packed(root, "caltech")
    );
    pipeline(root, &named, "\"amazon.train\", \"named.train\"");
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(0), "{said}");
    for dataset in ["amazon.train", "named.train"] {
        assert_eq!(score(root, dataset, "accuracy").as_deref(), Some("1"), "{dataset}");
    }
    // Class 0 of the data set is class 1 of the model; its images count there.
    assert_eq!(score(root, "named.train", "confusion.1.1").as_deref(), Some("6"));
    let numbers = fs::read_to_string(root.join("results/p/latest/score/classes.csv")).unwrap();
    assert_eq!(
        numbers,
        "model,dataset,class,in_model,in_dataset,matched_by\n\
         net,named.train,0,bike,bike,name\nnet,named.train,1,mug,mug,name\n"
    );
    let verified = runner(root, &["verify", "p"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

#[test]
fn no_training_begins_before_every_data_set_was_compared_wherever_it_stands_in_the_file() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("mug", RED)]);
    folders(root, "caltech", &[("coffee-mug", RED), ("touring-bike", BLUE)]);
    pipeline(root, "", "\"amazon.train\", \"resized.train\"");
    // Behind everything that trains, and with a stage in between.
    let late = "\n[stages.resized]\nkind = \"normalize\"\ninput = \"caltech\"\nresize = [6, 6]\n\n";
    let text = fs::read_to_string(root.join("p.toml")).unwrap() + late + &packed(root, "caltech");
    fs::write(root.join("p.toml"), text).unwrap();
    for jobs in ["1", "3"] {
        let store = format!("store-{jobs}");
        let (code, said) = run(root, &["--jobs", jobs, "--store", &store]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("the model has no class `coffee-mug`"), "{said}");
        assert!(said.contains("caltech: done in") && !said.contains("net: "), "{said}");
        assert!(!said.contains("skipped, because"), "the report says why: {said}");
    }
    // Where all is well, the training runs after the data sets that it does not read.
    let sound = fs::read_to_string(root.join("p.toml")).unwrap();
    let sound = sound.replace("\"caltech\"\nresize", "\"amazon\"\nresize");
    fs::write(root.join("p.toml"), sound).unwrap();
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(0), "{said}");
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no `{text}` in {said}"));
    assert!(place("caltech: done in") < place("net: pretrain started"), "{said}");
}

#[test]
fn a_part_of_the_classes_in_another_order_is_scored_by_name() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("leaf", GREEN), ("mug", RED)]);
    folders(root, "few", &[("leaf", GREEN), ("mug", RED)]);
    pipeline(root, &download("few"), "\"few.train\"");
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("matched by name"), "{said}");
    assert_eq!(score(root, "few.train", "accuracy").as_deref(), Some("1"));
    assert_eq!(score(root, "few.train", "class_accuracy.0"), None);
    assert_eq!(score(root, "few.train", "class_accuracy.2").as_deref(), Some("1"));
    fs::write(
        root.join("p.toml"),
        fs::read_to_string(root.join("p.toml")).unwrap()
            + "\n[table]\nrows = \"model\"\ncolumns = \"dataset\"\nvalue = \"class_accuracy.2\"\n",
    )
    .unwrap();
    assert_eq!(run(root, &[]).0, Some(0));
    let table = fs::read_to_string(root.join("results/p/latest/table.md")).unwrap();
    assert!(table.contains("The number of a class is the model's"), "{table}");
    // The chart calls the classes as the model does.
    assert!(runner(root, &["plot", "p"]).status.success());
    let matrix = root.join("results/p/latest/plots/confusion-net-few.train.csv");
    let matrix = fs::read_to_string(matrix).unwrap();
    assert!(matrix.contains("mug,mug,6\n") && matrix.contains("bike,bike,0\n"), "{matrix}");
}

#[test]
fn classes_without_names_are_matched_by_number_and_every_table_says_so() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("mug", RED)]);
    folders(root, "numbers", &[("0", BLUE), ("1", RED)]);
    pipeline(root, &download("numbers"), "\"amazon.train\", \"numbers.train\"");
    let output = runner(root, &["run", "p.toml"]);
    let said = [text(&output.stderr), text(&output.stdout)].concat();
    assert!(output.status.success(), "{said}");
    assert_eq!(score(root, "numbers.train", "accuracy").as_deref(), Some("1"));
    let note = "Classes were matched by number, not by name, as one side has no names for them: net on \
                numbers.train.";
    assert!(text(&output.stdout).contains(note), "{said}");
    assert!(text(&output.stderr).contains("0 `bike`, 1 `mug`"), "{said}");
    for file in ["table.md", "table.html", "table.json"] {
        let table = fs::read_to_string(root.join("results/p/latest").join(file)).unwrap();
        assert!(table.contains("Classes were matched by number"), "{file}: {table}");
    }
    folders(root, "three", &[("0", BLUE), ("1", RED), ("2", GREEN)]);
    pipeline(root, &download("three"), "\"three.train\"");
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the model has 2 classes, this data set has 3"), "{said}");
}

#[test]
fn training_validates_by_name_and_refuses_a_target_of_other_classes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("mug", RED)]);
    folders(root, "swapped", &[("a-mug", RED), ("bike", BLUE)]);
    let renamed = "[stages.checked]\nkind = \"split\"\ninput = \"swapped\"\n\
                   classes = { a-mug = \"mug\" }\n\n";
    pipeline(root, &[&download("swapped"), renamed].concat(), "\"amazon.train\"");
    let (code, said) = run(root, &["--set", "stages.net.validate=\"checked.train\""]);
    assert_eq!(code, Some(0), "{said}");
    let csv = fs::read_to_string(root.join("results/p/latest/net.csv")).unwrap();
    let last = csv.lines().rfind(|line| line.contains(",validate,accuracy,")).unwrap();
    assert!(last.ends_with(",1"), "{last}");

    for (key, value, where_) in [
        ("stages.net.validate", "\"swapped.train\"", "validate"),
        ("stages.tuned.method.target", "\"swapped.train\"", "method.target"),
    ] {
        let tuned = "[stages.tuned]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"amazon\"\n\
                     method = { kind = \"dann\", target = \"checked.train\" }\nepochs = 1\n\
                     batch_size = 4\n\n";
        pipeline(root, &[&download("swapped"), renamed, tuned].concat(), "\"amazon.train\"");
        let (code, said) = run(root, &["--set", &format!("{key}={value}")]);
        assert_eq!(code, Some(2), "{where_}: {said}");
        assert!(said.contains("the model has no class `a-mug`"), "{where_}: {said}");
        // Where the store has nothing yet, as soon as the data sets are built.
        let store = format!("other-{where_}");
        let (code, said) = run(root, &["--store", &store, "--set", &format!("{key}={value}")]);
        assert_eq!(code, Some(2), "{where_}: {said}");
        assert!(said.contains("the model has no class `a-mug`"), "{where_}: {said}");
        assert!(!said.contains("net: pretrain started"), "{where_}: {said}");
    }
}

#[test]
fn a_model_goes_on_learning_only_from_classes_that_it_has_or_with_a_new_head() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("mug", RED)]);
    folders(root, "plants", &[("leaf", GREEN), ("rose", RED)]);
    let tuned = "[stages.tuned]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"plants\"\n\
                 epochs = 4\nbatch_size = 4\n\n";
    pipeline(root, &[&download("plants"), tuned].concat(), "\"amazon.train\"");
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("in stage `tuned`") && !said.contains("net: "), "{said}");
    assert!(said.contains("the model has no class `leaf`"), "{said}");
    assert!(said.contains("`head = []`"), "{said}");
    let (code, said) = run(root, &["--set", "stages.tuned.head=[]"]);
    assert_eq!(code, Some(0), "{said}");
    let on_plants = ["--set", "stages.tuned.head=[]", "--set", "stages.score.models=[\"tuned\"]"];
    let (code, said) =
        run(root, &[&on_plants[..], &["--set", "stages.score.on=[\"plants.train\"]"]].concat());
    assert_eq!(code, Some(0), "the new head has the new names: {said}");
}

#[test]
fn scores_of_many_classes_grow_with_images_not_with_the_square_of_the_classes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let classes: u8 = 130;
    fs::create_dir_all(root.join("many")).unwrap();
    let mut list = String::new();
    for at in 0..classes {
        image::GrayImage::from_pixel(2, 2, image::Luma([at]))
            .save(root.join(format!("many/{at}.png")))
            .unwrap();
        let _ = writeln!(list, "{at}.png {at}");
    }
    fs::write(root.join("many/train.txt"), list).unwrap();
    let text =
        "[pipeline]\nname = \"p\"\n[stages.amazon]\nkind = \"download\"\nsource = \"file:many\"\n\
                format = \"image-list\"\n"
            .to_owned()
            + NET
            + "[stages.score]\nkind = \"evaluate\"\nmodels = [\"net\"]\non = [\"amazon.train\"]\n";
    fs::write(root.join("p.toml"), text).unwrap();
    let (code, said) = run(root, &["--set", "stages.net.epochs=1"]);
    assert_eq!(code, Some(0), "{said}");
    let csv = fs::read_to_string(root.join("results/p/latest/score.csv")).unwrap();
    let cells = csv.lines().filter(|line| line.contains(",confusion."));
    let counts: Vec<usize> =
        cells.map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect();
    assert!(counts.iter().all(|count| *count > 0), "only cells with images");
    assert_eq!(counts.iter().sum::<usize>(), usize::from(classes));
    assert!(csv.lines().count() < 3 * usize::from(classes), "{}", csv.lines().count());
    assert!(runner(root, &["report", "p"]).status.success());
}

#[test]
fn a_few_classes_have_every_cell_of_their_matrix() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    folders(root, "amazon", &[("bike", BLUE), ("leaf", GREEN), ("mug", RED)]);
    pipeline(root, "", "\"amazon.train\"");
    let (code, said) = run(root, &[]);
    assert_eq!(code, Some(0), "{said}");
    let csv = fs::read_to_string(root.join("results/p/latest/score.csv")).unwrap();
    assert_eq!(csv.lines().filter(|line| line.contains(",confusion.")).count(), 9);
    assert!(!root.join("results/p/latest/score/classes.csv").exists(), "the lists are the same");
}

#[test]
fn lists_that_lack_labels_are_scored_by_those_that_they_have() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let all = [("1", BLUE), ("2", RED), ("10", GREEN)];
    folders(root, "amazon", &all);
    let list = |name: &str, classes: &[&str]| {
        let lines: String = classes
            .iter()
            .flat_map(|class| (0..6).map(move |at| format!("amazon/{class}/{at}.png,{class}\n")))
            .collect();
        fs::write(root.join(name).with_extension("csv"), lines).unwrap();
        let source = format!("file:{name}");
        let stage = download(name).replace("image-folder", "image-list");
        stage.replace(&source, &format!("{source}.csv"))
    };
    let whole = list("whole", &["1", "2", "10"]);
    let part = list("part", &["2", "10"]);
    // A split in between hands on which classes are empty.
    let held = "[stages.held]\nkind = \"split\"\ninput = \"part\"\nholdout = 4\n\n";
    pipeline(root, &[&*whole, &part, held].concat(), "\"whole.train\", \"held.valid\"");
    let validated = ["--set", "stages.net.validate=\"part.train\""];
    for _ in 0..2 {
        let (code, said) = run(root, &validated);
        assert_eq!(code, Some(0), "{said}");
        for dataset in ["whole.train", "held.valid"] {
            assert_eq!(score(root, dataset, "accuracy").as_deref(), Some("1"), "{dataset}");
        }
    }
    assert_eq!(score(root, "held.valid", "class_accuracy.0"), None, "no image of 1");
    // The list whose labels count from 1 has a class for every number; those of the folders are among them.
    let (code, said) = run(root, &["--set", "stages.net.train=\"whole\""]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(score(root, "held.valid", "accuracy").as_deref(), Some("1"));
}
