//! Fine-tuning as a user declares it, from weights in a file to a tuned network.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::binary::{runner, text};
use crate::photos::photos;
use runner::nn::geometry::Chw;
use runner::nn::ops::CpuOps;
use runner::nn::{Model, Saved, zoo};
use safetensors::SafeTensors;

/// What a run said, which must have ended well.
fn done(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said + &text(&output.stdout)
}

fn failed(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, arguments);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

fn write(root: &Path, name: &str, pipeline: &str) {
    fs::write(root.join(name), format!("[pipeline]\nname = \"p\"\n{pipeline}")).unwrap();
}

/// An archive in the form of CIFAR-10's, every class with a colour of its own.
fn cifar(path: &Path) {
    let record = |label: u8, at: u8| {
        let mut record = vec![label];
        for plane in 0..3 {
            let colour = label.wrapping_mul(25 + 40 * plane);
            record.extend((0..1024_u32).map(|pixel| {
                colour.wrapping_add(u8::try_from((pixel * 7 + u32::from(at)) % 30).unwrap())
            }));
        }
        record
    };
    let file = fs::File::create(path).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, Default::default()));
    let names = (1..=5).map(|number| format!("data_batch_{number}.bin"));
    for (at, name) in names.chain(["test_batch.bin".to_owned()]).enumerate() {
        let at = u8::try_from(at).unwrap();
        let bytes: Vec<u8> = (0..20).flat_map(|label| record(label % 10, at)).collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &*bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

/// Fresh weights of `resnet18` for 1,000 classes, in `weights.safetensors`.
fn resnet18(folder: &Path) {
    let input = Chw { channels: 3, height: 32, width: 32 };
    let spec = (zoo::find("resnet18").unwrap().build)(zoo::ArchSettings::new(input, 1000));
    let model = Model::new(spec, &CpuOps::shared(), 7).unwrap();
    Saved { model, classes: Vec::new() }.save(folder).unwrap();
}

fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    (view.shape().to_vec(), view.data().to_vec())
}

#[test]
fn the_cifar_recipe_runs_on_stand_ins_and_what_is_frozen_keeps_every_bit() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    cifar(&root.join("cifar.tar.gz"));
    resnet18(root);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/finetune-cifar10.toml");
    let data =
        "stages.cifar={ kind = \"download\", source = \"file:cifar.tar.gz\", format = \"cifar\" }";
    let weights = "stages.imagenet={ kind = \"download\", source = \"file:weights.safetensors\", \
                   format = \"weights\", model = { arch = \"resnet18\", classes = 1000 } }";
    let said = done(
        root,
        &[
            "run",
            file,
            "--set",
            data,
            "--set",
            weights,
            "--set",
            "stages.images.resize=32",
            "--set",
            "stages.tuned.epochs=2",
        ],
    );
    assert!(said.contains("100 train, 20 test images 3x32x32, 10 classes"), "{said}");
    assert!(said.contains("102 tensors loaded"), "{said}");
    assert!(said.contains("tuned         "), "{said}");
    let record = root.join("results/finetune-cifar10/latest/run.json");
    let record = fs::read_to_string(record).unwrap();
    assert!(record.contains("\"title\": \"weights of resnet18\""), "{record}");
    done(root, &["export", "results/finetune-cifar10/latest", "tuned", "out"]);
    let (before, after) = (root.join("weights.safetensors"), root.join("out/weights.safetensors"));
    let same = |name: &str| tensor(&before, name) == tensor(&after, name);
    for frozen in
        ["conv1.weight", "bn1.running_mean", "layer3.1.bn2.running_var", "layer3.1.bn2.bias"]
    {
        assert!(same(frozen), "{frozen}");
    }
    for tuned in ["layer4.0.conv1.weight", "layer4.1.bn2.running_mean"] {
        assert!(!same(tuned), "{tuned}");
    }
    assert_eq!(tensor(&after, "fc.0.weight").0, [100, 512]);
    assert_eq!(tensor(&after, "fc.2.weight").0, [10, 100]);
}

#[test]
fn weights_that_do_not_fit_are_listed_and_can_be_skipped_or_left_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    resnet18(root);
    let stage = |more: &str| {
        let text = format!(
            "[stages.net]\nkind = \"download\"\nsource = \"file:weights.safetensors\"\n\
             format = \"weights\"\nmodel = {{ arch = \"resnet18\", classes = 10 }}\n{more}\n"
        );
        write(root, "p.toml", &text);
    };
    stage("");
    let said = failed(root, &["run", "p.toml"]);
    assert!(said.contains("does not hold the weights of `resnet18`"), "{said}");
    assert!(said.contains("fc.weight is [1000, 512], the network's [10, 512]"), "{said}");
    assert!(said.contains("`skip = [\"fc.*\"]`"), "{said}");
    stage("skip = [\"fc.*\"]");
    assert!(done(root, &["run", "p.toml"]).contains("parameters, 2 skipped"));
    stage("strict = false");
    assert!(done(root, &["run", "p.toml"]).contains("parameters, 2 of another shape"));
    stage("skip = [\"fd.*\"]");
    let said = failed(root, &["check", "p.toml"]);
    assert!(said.contains("`fd.*` matches no parameter"), "{said}");
    fs::write(root.join("weights.safetensors"), b"no weights at all").unwrap();
    stage("");
    let said = failed(root, &["run", "p.toml"]);
    assert!(said.contains("weights.safetensors: not a file of PyTorch's"), "{said}");
}

#[test]
fn a_file_that_wants_to_run_code_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let evil = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/torch_files/evil-zip.pth");
    write(
        root,
        "p.toml",
        &format!(
            "[stages.net]\nkind = \"download\"\nsource = \"file:{evil}\"\nformat = \"weights\"\n\
             model = {{ arch = \"lenet\", classes = 10 }}\ninput = [1, 28, 28]\n"
        ),
    );
    let said = failed(root, &["run", "p.toml"]);
    assert!(said.contains("the file wants `posix.system` to be run"), "{said}");
}

#[test]
fn training_stops_early_and_keeps_its_best_epoch() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let said = done(
        root,
        &[
            "run",
            "photos.toml",
            "--set",
            "stages.net.epochs=40",
            "--set",
            "stages.net.early_stopping={ patience = 2 }",
            "--set",
            "stages.net.keep_best=\"loss\"",
            "--set",
            "stages.net.optimizer.lr=0.1",
            // Nothing is a target, by whose labels no training may end.
            "--set",
            "stages.adapted.method=\"supervised\"",
        ],
    );
    assert!(said.contains("validation got no better"), "{said}");
    assert!(said.contains(" epochs, the weights of epoch "), "{said}");
    let rows = fs::read_to_string(root.join("results/photos/latest/net.csv")).unwrap();
    let losses: Vec<(usize, f64)> = rows
        .lines()
        .filter(|row| row.contains(",validate,loss,"))
        .map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            (cells[0].parse().unwrap(), cells[4].parse().unwrap())
        })
        .collect();
    let last = losses.last().unwrap().0;
    assert!(last < 40, "{rows}");
    let best = losses.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(last, best.0 + 2, "two epochs without improvement");
    let kept = rows.lines().last().unwrap();
    assert!(kept.starts_with(&format!("{},", best.0)) && kept.contains(",best,loss,"), "{kept}");
    // The scores are those of the kept epoch.
    let scores = fs::read_to_string(root.join("results/photos/latest/score.csv")).unwrap();
    let loss = scores.lines().find(|row| row.starts_with("net,images.test,loss,")).unwrap();
    let loss: f64 = loss.rsplit(',').next().unwrap().parse().unwrap();
    assert!((loss - best.1).abs() < 1e-6, "{loss} is not {}", best.1);
}

#[test]
fn pictures_and_features_can_be_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let more = "\n[stages.look]\nkind = \"visualize\"\nmodel = \"net\"\nimages = \"images.test\"\n\
                indices = [0, 3]\n";
    let mut pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    pipeline.push_str(more);
    fs::write(root.join("photos.toml"), &pipeline).unwrap();
    done(root, &["run", "photos.toml", "--set", "stages.score.features=\"features\""]);
    let mut pictures: Vec<String> = fs::read_dir(root.join("results/photos/latest/look"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pictures.sort();
    let expected = ["0-features.3.png", "0.png", "3-features.3.png", "3.png", "filters.png"];
    assert_eq!(pictures, expected);
    let filters = root.join("results/photos/latest/look/filters.png");
    // Eight filters of 3x3 as three columns of 24 pixels with a pixel between them.
    assert_eq!(image::open(filters).unwrap().into_rgb8().dimensions(), (76, 76));
    done(root, &["export", "results/photos/latest", "score", "out"]);
    let (shape, _) = tensor(&root.join("out/features.1.0.safetensors"), "features");
    assert_eq!(shape, [16, 8 * 5 * 5, 1, 1]);
    let (_, labels) = tensor(&root.join("out/features.0.0.safetensors"), "labels");
    let (_, predictions) = tensor(&root.join("out/features.0.0.safetensors"), "predictions");
    let right = labels.chunks(8).zip(predictions.chunks(8)).filter(|(a, b)| a == b).count();
    let scores = fs::read_to_string(root.join("results/photos/latest/score.csv")).unwrap();
    let accuracy = right as f64 / 16.0;
    assert!(scores.contains(&format!("net,images.test,accuracy,{accuracy}\n")), "{scores}");
    let said =
        failed(root, &["run", "photos.toml", "--set", "stages.look.layers=[\"features.0\"]"]);
    assert!(said.contains("the model has no place after a layer `features.0`"), "{said}");
}

#[test]
fn broken_images_are_left_out_and_counted_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::write(root.join("photos/train/red/7.png"), "broken").unwrap();
    let said = failed(root, &["run", "photos.toml"]);
    assert!(said.contains("7.png: cannot be read as an image"), "{said}");
    let said = done(root, &["run", "photos.toml", "--set", "stages.photos.on_error=\"skip\""]);
    assert!(said.contains("left out: "), "{said}");
    let facts = fs::read_to_string(root.join("results/photos/latest/photos.csv")).unwrap();
    assert!(facts.contains("train,skipped,1\n") && facts.contains("train,images,39\n"), "{facts}");
}

#[test]
fn a_group_with_rate_zero_stays_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let groups = "stages.adapted.optimizer={ kind = \"sgd\", lr = 0.1, groups = { \"features.*\" = { lr = 0 } } }";
    let arguments = [
        "run",
        "photos.toml",
        "--set",
        "stages.head.freeze=[]",
        "--set",
        "stages.adapted.method=\"supervised\"",
        "--set",
        groups,
    ];
    done(root, &arguments);
    done(root, &["export", "results/photos/latest", "net", "before"]);
    done(root, &["export", "results/photos/latest", "adapted", "after"]);
    let weights = |run: &str, name: &str| tensor(&root.join(run).join("weights.safetensors"), name);
    for name in ["features.0.weight", "features.1.bias"] {
        assert_eq!(weights("before", name), weights("after", name), "{name}");
    }
    // Batch norm goes on averaging, as it does under PyTorch with a rate of 0.
    assert_ne!(
        weights("before", "features.1.running_mean"),
        weights("after", "features.1.running_mean")
    );
    assert_ne!(weights("before", "classifier.0.weight"), weights("after", "classifier.0.weight"));
}

#[test]
fn what_is_thawed_on_the_way_learns_from_that_epoch_on() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let tune = |epochs: &str, out: &str| {
        let epochs = format!("stages.adapted.epochs={epochs}");
        let arguments = [
            "run",
            "photos.toml",
            "--set",
            "stages.adapted.method=\"supervised\"",
            "--set",
            "stages.adapted.thaw_at={ 3 = [\"features.0.*\"] }",
            "--set",
            &epochs,
        ];
        done(root, &arguments);
        done(root, &["export", "results/photos/latest", "adapted", out]);
        let file = root.join(out).join("weights.safetensors");
        ["features.0.weight", "features.1.weight"].map(|name| tensor(&file, name))
    };
    let said = failed(
        root,
        &["check", "photos.toml", "--set", "stages.adapted.thaw_at={ 3 = [\"features.0.*\"] }"],
    );
    assert!(said.contains("`thaw_at` names epoch 3, but there are only 2"), "{said}");
    done(root, &["run", "photos.toml"]);
    done(root, &["export", "results/photos/latest", "net", "before"]);
    let before = root.join("before/weights.safetensors");
    let before = ["features.0.weight", "features.1.weight"].map(|name| tensor(&before, name));
    let after = tune("3", "three");
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1], "still frozen");
}

/// The value of a row of the training of `stage`.
fn measured(root: &Path, stage: &str, row: &str) -> f64 {
    let path = root.join(format!("results/photos/latest/{stage}.csv"));
    let rows = fs::read_to_string(path).unwrap();
    let found = rows.lines().find_map(|line| line.strip_prefix(row));
    found.unwrap_or_else(|| panic!("no `{row}` in {rows}")).parse().unwrap()
}

#[test]
fn what_follows_a_linear_probe_begins_with_its_loss_where_batch_norm_stays_frozen() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let more = "\n[stages.thawed]\nkind = \"freeze\"\nmodel = \"adapted\"\n\
                thaw = [\"*\", \"!features.1.*\"]\n\n\
                [stages.tuned]\nkind = \"finetune\"\nmodel = \"thawed\"\ntrain = \"images\"\n\
                epochs = 1\nbatch_size = 40\nlog_every = 1\n";
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap() + more;
    fs::write(root.join("photos.toml"), pipeline).unwrap();
    let probe = [
        "run",
        "photos.toml",
        "--set",
        "stages.adapted.method=\"supervised\"",
        "--set",
        "stages.adapted.head=[]",
        "--set",
        "stages.adapted.validate=\"images.train\"",
    ];
    done(root, &probe);
    let of_probe = measured(root, "adapted", "2,6,validate,loss,");
    let first = measured(root, "tuned", "1,1,train,class_loss,");
    assert!((first - of_probe).abs() < 1e-5 * of_probe, "{first} and {of_probe}");
    // Batch statistics are others than those that the probe went by.
    let by_batch = ["--set", "stages.thawed.thaw=[\"*\"]"];
    done(root, &[&probe[..], &by_batch[..]].concat());
    let first = measured(root, "tuned", "1,1,train,class_loss,");
    assert!((first - of_probe).abs() > 1e-4 * of_probe, "{first} and {of_probe}");
}

#[test]
fn the_old_classifier_stays_beside_a_new_one_for_a_method_that_goes_on_with_both() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let co_tuning = ["photos.toml", "--set", "stages.adapted.method=\"co_tuning\""];
    let said = failed(root, &[&["run"], &co_tuning[..]].concat());
    assert!(said.contains("add `head = []`: a new classifier"), "{said}");
    let bottleneck = ["--set", "stages.adapted.bottleneck=[4]"];
    let said = failed(root, &[&["check"], &co_tuning[..], &bottleneck].concat());
    assert!(said.contains("leave `bottleneck` out"), "{said}");
    let head = ["--set", "stages.adapted.head=[8]", "--set", "stages.adapted.layer_decay=0.5"];
    let said = done(root, &[&["run"], &co_tuning[..], &head].concat());
    assert!(said.contains("learning rates by layer: heads 1, features.0 0.5"), "{said}");
    done(root, &["export", "results/photos/latest", "net", "before"]);
    done(root, &["export", "results/photos/latest", "adapted", "after"]);
    let (before, after) =
        (root.join("before/weights.safetensors"), root.join("after/weights.safetensors"));
    let old = tensor(&before, "classifier.0.weight");
    let kept = tensor(&after, "source_classifier.0.weight");
    assert_eq!((old.0, tensor(&after, "classifier.0.weight").0[0]), (kept.0.clone(), 8));
    assert!(kept.1 != old.1 && kept.0[0] == 16, "it learns as well");
    assert_eq!(tensor(&before, "features.0.weight"), tensor(&after, "features.0.weight"));
}

#[test]
fn stochastic_normalisation_needs_one_domain_and_batch_norm() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let p = ["--set", "stages.adapted.stochastic_norm=0.5"];
    let said = failed(root, &[&["check", "photos.toml"], &p[..]].concat());
    assert!(said.contains("does not go with a method that adapts to a target"), "{said}");
    let supervised = ["--set", "stages.adapted.method=\"supervised\""];
    let plain = ["--set", "stages.net.model={ layers = [\"relu\"] }"];
    let thawed = ["--set", "stages.head.freeze=[]"];
    let without = [&["run", "photos.toml"], &p[..], &supervised, &plain, &thawed].concat();
    let said = failed(root, &without);
    assert!(said.contains("the network has no batch norm layers"), "{said}");
    done(root, &[&["run", "photos.toml"], &p[..], &supervised, &thawed].concat());
}

/// The names of the tensors of exported weights, in order of the alphabet.
fn names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let mut names: Vec<String> =
        SafeTensors::deserialize(&bytes).unwrap().names().iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn a_bottleneck_and_a_domain_classifier_as_written_take_their_place_in_the_network() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let bottleneck = "stages.adapted.bottleneck=[6, \"batch_norm\", \"relu\"]";
    let method = "stages.adapted.method={ kind = \"dann\", target = \"images.test\", \
                  domain_head = [5, \"relu\"] }";
    let written = ["--set", bottleneck, "--set", method];
    done(root, &[&["run", "photos.toml"], &written[..]].concat());
    done(root, &["export", "results/photos/latest", "net", "before"]);
    done(root, &["export", "results/photos/latest", "adapted", "after"]);
    let (before, after) =
        (root.join("before/weights.safetensors"), root.join("after/weights.safetensors"));
    let shape = |name: &str| tensor(&after, name).0;
    assert_eq!(shape("bottleneck.0.weight"), [6, 8 * 5 * 5]);
    assert_eq!(shape("bottleneck.1.running_mean"), [6]);
    assert_eq!(shape("classifier.0.weight"), [16, 6]);
    assert_eq!(shape("domain_classifier.0.weight"), [5, 6]);
    assert_eq!(shape("domain_classifier.2.weight"), [2, 5]);
    assert!(!names(&after).contains(&"domain_classifier.1.weight".to_owned()));
    // What was frozen stays so, and none of what is new is.
    assert_eq!(tensor(&before, "features.0.weight"), tensor(&after, "features.0.weight"));
    let description = fs::read_to_string(root.join("after/model.json")).unwrap();
    assert_eq!(description.matches("\"frozen\": [\n    \"features.0.weight\"").count(), 1);
    assert!(description.contains("\"features.1.bias\"\n  ],\n  \"batch_norm\""), "{description}");
}

#[test]
fn a_network_of_the_zoo_and_one_of_own_layers_take_a_bottleneck_and_a_domain_classifier() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for (model, first) in [
        ("arch = \"squeezenet1_1\", small_input = true", "[4, 512]"),
        ("layers = [\"relu\"]", "[4, 432]"),
    ] {
        let net = format!(
            "stages.net.model={{ {model}, bottleneck = [4, \"relu\"], domain_head = [3] }}"
        );
        let run = [
            "run",
            "photos.toml",
            "--set",
            &net,
            "--set",
            "stages.net.epochs=1",
            "--set",
            "stages.head.freeze=[\"bottleneck.*\"]",
        ];
        done(root, &run);
        done(root, &["export", "results/photos/latest", "adapted", "out"]);
        let weights = root.join("out/weights.safetensors");
        let shape = |name: &str| tensor(&weights, name).0;
        assert_eq!(format!("{:?}", shape("bottleneck.0.weight")), first);
        assert_eq!(shape("domain_classifier.0.weight"), [3, 4]);
        assert_eq!(shape("domain_classifier.1.weight"), [2, 3]);
        fs::remove_dir_all(root.join("out")).unwrap();
    }
}

#[test]
fn show_lists_the_layers_of_a_bottleneck_and_of_the_heads_that_have_weights() {
    let root = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/dann.toml");
    let bottleneck = "stages.dann.bottleneck=[6, \"batch_norm\", \"relu\"]";
    let shown =
        |stage: &str| done(root.path(), &["show", file, "--model", stage, "--set", bottleneck]);
    let adapted = shown("dann");
    for layer in ["bottleneck.1 ", "classifier.fc1 ", "domain_classifier.fc1 "] {
        assert!(adapted.contains(&format!("\n{layer}")), "{adapted}");
    }
    let source = shown("source_only");
    assert!(source.contains("\nclassifier.fc1 ") && !source.contains("bottleneck"), "{source}");
    assert!(!source.contains("domain_classifier"), "{source}");
}
