//! What was taken for what: counts of images by class and answer, as many as occur.

use std::collections::BTreeMap;

/// A confusion matrix that holds only cells with images, however many classes there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    cells: BTreeMap<(u32, u32), usize>,
    /// Images of each class, and images taken for it.
    sums: Vec<[usize; 2]>,
}

impl Confusion {
    /// The empty matrix of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, cells: BTreeMap::new(), sums: vec![[0; 2]; classes] }
    }

    /// Counts an image of the class `label` that was taken for `answer`.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn add(&mut self, label: u32, answer: u32) {
        *self.cells.entry((label, answer)).or_default() += 1;
        self.sums[label as usize][0] += 1;
        self.sums[answer as usize][1] += 1;
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.sums.iter().map(|sums| sums[0]).sum()
    }

    /// Images of the class `label` that were taken for `answer`.
    pub fn cell(&self, label: u32, answer: u32) -> usize {
        self.cells.get(&(label, answer)).copied().unwrap_or_default()
    }

    /// The cells that are not zero, row by row: class, answer, images.
    pub fn cells(&self) -> impl Iterator<Item = (u32, u32, usize)> + '_ {
        self.cells.iter().map(|((label, answer), count)| (*label, *answer, *count))
    }

    /// Every class with its images, those taken for it, and those of both.
    pub fn by_class(&self) -> impl Iterator<Item = (u32, [usize; 3])> + '_ {
        (0..)
            .zip(&self.sums)
            .map(|(class, [images, taken])| (class, [*images, *taken, self.cell(class, class)]))
    }

    /// Images taken for what they are.
    pub fn right(&self) -> usize {
        self.cells().filter(|(label, answer, _)| label == answer).map(|cell| cell.2).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_occurs_and_is_zero_elsewhere() {
        let mut confusion = Confusion::new(1_000_000);
        for (label, answer) in [(0, 0), (0, 999_999), (0, 0), (2, 1)] {
            confusion.add(label, answer);
        }
        assert_eq!(confusion.cells().collect::<Vec<_>>(), [(0, 0, 2), (0, 999_999, 1), (2, 1, 1)]);
        assert_eq!([confusion.cell(0, 0), confusion.cell(1, 1), confusion.right()], [2, 0, 2]);
        assert_eq!((confusion.count(), confusion.classes()), (4, 1_000_000));
        let known: Vec<_> = confusion.by_class().filter(|it| it.1 != [0, 0, 0]).collect();
        assert_eq!(known, [(0, [3, 2, 2]), (1, [0, 1, 0]), (2, [1, 0, 0]), (999_999, [0, 1, 0])]);
    }
}
