//! The values of a pickle, in one arena: they refer to each other by number, so that shared values
//! stay shared and nothing recurses. Knows nothing of instructions or of what may be called.

/// Dimensions of a tensor, as PyTorch has them at most.
const MOST_DIMENSIONS: usize = 64;

/// A value's place in the arena.
pub(super) type Id = u32;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PickleValue {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    /// Something that holds no tensors: raw bytes, a complex number, a device.
    Plain,
    Tuple(Items),
    #[expect(clippy::box_collection, reason = "keeps every value small")]
    List(Box<Vec<Id>>),
    #[expect(clippy::box_collection, reason = "keeps every value small")]
    Dict(Box<Vec<(Id, Id)>>),
    /// A function or class by its full name.
    Global(Box<str>),
    /// What stands outside: the value that names it.
    Outside(Id),
    /// A tensor as a view into a storage.
    View(Box<TensorView>),
    /// A tensor that cannot be read: of what form it is.
    Unreadable(&'static str),
    /// What would take code to make.
    Refused,
}

/// The items of a tuple among those of all tuples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Items {
    start: u32,
    len: u32,
}

/// A tensor as a view into a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorView {
    /// The [`PickleValue::Outside`] that names the storage.
    pub storage: Id,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
    /// The numbers' type, where the storage does not say it.
    pub dtype: Option<Id>,
}

/// All values, and the items of all tuples.
#[derive(Debug, Default)]
pub(super) struct Arena {
    values: Vec<PickleValue>,
    items: Vec<Id>,
}

impl Arena {
    /// Takes a value in; `None` when there are more than numbers for them.
    pub fn add(&mut self, value: PickleValue) -> Option<Id> {
        let id = Id::try_from(self.values.len()).ok()?;
        self.values.push(value);
        Some(id)
    }

    /// A tuple of `items`; `None` when there are more than numbers for them.
    pub fn tuple(&mut self, items: &[Id]) -> Option<PickleValue> {
        let start = u32::try_from(self.items.len()).ok()?;
        let len = u32::try_from(items.len()).ok()?;
        self.items.extend_from_slice(items);
        Some(PickleValue::Tuple(Items { start, len }))
    }

    pub fn get(&self, id: Id) -> &PickleValue {
        &self.values[id as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut PickleValue {
        &mut self.values[id as usize]
    }

    /// The items of a tuple.
    pub fn items(&self, items: Items) -> &[Id] {
        &self.items[items.start as usize..][..items.len as usize]
    }

    /// The number of every value.
    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        0..u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    /// A tensor from `(storage, offset, shape, stride, ...)`.
    pub fn view(&self, args: &[Id]) -> Option<TensorView> {
        let [storage, offset, shape, stride, ..] = args else { return None };
        if !matches!(self.get(*storage), PickleValue::Outside(_)) {
            return None;
        }
        let number = |id: &Id| match self.get(*id) {
            PickleValue::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let numbers = |id: &Id| -> Option<Vec<usize>> {
            let items = match self.get(*id) {
                PickleValue::Tuple(items) => self.items(*items),
                PickleValue::List(items) => items,
                _ => return None,
            };
            if items.len() > MOST_DIMENSIONS {
                return None;
            }
            items.iter().map(number).collect()
        };
        let (shape, stride) = (numbers(shape)?, numbers(stride)?);
        if shape.len() != stride.len() {
            return None;
        }
        Some(TensorView { storage: *storage, offset: number(offset)?, shape, stride, dtype: None })
    }
}
