//! How single parameters learn, as far as they differ from the rest. Knows nothing of where the numbers
//! come from.

use super::optimizer::Optimizer;
use crate::nn::Tensor;

/// How one parameter learns.
pub struct Rate {
    /// What moves it.
    pub optimizer: Optimizer,
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Where the decay leads; `None` for zero.
    pub toward: Option<Tensor>,
}

impl Rate {
    /// As the optimizer's own settings say.
    pub fn of(optimizer: Optimizer) -> Self {
        let (lr, weight_decay) = (optimizer.lr(), optimizer.weight_decay());
        Self { optimizer, lr, weight_decay, toward: None }
    }
}
