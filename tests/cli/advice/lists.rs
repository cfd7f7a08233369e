//! Advice about lists of images: their columns, what their lines hold, where the images are.

use std::fs;

use super::own_data::{RUN, download, png, put, text};
use super::scene::Scene;

/// A folder of pictures called `0.png` to `15.png`, with these lists in it.
fn lists(files: &[(&str, &str)]) -> Scene {
    let scene = download("source = \"file:lists\"\nformat = \"image-list\"", &[]);
    let folder = scene.root().join("lists");
    (0..16).for_each(|at| put(&folder, &png(&format!("{at}.png"), at * 9)));
    files.iter().for_each(|(name, lines)| put(&folder, &text(name, lines)));
    scene
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

    let once = "an image has one label in a split: leave one of the lines out";
    let scene = lists(&[("a.csv", "0.png,cat\n1.png,dog\n0.png,dog\n")]);
    scene.advised(RUN, once);
    put(&scene.root().join("lists"), &text("a.csv", two));
    scene.done(RUN, once);

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
