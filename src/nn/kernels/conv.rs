//! Convolution of blocks of maps: picks the form that is fastest for a shape and runs it with the
//! instructions of the processor.
//!
//! A call handles one block of sixteen images; who calls cuts the batch and adds up the weights'
//! gradients of the pieces in an order of its own.

use super::direct::Direct;
use super::finish::Finish;
use super::isa::{Isa, Kernel};
use super::product::PackedRows;
use super::vector::Vector;
use super::winograd::{PointWeights, Winograd};
use super::{Fresh, LANES};
use crate::memory;
use crate::nn::geometry::Conv2d;

/// A convolution with its form.
#[derive(Debug, Clone)]
pub struct Convolution {
    shape: Conv2d,
    isa: Isa,
    form: ConvForm,
}

#[derive(Debug, Clone)]
enum ConvForm {
    Direct { forward: Direct, backward: Direct },
    Winograd(Winograd),
}

/// Weights as a form wants them, for one direction.
#[derive(Debug, Clone)]
pub struct Packed(Matrices);

#[derive(Debug, Clone)]
enum Matrices {
    Direct(Vec<PackedRows>),
    Points(PointWeights),
}

impl Convolution {
    /// For `shape` with the instructions `isa`. By definition only, with the smallest rounding
    /// errors, where `precise`.
    pub fn new(shape: &Conv2d, isa: Isa, precise: bool) -> Self {
        let winograd = if precise { None } else { Winograd::new(shape) };
        let form = winograd.map_or_else(
            || ConvForm::Direct {
                forward: Direct::forward_of(shape),
                backward: Direct::input_gradient_of(shape),
            },
            ConvForm::Winograd,
        );
        Self { shape: *shape, isa, form }
    }

    /// The shape.
    pub fn shape(&self) -> &Conv2d {
        &self.shape
    }

    /// The instructions that it runs with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Weights `[filters, channels / groups, kh, kw]` for [`Convolution::forward`].
    pub fn pack(&self, weight: &[f32]) -> Packed {
        self.isa.run(Pack { form: &self.form, weight, backward: false })
    }

    /// Weights for the input's gradient.
    pub fn pack_backward(&self, weight: &[f32]) -> Packed {
        self.isa.run(Pack { form: &self.form, weight, backward: true })
    }

    /// Length of an input block that was laid out by [`Convolution::lay`].
    pub fn buffer_len(&self) -> usize {
        match &self.form {
            ConvForm::Direct { forward, .. } => forward.frame.len(),
            ConvForm::Winograd(winograd) => winograd.input.len(),
        }
    }

    /// Lays an input block `[C, H, W, 16]` out for the kernels.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn lay(&self, block: &[f32], buffer: &mut [f32]) {
        match &self.form {
            ConvForm::Direct { forward, .. } => forward.frame.lay(block, buffer),
            ConvForm::Winograd(winograd) => winograd.input.lay(block, buffer),
        }
    }

    /// The output `[filters, H, W, 16]` of a laid out input block, plus `bias`, finished by
    /// `finish`.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn forward(
        &self,
        buffer: &[f32],
        weights: &Packed,
        bias: Option<&[f32]>,
        finish: Option<Finish>,
        out: &mut [f32],
    ) {
        self.isa.run(Forward { form: &self.form, buffer, weights, with: (bias, finish), out });
    }

    /// Length of the sums that [`Convolution::backward`] adds the weights' gradient to.
    pub fn sums_len(&self) -> usize {
        match &self.form {
            ConvForm::Direct { .. } => self.shape.weight_len(),
            ConvForm::Winograd(winograd) => winograd.sums_len(),
        }
    }

    /// Takes the gradient `dy` `[filters, H, W, 16]` of a block's output back: adds the input's to
    /// `dx` `[C, H, W, 16]`, given the backward weights, and the weights' to sums, given the laid
    /// out input; fresh sums are written.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn backward(
        &self,
        dy: &[f32],
        dx: Option<(&Packed, &mut [f32])>,
        sums: Option<(&[f32], &mut [f32], Fresh)>,
    ) {
        self.isa.run(Backward { form: &self.form, dy, dx, sums });
    }

    /// Adds sums of [`Convolution::backward`] to the weights' gradient `dw`.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn add_sums(&self, sums: &[f32], dw: &mut [f32]) {
        match &self.form {
            ConvForm::Direct { .. } => {
                assert_eq!(sums.len(), dw.len());
                for (dw, sum) in dw.iter_mut().zip(sums) {
                    *dw += sum;
                }
            }
            ConvForm::Winograd(winograd) => winograd.add_weight_gradient(self.isa, sums, dw),
        }
    }
}

struct Pack<'a> {
    form: &'a ConvForm,
    weight: &'a [f32],
    backward: bool,
}

impl Kernel for Pack<'_> {
    type Output = Packed;

    #[inline(always)]
    fn run<V: Vector>(self) -> Packed {
        use Matrices::{Direct, Points};
        let weight = self.weight;
        Packed(match (self.form, self.backward) {
            (ConvForm::Direct { forward, .. }, false) => Direct(forward.pack::<V>(weight)),
            (ConvForm::Direct { backward, .. }, true) => Direct(backward.pack_flipped::<V>(weight)),
            (ConvForm::Winograd(winograd), false) => Points(winograd.pack::<V>(weight)),
            (ConvForm::Winograd(winograd), true) => Points(winograd.pack_transposed::<V>(weight)),
        })
    }
}

struct Forward<'a> {
    form: &'a ConvForm,
    buffer: &'a [f32],
    weights: &'a Packed,
    with: (Option<&'a [f32]>, Option<Finish<'a>>),
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { form, buffer, weights, with, out } = self;
        // SAFETY: run by `Isa::run`, as were the weights packed.
        unsafe {
            match (form, &weights.0) {
                (ConvForm::Direct { forward, .. }, Matrices::Direct(weights)) => {
                    forward.run::<V>(buffer, weights, with, out, false);
                }
                (ConvForm::Winograd(winograd), Matrices::Points(weights)) => {
                    winograd.forward::<V>(buffer, weights, with, out);
                }
                _ => panic!("weights packed for another form"),
            }
        }
    }
}

struct Backward<'a> {
    form: &'a ConvForm,
    dy: &'a [f32],
    dx: Option<(&'a Packed, &'a mut [f32])>,
    sums: Option<(&'a [f32], &'a mut [f32], Fresh)>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { form, dy, dx, sums } = self;
        match form {
            ConvForm::Direct { forward, backward } => {
                if let Some((Packed(Matrices::Direct(weights)), dx)) = dx {
                    let mut buffer = memory::take(backward.frame.len());
                    backward.frame.lay(dy, &mut buffer);
                    // SAFETY: run by `Isa::run`, as were the weights packed.
                    unsafe { backward.run::<V>(&buffer, weights, (None, None), dx, true) };
                    memory::give(buffer);
                }
                if let Some((buffer, sums, Fresh(fresh))) = sums {
                    if fresh {
                        sums.fill(0.0);
                    }
                    // SAFETY: run by `Isa::run`.
                    unsafe { forward.add_weight_gradient::<V>(buffer, dy, 0, sums) };
                }
            }
            ConvForm::Winograd(winograd) => {
                let mut laid = memory::take(winograd.gradient.len());
                winograd.gradient.lay(dy, &mut laid);
                let (weights, dx) = dx.unzip();
                let mut frame = dx.is_some().then(|| {
                    let mut frame = memory::take(winograd.input.len());
                    frame.fill(0.0);
                    frame
                });
                let weights = weights.map(|it| match &it.0 {
                    Matrices::Points(weights) => weights,
                    Matrices::Direct(_) => panic!("weights packed for another form"),
                });
                let into = weights.zip(frame.as_deref_mut());
                // SAFETY: run by `Isa::run`, as were the weights packed.
                unsafe { winograd.backward::<V>(&laid, into, sums) };
                if let (Some(frame), Some(dx)) = (frame, dx) {
                    winograd.input.add_back(&frame, dx);
                    memory::give(frame);
                }
                memory::give(laid);
            }
        }
    }
}

/// Floating-point operations of one pass over a block by definition, for rates.
pub fn operations(shape: &Conv2d) -> f64 {
    let output = shape.output();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let count = (2 * output.area() * shape.weight_len() * LANES) as f64;
    count
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
