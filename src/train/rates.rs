//! How single parameters learn, as far as they differ from the rest. Knows neither the optimizer nor
//! where the numbers come from.

use crate::nn::Tensor;

/// What some parameters have instead of the optimizer's own settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterGroup {
    /// Learning rate before the schedule; 0 keeps the parameters as they are.
    pub lr: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
}

/// How one parameter learns.
pub struct Rate {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Where the decay leads; `None` for zero.
    pub toward: Option<Tensor>,
}
