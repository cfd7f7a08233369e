//! Networks on dfdx tensors.

pub mod ops;

/// What a network is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {}
