//! Exchanges lanes and channels of maps.

use super::LANES;

/// Writes `[C, pixels, 16]` as `[pixels, 16, C to a multiple of 16]`, filled up with zeros.
///
/// # Panics
/// When a length does not agree.
pub fn to_channels(maps: &[f32], channels: usize, out: &mut [f32]) {
    let wide = channels.next_multiple_of(LANES);
    let pixels = out.len() / (LANES * wide);
    assert!(out.len() == pixels * LANES * wide && maps.len() >= channels * pixels * LANES);
    let (maps, _) = maps.as_chunks::<LANES>();
    for (pixel, out) in out.chunks_exact_mut(LANES * wide).enumerate() {
        for first in (0..wide).step_by(LANES) {
            let mut square = [[0.0; LANES]; LANES];
            for (channel, row) in square.iter_mut().enumerate().take(channels - first) {
                *row = maps[(first + channel) * pixels + pixel];
            }
            for (lane, out) in out.chunks_exact_mut(wide).enumerate() {
                for (out, row) in out[first..first + LANES].iter_mut().zip(&square) {
                    *out = row[lane];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_to_its_pixel_image_and_channel() {
        let (channels, pixels, wide) = (21, 3, 32);
        let maps: Vec<f32> = (0..channels * pixels * LANES).map(|at| at as f32).collect();
        let mut out = vec![9.0; pixels * LANES * wide];
        to_channels(&maps, channels, &mut out);
        for pixel in 0..pixels {
            for lane in 0..LANES {
                for channel in 0..wide {
                    let expected = match channel {
                        0..21 => maps[(channel * pixels + pixel) * LANES + lane],
                        _ => 0.0,
                    };
                    assert_eq!(out[(pixel * LANES + lane) * wide + channel], expected);
                }
            }
        }
    }
}
