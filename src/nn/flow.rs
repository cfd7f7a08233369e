//! Activations on their way from layer to layer, in the layout of the layer that computed them.

use dfdx::prelude::*;

use super::geometry::Chw;
use super::ops::{Batch, Maps, Ops};

/// What flows between layers: rows `[N, features]`, or maps from one convolution to the next.
pub(super) enum Flow<D: Ops, T> {
    Rows(Batch<D, T>),
    Maps(Maps<D, T>),
}

impl<D: Ops, T: Tape<f32, D>> Flow<D, T> {
    pub fn rows(self) -> Result<Batch<D, T>, D::Err> {
        match self {
            Self::Rows(rows) => Ok(rows),
            Self::Maps(maps) => D::unpack(maps),
        }
    }

    pub fn maps(self, shape: Chw, needs_gradient: bool) -> Result<Maps<D, T>, D::Err> {
        match self {
            Self::Rows(rows) => D::pack(rows, shape, needs_gradient),
            Self::Maps(maps) => Ok(maps),
        }
    }

    pub fn split_tape(self) -> (Flow<D, NoneTape>, T) {
        match self {
            Self::Rows(rows) => {
                let (rows, tape) = rows.split_tape();
                (Flow::Rows(rows), tape)
            }
            Self::Maps(maps) => {
                let (maps, tape) = maps.split_tape();
                (Flow::Maps(maps), tape)
            }
        }
    }
}

impl<D: Ops> Flow<D, NoneTape> {
    pub fn put_tape<T: Tape<f32, D>>(self, tape: T) -> Flow<D, T> {
        match self {
            Self::Rows(rows) => Flow::Rows(rows.put_tape(tape)),
            Self::Maps(maps) => Flow::Maps(maps.put_tape(tape)),
        }
    }
}
