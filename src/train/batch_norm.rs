//! Which images batch norm takes together when there are two domains. Normalises nothing.

use crate::config::words;

words! {
    /// Which images batch norm takes together when there are two domains. This is the largest hidden
    /// difference between implementations of the same method.
    pub enum BatchNormFamily {
        /// A pass for each domain; both move the same running averages.
        Separate = "separate",
        /// One pass of both domains together, whose pooled moments move the running averages.
        Joint = "joint",
        /// A pass for each domain; only the target's moves the running averages.
        Target = "target",
        /// A pass, parameters and running averages for each domain (Chang et al. 2019,
        /// "Domain-Specific Batch Normalization"); the target's are kept.
        Domain = "domain",
    }
}

impl BatchNormFamily {
    /// All of them, the usual one first.
    pub const ALL: &'static [Self] = &[Self::Separate, Self::Joint, Self::Target, Self::Domain];
}
