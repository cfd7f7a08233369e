//! Maps of a block inside a border of zeros: after it, no kernel asks where an image ends.

use super::LANES;

/// How maps `[channels, H, W, 16]` lie in a buffer `[channels, rows, columns, 16]` of zeros.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Number of channels.
    pub channels: usize,
    /// Rows and columns of the maps.
    pub input: (usize, usize),
    /// Rows and columns of the buffer.
    pub buffer: (usize, usize),
    /// Where pixel (0, 0) comes to lie; what lies outside the buffer is left out.
    pub origin: (isize, isize),
    /// Distance in the buffer of pixels that were neighbours.
    pub spread: (usize, usize),
}

impl Frame {
    /// Length of the buffer of one block.
    #[expect(clippy::len_without_is_empty, reason = "a length, not a container")]
    pub fn len(&self) -> usize {
        self.channels * self.buffer.0 * self.buffer.1 * LANES
    }

    /// Lays the maps of a block into the buffer, which may hold anything.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn lay(&self, maps: &[f32], buffer: &mut [f32]) {
        let buffer = &mut buffer[..self.len()];
        if self.spread == (1, 1) && self.origin.0 >= 0 && self.origin.1 >= 0 {
            self.clear_border(buffer);
        } else {
            buffer.fill(0.0);
        }
        self.each_run(maps.len(), |from, to, len| {
            buffer[to..to + len].copy_from_slice(&maps[from..from + len]);
        });
    }

    /// Writes zeros where no pixel comes to lie, for neighbours that stay such.
    fn clear_border(&self, buffer: &mut [f32]) {
        let (rows, columns) = self.buffer;
        let clip = |origin: isize, len: usize, most: usize| {
            let start = origin.unsigned_abs().min(most);
            start..(start + len).min(most)
        };
        let inside = clip(self.origin.0, self.input.0, rows);
        let within = clip(self.origin.1, self.input.1, columns);
        for channel in buffer.chunks_exact_mut(rows * columns * LANES) {
            channel[..inside.start * columns * LANES].fill(0.0);
            channel[inside.end * columns * LANES..].fill(0.0);
            for row in channel.chunks_exact_mut(columns * LANES).take(inside.end) {
                row[..within.start * LANES].fill(0.0);
                row[within.end * LANES..].fill(0.0);
            }
        }
    }

    /// Adds to the maps of a block what lies in their place in the buffer.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn add_back(&self, buffer: &[f32], maps: &mut [f32]) {
        self.each_run(maps.len(), |to, from, len| {
            for (map, value) in maps[to..to + len].iter_mut().zip(&buffer[from..from + len]) {
                *map += value;
            }
        });
    }

    /// Calls `visit` with every stretch of the maps, its place in the buffer and its length.
    fn each_run(&self, len: usize, mut visit: impl FnMut(usize, usize, usize)) {
        let (rows, columns) = self.input;
        assert_eq!(len, self.channels * rows * columns * LANES, "maps of another shape");
        let place = |at: usize, spread: usize, origin: isize, len: usize| {
            (at * spread).checked_add_signed(origin).filter(|at| *at < len)
        };
        for row in 0..self.channels * rows {
            let y = place(row % rows, self.spread.0, self.origin.0, self.buffer.0);
            let Some(y) = y else { continue };
            let from = row * columns * LANES;
            let to = (row / rows * self.buffer.0 + y) * self.buffer.1 * LANES;
            match usize::try_from(self.origin.1) {
                Ok(start) if self.spread.1 == 1 => {
                    let count = columns.min(self.buffer.1.saturating_sub(start));
                    visit(from, to + start * LANES, count * LANES);
                }
                _ => {
                    for x in 0..columns {
                        let at = place(x, self.spread.1, self.origin.1, self.buffer.1);
                        if let Some(at) = at {
                            visit(from + x * LANES, to + at * LANES, LANES);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_come_back_as_they_were_laid() {
        for (origin, spread, buffer) in [((1, 2), (1, 1), (5, 7)), ((0, 1), (2, 3), (5, 9))] {
            let frame = Frame { channels: 2, input: (3, 3), buffer, origin, spread };
            let maps: Vec<f32> = (0..2 * 9 * LANES).map(|at| at as f32 + 1.0).collect();
            let mut laid = vec![9.0; frame.len()];
            frame.lay(&maps, &mut laid);
            assert_eq!(laid.iter().sum::<f32>(), maps.iter().sum::<f32>());
            let mut back = maps.clone();
            frame.add_back(&laid, &mut back);
            assert!(back.iter().zip(&maps).all(|(back, map)| *back == 2.0 * map));
        }
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let (input, buffer) = ((1, 3), (1, 2));
        let frame = Frame { channels: 1, input, buffer, origin: (0, -1), spread: (1, 1) };
        let maps: Vec<f32> = (0..3 * LANES).map(|at| (at / LANES) as f32).collect();
        let mut laid = vec![0.0; frame.len()];
        frame.lay(&maps, &mut laid);
        assert_eq!((laid[0], laid[LANES]), (1.0, 2.0));
    }
}
