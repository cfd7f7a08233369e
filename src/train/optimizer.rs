//! Optimizers and their settings. How they move parameters is in `optimizer_state.rs`.

use crate::config::node::{Node, Value};
use crate::config::{Diagnostic, Keys, Noted, words};

words! {
    /// The word for an optimizer, before its settings are read.
    enum OptimizerKind {
        /// Adam (Kingma and Ba, 2015).
        Adam = "adam",
        /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
        AdamW = "adamw",
        /// Stochastic gradient descent, with momentum.
        Sgd = "sgd",
        /// RMSprop (Tieleman and Hinton, 2012).
        RmsProp = "rmsprop",
    }
}

/// An optimizer with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2015), weight decay added to the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW(Adam),
    /// Stochastic gradient descent; v = momentum v + g as in PyTorch.
    Sgd {
        /// Learning rate before the schedule.
        lr: f64,
        /// 0 for none.
        momentum: f64,
        /// Looks ahead along the momentum.
        nesterov: bool,
        /// Added to the gradient, times the parameter.
        weight_decay: f64,
    },
    /// RMSprop (Hinton 2012): v = alpha v + (1 - alpha) g^2, then a step along g / sqrt(v + eps^2).
    /// PyTorch's is g / (sqrt(v) + eps): ours is sqrt(2) times as long where sqrt(v) = `eps`, and
    /// as long far above and far below.
    RmsProp {
        /// Learning rate before the schedule.
        lr: f64,
        /// Weight of the past in the mean square.
        alpha: f64,
        /// Keeps the root of the mean square from being 0.
        eps: f64,
        /// 0 for none.
        momentum: f64,
        /// Added to the gradient, times the parameter.
        weight_decay: f64,
    },
}

/// What some parameters have instead of the optimizer's own settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterGroup {
    /// Learning rate before the schedule; 0 keeps the parameters as they are.
    pub lr: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
}

/// Settings of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Weights of the past in the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// `groups = { "layer4.*" = { lr = 0.01, weight_decay = 0.0 } }`.
fn groups(keys: &mut Keys) -> Result<Vec<(String, ParameterGroup)>, Noted> {
    keys.words("groups", |keys, word, node| {
        let Value::Table(table) = &node.value else {
            return Err(keys.problem(Diagnostic::at(
                node.span,
                format!("`groups.\"{word}\"` must be a table"),
                format!("found {}", node.shown()),
            )));
        };
        keys.descend(word, table, node.span, |keys| {
            keys.about(&[
                ("lr", "learning rate of these parameters"),
                ("weight_decay", "weight decay of these parameters"),
            ]);
            let lr = keys.float("lr").at_least(0.0).optional();
            let weight_decay = keys.float("weight_decay").at_least(0.0).optional();
            Ok(ParameterGroup { lr: lr?, weight_decay: weight_decay? })
        })
    })
}

impl Optimizer {
    /// Reads `optimizer = { kind = ..., lr = ..., groups = { ... } }`; the groups come beside it.
    pub fn read(keys: &mut Keys) -> Result<(Self, Vec<(String, ParameterGroup)>), Noted> {
        keys.kinded("optimizer", "kind", Some(OptimizerKind::Adam), |kind, keys| {
            let optimizer = Self::of_kind(kind, keys);
            let groups = groups(keys);
            Ok((optimizer?, groups?))
        })
    }

    /// Reads the settings of the optimizer of one part, `classifier2 = { kind = "sgd", lr = 0.01 }`.
    pub(super) fn read_of_part(keys: &mut Keys, word: &str, node: &Node) -> Result<Self, Noted> {
        let Value::Table(table) = &node.value else {
            return Err(keys.problem(Diagnostic::at(
                node.span,
                format!("`optimizers.{word}` must be a table"),
                format!("found {}", node.shown()),
            )));
        };
        keys.descend(word, table, node.span, |keys| {
            keys.about(&[("kind", "which optimizer")]);
            let kind = keys.choice("kind").required();
            if kind.is_err() {
                keys.leave_open();
            }
            Self::of_kind(kind?, keys)
        })
    }

    fn of_kind(kind: OptimizerKind, keys: &mut Keys) -> Result<Self, Noted> {
        use OptimizerKind as Kind;
        let (default, decay) = match kind {
            Kind::Adam => (1e-3, 0.0),
            Kind::AdamW => (1e-3, 1e-2),
            Kind::Sgd | Kind::RmsProp => (1e-2, 0.0),
        };
        keys.about(&[
            ("lr", "learning rate before the schedule"),
            ("weight_decay", "weight decay"),
            ("betas", "how much of the past the two moments keep"),
            ("eps", "what is added to the denominator"),
            ("momentum", "how much of the last step is kept"),
            ("nesterov", "whether momentum looks ahead"),
            ("alpha", "how much of the past the average of squares keeps"),
            ("groups", "settings of some parameters, by patterns of their names"),
        ]);
        let lr = keys.float("lr").positive().or(default);
        let weight_decay = keys.float("weight_decay").at_least(0.0).or(decay);
        match kind {
            Kind::Adam | Kind::AdamW => {
                let betas = keys
                    .floats("betas")
                    .such_that("two numbers of at least 0 and below 1", |betas| {
                        betas.len() == 2 && betas.iter().all(|beta| (0.0..1.0).contains(beta))
                    })
                    .or(vec![0.9, 0.999]);
                let eps = keys.float("eps").positive().or(1e-8);
                let betas = betas?;
                let adam = Adam {
                    lr: lr?,
                    betas: [betas[0], betas[1]],
                    eps: eps?,
                    weight_decay: weight_decay?,
                };
                Ok(if kind == Kind::Adam { Self::Adam(adam) } else { Self::AdamW(adam) })
            }
            Kind::Sgd => {
                let momentum = keys.float("momentum").below_one().or(0.0);
                let nesterov = keys.boolean("nesterov").or(false);
                if nesterov == Ok(true) && momentum == Ok(0.0) {
                    return Err(keys.problem(Diagnostic::at(
                        keys.span(),
                        "`nesterov = true` needs a `momentum` above 0",
                        "no momentum to look ahead along",
                    )));
                }
                Ok(Self::Sgd {
                    lr: lr?,
                    momentum: momentum?,
                    nesterov: nesterov?,
                    weight_decay: weight_decay?,
                })
            }
            Kind::RmsProp => {
                let alpha = keys.float("alpha").below_one().or(0.99);
                let eps = keys
                    .float("eps")
                    // Its square must not vanish in single precision.
                    .such_that("a number of at least 1e-15", |eps| (1e-15..1e15).contains(eps))
                    .or(1e-8);
                let momentum = keys.float("momentum").below_one().or(0.0);
                Ok(Self::RmsProp {
                    lr: lr?,
                    alpha: alpha?,
                    eps: eps?,
                    momentum: momentum?,
                    weight_decay: weight_decay?,
                })
            }
        }
    }

    /// The learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.lr,
            Self::Sgd { lr, .. } | Self::RmsProp { lr, .. } => *lr,
        }
    }

    /// The weight decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.weight_decay,
            Self::Sgd { weight_decay, .. } | Self::RmsProp { weight_decay, .. } => *weight_decay,
        }
    }

    /// Whether it has a momentum that a schedule could move: its own, or Adam's first beta.
    pub fn has_momentum(&self) -> bool {
        match self {
            Self::Adam(_) | Self::AdamW(_) => true,
            Self::Sgd { momentum, .. } | Self::RmsProp { momentum, .. } => *momentum > 0.0,
        }
    }

    /// The same with another momentum.
    pub(super) fn with_momentum(mut self, new: f64) -> Self {
        match &mut self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.betas[0] = new,
            Self::Sgd { momentum, .. } | Self::RmsProp { momentum, .. } => *momentum = new,
        }
        self
    }
}
