//! Lane-blocked feature maps: `[ceil(N/16), C, H, W, 16]`, sixteen images side by side.
//!
//! Whatever is done to one image is done to sixteen in vector registers, for any number of
//! channels and any kernel size. Lanes beyond the last image are zero when packed; later they hold
//! finite values that mean nothing, and gradients of zero.

use rayon::prelude::*;

use super::LANES;

/// Number of blocks that hold `images`.
pub fn blocks(images: usize) -> usize {
    images.div_ceil(LANES)
}

/// Number of images in block `block` of `images`.
pub fn lanes_used(images: usize, block: usize) -> usize {
    (images - block * LANES).min(LANES)
}

/// 1 in the lanes of block `block` that hold an image, 0 in the others.
pub fn lane_mask(images: usize, block: usize) -> [f32; LANES] {
    let used = lanes_used(images, block);
    std::array::from_fn(|lane| if lane < used { 1.0 } else { 0.0 })
}

/// Side of the squares that are turned at a time: two of them stay in the first-level cache.
const SIDE: usize = 64;

/// Writes rows `[N, len]` as blocks `[ceil(N/16), len, 16]`; unused lanes become zero.
///
/// # Panics
/// When a length does not agree.
pub fn pack(rows: &[f32], len: usize, out: &mut [f32]) {
    let images = rows.len() / len;
    assert_eq!((rows.len(), out.len()), (images * len, blocks(images) * len * LANES), "pack");
    out.par_chunks_mut(len * LANES).zip(rows.par_chunks(len * LANES)).for_each(|(out, rows)| {
        if rows.len() < out.len() {
            out.fill(0.0);
        }
        for from in (0..len).step_by(SIDE) {
            let to = (from + SIDE).min(len);
            for (lane, row) in rows.chunks_exact(len).enumerate() {
                let (out, _) = out[from * LANES..to * LANES].as_chunks_mut::<LANES>();
                for (out, value) in out.iter_mut().zip(&row[from..to]) {
                    out[lane] = *value;
                }
            }
        }
    });
}

/// Adds blocks `[ceil(N/16), len, 16]` to rows `[N, len]`, or writes them there.
///
/// # Panics
/// When a length does not agree.
pub fn unpack(maps: &[f32], len: usize, out: &mut [f32], add: bool) {
    let images = out.len() / len;
    assert_eq!((out.len(), maps.len()), (images * len, blocks(images) * len * LANES), "unpack");
    out.par_chunks_mut(len * LANES).zip(maps.par_chunks(len * LANES)).for_each(|(out, maps)| {
        for from in (0..len).step_by(SIDE) {
            let to = (from + SIDE).min(len);
            let (maps, _) = maps[from * LANES..to * LANES].as_chunks::<LANES>();
            for (lane, row) in out.chunks_exact_mut(len).enumerate() {
                for (out, lanes) in row[from..to].iter_mut().zip(maps) {
                    *out = if add { *out + lanes[lane] } else { lanes[lane] };
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_undoes_packing_and_spare_lanes_are_zero() {
        for images in [1, 16, 37] {
            let len = 3 * 67;
            let rows: Vec<f32> = (0..images * len).map(|at| at as f32).collect();
            let mut maps = vec![7.0; blocks(images) * len * LANES];
            pack(&rows, len, &mut maps);
            assert_eq!(maps[5 * LANES], rows[5]);
            let spare = blocks(images) * LANES - images;
            let zeros = maps.iter().filter(|value| **value == 0.0).count();
            assert_eq!(zeros, spare * len + 1, "the very first value is zero as well");
            let mut back = vec![0.0; rows.len()];
            unpack(&maps, len, &mut back, false);
            assert_eq!(back, rows);
            unpack(&maps, len, &mut back, true);
            assert_eq!(back[1], 2.0 * rows[1]);
        }
    }

    #[test]
    fn the_mask_counts_the_images_of_a_block() {
        assert_eq!(lane_mask(37, 1), [1.0; LANES]);
        assert_eq!(lane_mask(37, 2).iter().sum::<f32>(), 5.0);
    }
}
