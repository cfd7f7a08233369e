use super::super::finish::Affine;
use super::super::plane;
use super::*;
use crate::nn::geometry::{Chw, Rectifier};

fn noise(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|at| (((at + salt) * 7919 % 2017) as f32 / 1008.5) - 1.0).collect()
}

fn shape(
    input: (usize, usize, usize),
    filters: usize,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
    groups: usize,
) -> Conv2d {
    let (channels, height, width) = input;
    Conv2d { input: Chw { channels, height, width }, filters, kernel, stride, padding, groups }
}

/// Odd sizes, windows and groups; the last five go by Winograd.
fn shapes() -> Vec<Conv2d> {
    vec![
        shape((3, 7, 6), 9, (5, 5), (1, 1), (1, 1), 1),
        shape((1, 5, 5), 1, (1, 1), (1, 1), (0, 0), 1),
        shape((4, 9, 8), 6, (3, 2), (2, 3), (1, 0), 2),
        shape((5, 8, 8), 5, (3, 3), (1, 1), (1, 1), 5),
        shape((2, 11, 10), 13, (7, 7), (2, 2), (3, 3), 1),
        shape((6, 4, 4), 10, (1, 1), (2, 2), (0, 0), 1),
        shape((17, 5, 7), 18, (2, 4), (1, 1), (1, 3), 1),
        shape((16, 7, 9), 17, (3, 3), (1, 1), (1, 1), 1),
        shape((18, 4, 4), 16, (3, 3), (1, 1), (0, 0), 1),
        shape((21, 13, 13), 50, (5, 5), (1, 1), (1, 1), 1),
        shape((16, 6, 5), 16, (5, 5), (1, 1), (2, 2), 1),
        shape((33, 5, 5), 19, (3, 3), (1, 1), (2, 2), 1),
    ]
}

/// Output, input gradient and weight gradient of a block by definition, in double precision.
fn by_definition(s: &Conv2d, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> [Vec<f64>; 3] {
    let out = s.output();
    let mut y = vec![0.0; out.len() * LANES];
    let mut dx = vec![0.0; x.len()];
    let mut dw = vec![0.0; w.len()];
    let (each, theirs) = (s.filters / s.groups, s.input.channels / s.groups);
    for (filter, bias) in b.iter().enumerate() {
        for oy in 0..out.height {
            for ox in 0..out.width {
                for lane in 0..LANES {
                    let to = ((filter * out.height + oy) * out.width + ox) * LANES + lane;
                    let mut sum = f64::from(*bias);
                    for c in 0..theirs {
                        for ky in 0..s.kernel.0 {
                            for kx in 0..s.kernel.1 {
                                let iy = (oy * s.stride.0 + ky).wrapping_sub(s.padding.0);
                                let ix = (ox * s.stride.1 + kx).wrapping_sub(s.padding.1);
                                if iy >= s.input.height || ix >= s.input.width {
                                    continue;
                                }
                                let channel = filter / each * theirs + c;
                                let row = channel * s.input.height + iy;
                                let from = (row * s.input.width + ix) * LANES + lane;
                                let tap =
                                    ((filter * theirs + c) * s.kernel.0 + ky) * s.kernel.1 + kx;
                                sum += f64::from(w[tap]) * f64::from(x[from]);
                                dx[from] += f64::from(w[tap]) * f64::from(dy[to]);
                                dw[tap] += f64::from(x[from]) * f64::from(dy[to]);
                            }
                        }
                    }
                    y[to] = sum;
                }
            }
        }
    }
    [y, dx, dw]
}

/// The largest difference, as a share of the largest value.
fn error(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let most = theirs.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let off = |(ours, theirs): (&f32, &f64)| (f64::from(*ours) - theirs).abs();
    ours.iter().zip(theirs).map(off).fold(0.0, f64::max) / most
}

#[test]
fn every_form_on_every_instruction_set_agrees_with_the_definition() {
    for shape in shapes() {
        let x = noise(shape.input.len() * LANES, 1);
        let (w, b) = (noise(shape.weight_len(), 2), noise(shape.filters, 3));
        let dy = noise(shape.output().len() * LANES, 4);
        let [y, mut dx, dw] = by_definition(&shape, &x, &w, &b, &dy);
        dx.iter_mut().for_each(|value| *value += 0.5);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for precise in [true, false] {
                let conv = Convolution::new(&shape, isa, precise);
                let bound = if precise { 3e-6 } else { 3e-5 };
                let mut buffer = vec![f32::NAN; conv.buffer_len()];
                conv.lay(&x, &mut buffer);
                let mut ours = vec![f32::NAN; y.len()];
                conv.forward(&buffer, &conv.pack(&w), Some(&b), None, &mut ours);
                let what = format!("{shape:?} {isa} precise {precise}");
                assert!(error(&ours, &y) < bound, "forward {} {what}", error(&ours, &y));

                let weights = conv.pack_backward(&w);
                let mut ours_dx = vec![0.5; dx.len()];
                let mut ours_dw = vec![0.0; w.len()];
                // Sums that mean nothing yet are written, others added to.
                for fresh in [true, false] {
                    ours_dx.fill(0.5);
                    ours_dw.fill(0.0);
                    let mut sums = vec![if fresh { f32::NAN } else { 0.0 }; conv.sums_len()];
                    let into = Some((buffer.as_slice(), sums.as_mut_slice(), Fresh(fresh)));
                    conv.backward(&dy, Some((&weights, &mut ours_dx)), into);
                    conv.add_sums(&sums, &mut ours_dw);
                    assert!(error(&ours_dx, &dx) < bound, "dx {} {what}", error(&ours_dx, &dx));
                    assert!(error(&ours_dw, &dw) < bound, "dw {} {what}", error(&ours_dw, &dw));
                }
            }
        }
    }
}

#[test]
fn an_output_is_finished_as_if_afterwards() {
    for shape in shapes() {
        let (x, w) = (noise(shape.input.len() * LANES, 1), noise(shape.weight_len(), 2));
        let (b, add) = (noise(shape.filters, 3), noise(shape.output().len() * LANES, 4));
        let scales = noise(shape.filters, 5).into_iter().zip(noise(shape.filters, 6));
        let affine: Vec<Affine> = scales.map(|(scale, shift)| Affine { scale, shift }).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let conv = Convolution::new(&shape, isa, false);
            let mut buffer = vec![f32::NAN; conv.buffer_len()];
            conv.lay(&x, &mut buffer);
            for (add, relu) in [
                (None, Some(Rectifier::Relu)),
                (Some(&add), Some(Rectifier::Relu6)),
                (Some(&add), None),
            ] {
                let mut raw = vec![f32::NAN; shape.output().len() * LANES];
                let mut finished = raw.clone();
                conv.forward(&buffer, &conv.pack(&w), Some(&b), None, &mut raw);
                let add = add.map(Vec::as_slice);
                let finish = Finish { affine: &affine, add, relu };
                conv.forward(&buffer, &conv.pack(&w), Some(&b), Some(finish), &mut finished);
                let plane = shape.output().area() * LANES;
                let mut afterwards = vec![f32::NAN; raw.len()];
                for (filter, affine) in affine.iter().enumerate() {
                    let of = filter * plane..(filter + 1) * plane;
                    let affine = std::slice::from_ref(affine);
                    let add = add.map(|add| &add[of.clone()]);
                    let finish = Finish { affine, add, relu };
                    plane::normalize(isa, &raw[of.clone()], finish, &mut afterwards[of]);
                }
                assert_eq!(finished, afterwards, "{shape:?} {isa}");
            }
        }
    }
}

#[test]
fn winograd_is_used_where_it_gains_and_never_where_precision_is_asked_for() {
    let by_winograd = |shape: &Conv2d, precise| {
        matches!(Convolution::new(shape, Isa::Portable, precise).form, ConvForm::Winograd(_))
    };
    let all = shapes();
    assert!(all[7..].iter().all(|shape| by_winograd(shape, false)));
    assert!(!all[..7].iter().any(|shape| by_winograd(shape, false)));
    assert!(!all.iter().any(|shape| by_winograd(shape, true)));
}
