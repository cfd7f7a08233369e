//! Primitives that only add, scale or move values, on the CPU without dfdx's copies. Every value and
//! gradient has the bits that dfdx gives it.

use rayon::prelude::*;

use super::{Dims, ELEMENTS, OpError, Primitive, Tensor};
use crate::memory;
use crate::nn::kernels::{LANES, maps};

/// The gradients of the inputs, given that of the output. Those that are not wanted may be left out.
pub(super) type WayBack = Box<dyn FnOnce(Vec<f32>, &[bool]) -> Result<Gradients, OpError>>;

/// One for each input, where there is one.
type Gradients = Vec<Option<Vec<f32>>>;

/// The values of `primitive` for these inputs and the way back; `None` where dfdx computes it.
pub(super) fn run(primitive: &Primitive, inputs: &[&Tensor]) -> Option<(Vec<f32>, WayBack)> {
    let [first, ..] = inputs else { return None };
    let is_maps = |it: &&Tensor| matches!(it.dims, Dims::Maps(..));
    match primitive {
        Primitive::Add if first.dims == inputs[1].dims => Some(add(first, inputs[1])),
        Primitive::Scale(by) => Some(scale(first, by.unseen())),
        Primitive::ConcatColumns if inputs.iter().all(is_maps) => Some(concat_channels(inputs)),
        // Blocks of maps are filled up with images that are not there.
        _ if inputs.iter().any(is_maps) => None,
        Primitive::Sum => Some(sum(first)),
        Primitive::ConcatRows => Some(concat_rows(inputs)),
        Primitive::ConcatColumns => Some(concat_columns(inputs)),
        Primitive::GatherRows(indices) => Some(gather_rows(first, indices)),
        _ => None,
    }
}

fn add(a: &Tensor, b: &Tensor) -> (Vec<f32>, WayBack) {
    let mut out = copy(a.values());
    out.par_chunks_mut(ELEMENTS).zip(b.values().par_chunks(ELEMENTS)).for_each(|(out, b)| {
        for (out, b) in out.iter_mut().zip(b) {
            *out += b;
        }
    });
    let back = |dy: Vec<f32>, wanted: &[bool]| {
        let second = wanted[1].then(|| copy(&dy));
        Ok(vec![Some(dy), second])
    };
    (out, Box::new(back))
}

fn scale(x: &Tensor, by: f32) -> (Vec<f32>, WayBack) {
    let scaled = move |mut values: Vec<f32>| {
        values
            .par_chunks_mut(ELEMENTS)
            .for_each(|values| values.iter_mut().for_each(|it| *it *= by));
        values
    };
    (scaled(copy(x.values())), Box::new(move |dy, _| Ok(vec![Some(scaled(dy))])))
}

/// In the order of the values, as a sum of so many in single precision depends on it.
fn sum(x: &Tensor) -> (Vec<f32>, WayBack) {
    let len = x.len();
    let sum = x.values().iter().fold(0.0, |sum, value| sum + value);
    let back = move |dy: Vec<f32>, _: &[bool]| {
        let mut dx = memory::take(len);
        dx.fill(dy[0]);
        Ok(vec![Some(dx)])
    };
    (vec![sum], Box::new(back))
}

fn concat_rows(parts: &[&Tensor]) -> (Vec<f32>, WayBack) {
    let lens: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let mut out = memory::take(lens.iter().sum());
    let mut rest = &mut out[..];
    for part in parts {
        let (own, after) = rest.split_at_mut(part.len());
        own.copy_from_slice(part.values());
        rest = after;
    }
    let back = move |dy: Vec<f32>, wanted: &[bool]| {
        let mut rest = &dy[..];
        let mut gradients = Vec::with_capacity(lens.len());
        for (len, wanted) in lens.iter().zip(wanted) {
            let (own, after) = rest.split_at(*len);
            gradients.push(wanted.then(|| copy(own)));
            rest = after;
        }
        memory::give(dy);
        Ok(gradients)
    };
    (out, Box::new(back))
}

fn concat_columns(parts: &[&Tensor]) -> (Vec<f32>, WayBack) {
    let widths: Vec<usize> = parts.iter().map(|it| it.columns()).collect();
    side_by_side(parts, parts[0].rows(), &widths)
}

/// The same for blocks of maps, of which each channel is a piece in one.
fn concat_channels(parts: &[&Tensor]) -> (Vec<f32>, WayBack) {
    let widths: Vec<usize> = parts.iter().map(|it| it.columns() * LANES).collect();
    side_by_side(parts, maps::blocks(parts[0].rows()), &widths)
}

/// Rows of these widths, one after the other.
fn side_by_side(parts: &[&Tensor], rows: usize, widths: &[usize]) -> (Vec<f32>, WayBack) {
    let width: usize = widths.iter().sum();
    let mut out = memory::take(rows * width);
    let places = places(widths);
    for (part, (start, own)) in parts.iter().zip(&places) {
        let each = out.par_chunks_mut(width).zip(part.values().par_chunks(*own));
        each.for_each(|(out, part)| out[*start..start + own].copy_from_slice(part));
    }
    let back = move |dy: Vec<f32>, wanted: &[bool]| {
        let gradient = |((start, own), wanted): (&(usize, usize), &bool)| {
            wanted.then(|| {
                let mut part = memory::take(rows * own);
                let each = part.par_chunks_mut(*own).zip(dy.par_chunks(width));
                each.for_each(|(part, dy)| part.copy_from_slice(&dy[*start..start + own]));
                part
            })
        };
        let gradients = places.iter().zip(wanted).map(gradient).collect();
        memory::give(dy);
        Ok(gradients)
    };
    (out, Box::new(back))
}

/// Where parts of these widths begin, beside their widths.
fn places(widths: &[usize]) -> Vec<(usize, usize)> {
    let mut start = 0;
    let place = |width: &usize| {
        start += width;
        (start - width, *width)
    };
    widths.iter().map(place).collect()
}

fn gather_rows(x: &Tensor, indices: &[usize]) -> (Vec<f32>, WayBack) {
    let (len, width, indices) = (x.len(), x.columns(), indices.to_vec());
    let mut out = memory::take(indices.len() * width);
    for (out, at) in out.chunks_exact_mut(width).zip(&indices) {
        out.copy_from_slice(&x.values()[at * width..(at + 1) * width]);
    }
    let back = move |dy: Vec<f32>, _: &[bool]| {
        let mut dx = memory::take(len);
        dx.fill(0.0);
        for (dy, at) in dy.chunks_exact(width).zip(&indices) {
            for (dx, dy) in dx[at * width..(at + 1) * width].iter_mut().zip(dy) {
                *dx += dy;
            }
        }
        memory::give(dy);
        Ok(vec![Some(dx)])
    };
    (out, Box::new(back))
}

fn copy(values: &[f32]) -> Vec<f32> {
    let mut copy = memory::take(values.len());
    copy.copy_from_slice(values);
    copy
}
