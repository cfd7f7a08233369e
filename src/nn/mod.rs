//! Networks on dfdx tensors.

/// What a network is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {}
