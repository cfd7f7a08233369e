//! The names of the networks of a training, and of groups of their parameters.

/// The name of a network in a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetId(&'static str);

impl NetId {
    /// The network that the stage began with.
    pub const MAIN: Self = Self("");

    /// Another network, called `name` in checkpoints.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// What the names of its tensors begin with in a checkpoint, and those of its dropout masks.
    pub(super) fn prefix(self) -> String {
        match self {
            Self::MAIN => String::new(),
            Self(name) => format!("{name}/"),
        }
    }
}

/// The parameters that a descent moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Whose.
    pub network: NetId,
    /// Of which part; `None` for all of the network.
    pub part: Option<crate::nn::Part>,
}

impl Group {
    /// All parameters of the network that the stage began with.
    pub const MAIN: Self = Self { network: NetId::MAIN, part: None };

    /// Those of one part of it.
    pub fn part(part: crate::nn::Part) -> Self {
        Self { network: NetId::MAIN, part: Some(part) }
    }

    /// Whether the parameters of `part` of `network` belong to it.
    pub(super) fn holds(&self, network: NetId, part: &crate::nn::Part) -> bool {
        self.network == network && self.part.as_ref().is_none_or(|own| own == part)
    }
}
