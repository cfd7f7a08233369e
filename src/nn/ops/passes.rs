//! The gradients of a tensor by the pass that they are of, for backends whose gradients are not in dfdx's keeping.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use smallvec::SmallVec;

use super::tensor::PassId;

/// The gradient of a pass.
type OfPass<V> = (Weak<PassId>, V);

/// One for each pass backward whose gradients are still held, hardly ever more than one. Clones share them.
#[derive(Debug)]
pub(super) struct Passes<V>(Rc<RefCell<SmallVec<[OfPass<V>; 1]>>>);

impl<V> Clone for Passes<V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<V> Default for Passes<V> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<V> Passes<V> {
    /// Takes the gradient of a pass out.
    pub fn take(&self, pass: &Weak<PassId>) -> Option<V> {
        let mut held = self.0.borrow_mut();
        let at = held.iter().position(|(of, _)| of.ptr_eq(pass))?;
        Some(held.swap_remove(at).1)
    }

    /// Makes `gradient` that of a pass which has none.
    pub fn put(&self, pass: &Weak<PassId>, gradient: V) {
        let mut held = self.0.borrow_mut();
        // Nobody can ask for what is left of a pass whose gradients are gone.
        held.retain(|(pass, _)| pass.strong_count() > 0);
        held.push((pass.clone(), gradient));
    }
}
