//! The reference of pipeline files as a Markdown page, from what the readers say of themselves.
//!
//! No key is written here but the names of the file's tables; the page is printed by `runner schema`.

use super::schema::{of_likeness, of_stages, of_tables};
use crate::config::describe::{Form, TableReads};
use crate::config::manual::Manual;

/// A seed that no pipeline has: where it is a default, the pipeline's seed is.
const SEED: u64 = 0x005e_ed0f_7e57;

const OPENING: &str = "\
# Reference

Every key of a pipeline file: what it takes, what counts when it is left out, and what it means. The
program prints this page from the code that reads the files (`runner schema --format markdown`), and a
test fails when the page is not current. The guides explain the keys in context, starting with
[Pipelines](pipelines.md).

\"A split of a data set\" is written `\"STAGE.SPLIT\"`; a stage's name alone stands for the split that is
given. Where a word takes the place of a table (`schedule = \"cosine\"`), it stands for the table of that
kind with its defaults.
";

/// The page.
pub fn page() -> String {
    write(&mut Manual::with_stand_in(SEED, "`pipeline.seed`"))
}

fn write(manual: &mut Manual) -> String {
    let (whole, stages) = (of_tables(), of_stages(SEED));
    let mut text = OPENING.to_owned();
    text += "\n## The pipeline\n\nThe table `[pipeline]`:\n\n";
    text += &manual.table(&below(&whole, "pipeline"), 3);
    text += "\n## Stages\n\nEvery `[stages.NAME]` has a `kind`, and may have `after` and `resources`. The other keys \
             depend on the kind:\n\n";
    text += &manual.table(&stages.iter().collect::<Vec<_>>(), 3);
    text += "\n### Stages that are like others\n\nAny stage may have these in the place of keys that the other one has (see \
             [Pipelines](pipelines.md#writing-a-thing-once)):\n\n";
    text += &manual.table(&of_likeness().iter().collect::<Vec<_>>(), 3);
    text += "\n## Variables\n\nThe table `[vars]` has values by name: strings, numbers, booleans and arrays. Where a file has it, \
             `\"${name}\"` stands for the value (see [Pipelines](pipelines.md#writing-a-thing-once)).\n";
    text += "\n## Sweeps\n\nThe table `[sweep]` (see [Sweeps](sweeps.md)):\n\n";
    text += &manual.table(&below(&whole, "sweep"), 3);
    text += "\n## Tables\n\nThe table `[table]`, or each of several `[[table]]` (see \
             [Tables](tables.md)):\n\n";
    text += &manual.table(&below(&whole, "table"), 3);
    text += "\n## Tables inside tables\n\n";
    text + &manual.nested(3)
}

/// What was read of the table at `key`.
fn below<'r>(records: &'r [TableReads], key: &str) -> Vec<&'r TableReads> {
    let reads = records.iter().filter_map(|record| record.reads.get(key)).flatten();
    reads
        .filter_map(|read| match &read.form {
            Form::Table(record) | Form::Items(record, _) => Some(record),
            Form::Leaf(_) | Form::Map(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// By the way to a table and one of its keys: whether it is read, and whether its meaning is said.
    type Seen = BTreeMap<String, (bool, bool)>;

    fn look(record: &TableReads, way: &str, seen: &mut Seen) {
        let tag = record.tag.as_ref().map(|tag| tag.key.as_str());
        let way = match &record.tag {
            Some(tag) => format!("{way}[{}]", tag.word),
            None => way.to_owned(),
        };
        for key in record.about.keys() {
            seen.entry(format!("{way}.{key}")).or_default().1 = true;
        }
        for (key, reads) in record.reads.iter().filter(|(_, reads)| !reads.is_empty()) {
            let at = format!("{way}.{key}");
            let entry = seen.entry(at.clone()).or_default();
            *entry = (true, entry.1 || tag == Some(key));
            for read in reads {
                look_into(&read.form, &at, seen);
            }
        }
    }

    fn look_into(form: &Form, way: &str, seen: &mut Seen) {
        match form {
            Form::Leaf(_) => {}
            Form::Table(record) | Form::Items(record, _) => look(record, way, seen),
            Form::Map(forms) => forms.iter().for_each(|form| look_into(form, way, seen)),
        }
    }

    #[test]
    fn the_reader_of_every_key_says_what_it_means() {
        let mut seen = Seen::new();
        of_tables().iter().for_each(|record| look(record, "", &mut seen));
        of_stages(SEED).iter().for_each(|record| look(record, "stages", &mut seen));
        of_likeness().iter().for_each(|record| look(record, "stages", &mut seen));
        let unsaid: Vec<&String> =
            seen.iter().filter(|(_, (read, said))| *read && !said).map(|(key, _)| key).collect();
        assert!(
            unsaid.is_empty(),
            "say with `Keys::about` in their readers what these mean: {unsaid:#?}"
        );
        assert!(seen.values().filter(|(read, _)| *read).count() > 150);
    }

    #[test]
    fn a_key_that_has_a_meaning_only_sometimes_says_when() {
        let mut manual = Manual::default();
        write(&mut manual);
        assert_eq!(manual.unexplained(), Vec::<String>::new());
    }

    #[test]
    fn a_key_that_is_left_out_for_the_seed_of_the_pipeline_says_so() {
        let page = page();
        assert!(page.contains("| `seed` | an integer of at least 0 | `pipeline.seed` |"), "{page}");
        assert!(!page.contains(&SEED.to_string()));
    }
}
