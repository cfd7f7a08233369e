//! Tensors by their own names for operations, so that a loss reads like its formula.

use super::{Dims, Number, OpError, Primitive, Tensor};

/// What an operation gives.
type Result<T = Tensor> = std::result::Result<T, OpError>;

impl Tensor {
    fn alone(&self, primitive: &Primitive) -> Result {
        self.ops().primitive(primitive, &[self])
    }

    fn with(&self, other: &Self, primitive: &Primitive) -> Result {
        self.ops().primitive(primitive, &[self, other])
    }

    /// `self + other`, where `other` may also be a row, a column or a number ([`Primitive`]); so in
    /// the next three.
    ///
    /// # Errors
    /// Those of the device, as in all of these.
    pub fn add(&self, other: &Self) -> Result {
        self.with(other, &Primitive::Add)
    }

    /// `self - other`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sub(&self, other: &Self) -> Result {
        self.with(other, &Primitive::Subtract)
    }

    /// `self * other`, value by value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mul(&self, other: &Self) -> Result {
        self.with(other, &Primitive::Multiply)
    }

    /// `self / other`, value by value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn div(&self, other: &Self) -> Result {
        self.with(other, &Primitive::Divide)
    }

    /// `by * self`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn scale(&self, by: impl Into<Number>) -> Result {
        self.alone(&Primitive::Scale(by.into()))
    }

    /// `self / by`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn div_by(&self, by: f32) -> Result {
        self.alone(&Primitive::DivideBy(by))
    }

    /// `self + by`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn shift(&self, by: f32) -> Result {
        self.alone(&Primitive::Shift(by))
    }

    /// The square of each value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn square(&self) -> Result {
        self.alone(&Primitive::Square)
    }

    /// The magnitude of each value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn abs(&self) -> Result {
        self.alone(&Primitive::Abs)
    }

    /// `e` to the power of each value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn exp(&self) -> Result {
        self.alone(&Primitive::Exp)
    }

    /// The natural logarithm of each value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn log(&self) -> Result {
        self.alone(&Primitive::Log)
    }

    /// The square root of each value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sqrt(&self) -> Result {
        self.alone(&Primitive::Sqrt)
    }

    /// `1 / (1 + e^-x)` of each value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sigmoid(&self) -> Result {
        self.alone(&Primitive::Sigmoid)
    }

    /// Each value kept between `low` and `high`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn clamp(&self, low: f32, high: f32) -> Result {
        self.alone(&Primitive::Clamp(low, high))
    }

    /// 1 where a value is greater than `threshold`, else 0: a constant.
    ///
    /// # Errors
    /// Those of the device.
    pub fn above(&self, threshold: f32) -> Result {
        self.alone(&Primitive::Above(threshold))
    }

    /// Softmax over each row.
    ///
    /// # Errors
    /// Those of the device.
    pub fn softmax(&self) -> Result {
        self.alone(&Primitive::Softmax)
    }

    /// The logarithm of softmax over each row.
    ///
    /// # Errors
    /// Those of the device.
    pub fn log_softmax(&self) -> Result {
        self.alone(&Primitive::LogSoftmax)
    }

    /// The largest value of each row, `[N, 1]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn row_max(&self) -> Result {
        self.alone(&Primitive::RowMax)
    }

    /// The sum of all values.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sum(&self) -> Result {
        self.alone(&Primitive::Sum)
    }

    /// The mean of all values.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mean(&self) -> Result {
        self.sum()?.scale(share(self.len()))
    }

    /// The sum over the rows, `[1, C]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sum_of_rows(&self) -> Result {
        self.alone(&Primitive::SumOfRows)
    }

    /// The mean over the rows, `[1, C]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mean_of_rows(&self) -> Result {
        self.sum_of_rows()?.scale(share(self.rows()))
    }

    /// The sum of each row, `[N, 1]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn row_sums(&self) -> Result {
        self.alone(&Primitive::RowSums)
    }

    /// The mean of each row, `[N, 1]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn row_means(&self) -> Result {
        self.row_sums()?.scale(share(self.columns()))
    }

    /// The product of matrices, `[N, K]` and `[K, C]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn matmul(&self, other: &Self) -> Result {
        self.with(other, &Primitive::MatMul)
    }

    /// The transpose.
    ///
    /// # Errors
    /// Those of the device.
    pub fn transposed(&self) -> Result {
        self.alone(&Primitive::Transpose)
    }

    /// Batches one after the other.
    ///
    /// # Errors
    /// Those of the device.
    pub fn concat_rows(&self, other: &Self) -> Result {
        self.with(other, &Primitive::ConcatRows)
    }

    /// Parts of one batch, `[N, A]` and `[N, B]` and so on, as `[N, A + B + ...]`: feature maps of one
    /// size are put together along their channels (PyTorch's `torch.cat(parts, 1)`).
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// When there are no parts.
    pub fn concat_columns(parts: &[Self]) -> Result {
        let inputs: Vec<&Self> = parts.iter().collect();
        parts[0].ops().primitive(&Primitive::ConcatColumns, &inputs)
    }

    /// The rows from `start` up to `end`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn slice_rows(&self, start: usize, end: usize) -> Result {
        self.gather_rows((start..end).collect())
    }

    /// The rows of these numbers, in this order.
    ///
    /// # Errors
    /// Those of the device.
    pub fn gather_rows(&self, indices: Vec<usize>) -> Result {
        self.alone(&Primitive::GatherRows(indices))
    }

    /// The Shannon entropy of each row of probabilities in nats, `-sum p ln(p + eps)`, `[N, 1]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn row_entropies(&self, eps: f32) -> Result {
        self.mul(&self.shift(eps)?.log()?)?.row_sums()?.scale(-1.0)
    }

    /// The same with the gradient multiplied by `factor` on its way back.
    ///
    /// # Errors
    /// Those of the device.
    pub fn grad_scale(&self, factor: impl Into<Number>) -> Result {
        self.ops().grad_scale(self, factor.into())
    }

    /// A constant of the same device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn constant(&self, values: Vec<f32>, dims: Dims) -> Result {
        self.ops().tensor(values, dims)
    }
}

/// One part of so many.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "tensors are f32")]
fn share(of: usize) -> f32 {
    (1.0 / of as f64) as f32
}
