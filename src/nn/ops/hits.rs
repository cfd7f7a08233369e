//! Which class a row of logits stands for, and whether it is the right one.

/// Index of the first largest value; NaN never wins.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] || row[best].is_nan() {
            best = at;
        }
    }
    best
}

/// How many rows of `logits` have their largest value at their label; ties go to the first.
pub(super) fn count(logits: &[f32], classes: usize, labels: &[u32]) -> usize {
    let rows = labels.iter().zip(logits.chunks_exact(classes));
    rows.filter(|(label, row)| argmax(row) == **label as usize).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_is_the_largest() {
        assert_eq!(argmax(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 0.5, 0.1]), 1);
    }
}
