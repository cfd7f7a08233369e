//! Finds out which values of a list's rows are the image and its label.

use std::path::Path;

use super::names::{Says, says, split_word, text_of};
use super::table::{TextRow, names_image};
use crate::data::error::DataError;

/// Names of a column of images, in lower case and without anything but letters and digits.
const IMAGES: &[&str] = &[
    "path",
    "file",
    "filename",
    "filepath",
    "image",
    "imageid",
    "imagename",
    "imagepath",
    "imagefile",
    "img",
    "imgid",
    "imgname",
    "imgpath",
    "name",
    "id",
    "idcode",
];
/// Names of a column of labels, likewise.
const LABELS: &[&str] = &[
    "label",
    "labels",
    "labelid",
    "class",
    "classid",
    "classname",
    "target",
    "category",
    "categoryid",
    "categoryname",
    "y",
    "breed",
    "species",
];
/// Names of a column that says which split an image is of, likewise.
const SPLITS: &[&str] =
    &["split", "splits", "set", "subset", "fold", "folds", "partition", "phase", "usage"];

/// The places of the two values in a row.
#[derive(Debug, PartialEq)]
pub(super) struct Columns {
    image: usize,
    label: usize,
    /// Values in every row.
    width: usize,
    /// Whether the first row names the columns.
    has_header: bool,
}

/// A row's image and label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LabelledName<'a> {
    /// The image's name.
    pub name: &'a [u8],
    /// Its label.
    pub label: &'a [u8],
    /// Whether the name may lack the ending of an image: only where a column is said to be of images.
    pub may_lack_ending: bool,
}

impl Columns {
    /// The columns of `rows`, by the names that the user `wants` or by what the first row says; `None`
    /// without rows. `list` is the file that they are from.
    ///
    /// # Errors
    /// When the first row says nothing that is known, or too much.
    pub(super) fn of(
        rows: &[TextRow],
        wants: Option<&[String; 2]>,
        list: &Path,
    ) -> Result<Option<Self>, DataError> {
        let Some(first) = rows.first() else { return Ok(None) };
        let width = first.values.len();
        let refused = |reason: String| {
            DataError::rejected(format!("{}: line {}: {reason}", list.display(), first.line))
        };
        if let Some([image, label]) = wants {
            let place = |name: &String| {
                let is = |value: &Vec<u8>| text_of(value) == *name;
                let mut places = (0..width).filter(|at| is(&first.values[*at]));
                match (places.next(), places.next()) {
                    (Some(at), None) => Ok(at),
                    (None, _) => Err(refused(format!("there is no column `{name}`"))
                        .advise(format!("its columns are {}", names(first)))),
                    (Some(_), Some(_)) => Err(refused(format!("two columns are called `{name}`"))),
                }
            };
            let (image, label) = (place(image)?, place(label)?);
            return Ok(Some(Self { image, label, width, has_header: true }));
        }
        if first.values.iter().any(|value| names_image(value)) {
            return Ok(Some(Self { image: 0, label: 1, width: 2, has_header: false }));
        }
        let named = |known: &[&str]| -> Vec<usize> {
            (0..width).filter(|at| known.contains(&plain(&first.values[*at]).as_str())).collect()
        };
        let (mut images, labels) = (named(IMAGES), named(LABELS));
        if images.is_empty() || labels.is_empty() {
            let shown: Vec<String> = first.values.iter().map(|value| text_of(value)).collect();
            return Err(refused(format!(
                "not of the form `name.png label`: `{}`",
                shown.join(" ")
            ))
            .advise(
                "a line is an image and its label, between them a comma, semicolon, tab or space",
            )
            .advise(
                "if the line names the columns, say which: `columns = [\"IMAGE\", \"LABEL\"]`",
            ));
        }
        // Of a number and the name of a file the name is meant.
        if let Some(row) = rows.get(1).filter(|_| images.len() > 1) {
            let ends = |at: &usize| row.values.get(*at).is_some_and(|value| names_image(value));
            if images.iter().any(ends) {
                images.retain(ends);
            }
        }
        let one = |places: &[usize], what: &str| match places {
            [only] => Ok(*only),
            _ => Err(refused(format!("several columns may be the {what}: {}", names(first)))
                .advise("say which count: `columns = [\"IMAGE\", \"LABEL\"]`")),
        };
        let (image, label) = (one(&images, "image")?, one(&labels, "label")?);
        let mut others = (0..width).filter(|at| ![image, label].contains(at));
        if let Some(at) = others.find(|at| is_of_splits(rows, *at)) {
            let text = |at: usize| text_of(&first.values[at]);
            let message = format!("the column `{}` says which split an image is of", text(at));
            return Err(refused(message)
                .advise("make one list for each split, such as train.csv and test.csv")
                .advise(format!(
                    "or ignore the column: `columns = [{:?}, {:?}]` takes every image of the list",
                    text(image),
                    text(label)
                )));
        }
        Ok(Some(Self { image, label, width, has_header: true }))
    }

    /// The first row that is an image.
    pub(super) fn first_row(&self) -> usize {
        usize::from(self.has_header)
    }

    /// The image and the label of `row`.
    ///
    /// # Errors
    /// When it has more or fewer values than it should, or one of the two is empty or no image.
    pub(super) fn image_and_label<'a>(
        &self,
        row: &'a TextRow,
        list: &Path,
    ) -> Result<LabelledName<'a>, DataError> {
        let refused = |reason: String| {
            let shown: Vec<String> = row.values.iter().map(|value| text_of(value)).collect();
            let shown = shown.join(" ");
            DataError::rejected(format!(
                "{}: line {}: {reason}: `{shown}`",
                list.display(),
                row.line
            ))
        };
        let form = || refused("not of the form `name.png label`".into());
        let count = row.values.len();
        if count < 2 {
            return Err(form());
        }
        if count != self.width {
            let reason = format!("{count} values where {} were expected", self.width);
            let advice = match self.has_header {
                true => "a value that holds the separator needs quotes around it",
                false => {
                    "a value that holds the separator needs quotes around it; of more than two \
                     columns the first line must give the names, such as `path,label,source`"
                }
            };
            return Err(refused(reason).advise(advice));
        }
        let (name, label) = (&row.values[self.image], &row.values[self.label]);
        if label.is_empty() || name.is_empty() || !(self.has_header || names_image(name)) {
            return Err(form());
        }
        Ok(LabelledName { name, label, may_lack_ending: self.has_header })
    }
}

/// Whether a column holds the split of each image, by its name or by all that is in it.
fn is_of_splits(rows: &[TextRow], at: usize) -> bool {
    let is_split = |text: &str| matches!(says(text), Says::Split(_));
    let Some((header, rows)) = rows.split_first() else { return false };
    let header = header.values.get(at).map(Vec::as_slice).unwrap_or_default();
    let (name, text) = (plain(header), text_of(header));
    // `is_training_image` with 0 and 1 below it.
    let asks = name.starts_with("is") && split_word(&text).is_some();
    if SPLITS.contains(&name.as_str()) || asks || is_split(&text) {
        return true;
    }
    let mut values = rows.iter().filter_map(|row| row.values.get(at)).filter(|it| !it.is_empty());
    values.next().is_some_and(|first| is_split(&text_of(first)))
        && values.all(|it| is_split(&text_of(it)))
}

fn names(row: &TextRow) -> String {
    let names: Vec<String> = row.values.iter().map(|it| format!("`{}`", text_of(it))).collect();
    names.join(", ")
}

/// Whether a column is called as columns of labels usually are, in the form of [`plain`].
pub(super) fn is_label(name: &str) -> bool {
    LABELS.contains(&name)
}

/// Letters and digits of a name in lower case: `Image_ID` and `image id` are the same.
pub(super) fn plain(name: &[u8]) -> String {
    text_of(name).chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    /// Name and label of each row.
    fn pairs(text: &str, wants: Option<[&str; 2]>) -> Result<Vec<(String, String)>, DataError> {
        let rows = table::read(text.as_bytes()).unwrap();
        let (list, wants) = (Path::new("l.csv"), wants.map(|it| it.map(str::to_owned)));
        let columns = Columns::of(&rows, wants.as_ref(), list)?.unwrap();
        let pair = |row| {
            let pair = columns.image_and_label(row, list)?;
            Ok((text_of(pair.name), text_of(pair.label)))
        };
        rows[columns.first_row()..].iter().map(pair).collect()
    }

    fn good(text: &str, wants: Option<[&str; 2]>) -> Vec<(String, String)> {
        pairs(text, wants).unwrap()
    }

    #[test]
    fn headers_of_known_data_sets_name_their_columns() {
        let cat = [("a.png".to_owned(), "cat".to_owned())];
        for text in [
            "a.png,cat\n",
            "path,label\na.png,cat\n",
            "image_id,label\na.png,cat\n",
            "Image Name;Class\na.png;cat\n",
            ",image_id,label,source\n0,a.png,cat,7\n",
            "id,filename,label\n17,a.png,cat\n",
            "Width\tClassId\tPath\n29\tcat\ta.png\n",
            "filename label\na.png cat\n",
        ] {
            assert_eq!(good(text, None), cat, "{text:?}");
        }
        assert_eq!(good("id,breed\n0012,pug\n", None), [("0012".into(), "pug".into())]);
    }

    #[test]
    fn the_user_may_say_which_columns_count() {
        let text = "photo,class_id,class_name\na.png,3,Alarm Clock\n";
        let found = good(text, Some(["photo", "class_name"]));
        assert_eq!(found, [("a.png".into(), "Alarm Clock".into())]);
        let error = pairs(text, Some(["photo", "classname"])).unwrap_err();
        assert!(error.to_string().contains("l.csv: line 1: there is no column `classname`"));
        assert!(error.help()[0].contains("`photo`, `class_id`, `class_name`"));
    }

    #[test]
    fn a_column_that_says_the_split_is_refused_until_the_user_ignores_it() {
        for (header, values) in [
            ("split", ["train", "test"]),
            ("Set", ["a", "b"]),
            ("fold", ["0", "1"]),
            ("Usage", ["Training", "PublicTest"]),
            ("is_training_img", ["1", "0"]),
            ("test", ["0", "1"]),
            ("source", ["train", "val"]),
            ("kind", ["", "Validation"]),
        ] {
            let [a, b] = values;
            let text = format!("path,{header},label\na.png,{a},cat\nb.png,{b},dog\n");
            let error = pairs(&text, None).unwrap_err();
            assert!(error.to_string().contains(&format!("line 1: the column `{header}` says")));
            let help = error.help().join("\n");
            assert!(help.contains("`columns = [\"path\", \"label\"]`"), "{help}");
            assert_eq!(good(&text, Some(["path", "label"])).len(), 2, "{header}");
        }
        for (header, values) in
            [("source", ["web", "train"]), ("width", ["28", "28"]), ("", ["", ""])]
        {
            let [a, b] = values;
            let text = format!("path,{header},label\na.png,{a},cat\nb.png,{b},dog\n");
            assert_eq!(good(&text, None).len(), 2, "{header}");
        }
        // The label itself may be such a word.
        assert_eq!(good("path,label\na.png,train\nb.png,test\n", None)[0].1, "train");
    }

    #[test]
    fn a_first_line_that_says_nothing_or_too_much_is_an_error() {
        let message = |text| pairs(text, None).unwrap_err().to_string();
        // A name that is mistyped is not taken for a header.
        assert!(message("a.pgn,cat\nb.png,dog\n").contains("line 1: not of the form"));
        assert!(message("path,class_id,class_name\na.png,3,cat\n").contains("several columns"));
        assert!(message("path,label,label\na.png,3,cat\n").contains("several columns"));
    }

    #[test]
    fn rows_of_another_width_or_without_a_value_are_errors_with_their_line() {
        let message = |text| pairs(text, None).unwrap_err().to_string();
        assert!(message("path,label\na.png,cat\nb.png,dog,7\n").contains("line 3: 3 values"));
        assert!(message("a.png,cat,7\nb.png,dog,8\n").contains("line 1: 3 values"));
        assert!(message("a.png,cat\nb.png\n").contains("line 2: not of the form"));
        assert!(message("a.png,cat\nb.png,\n").contains("line 2: not of the form"));
        assert!(message("a.png,cat\npath,label\n").contains("line 2: not of the form"));
    }
}
