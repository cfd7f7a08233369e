//! The part of Python's pickle format that holds tensors and plain containers. It runs nothing: what a
//! pickle asks to be called is looked up in a short list (`globals`), and remembered by its name where
//! it is not there.
//!
//! No input makes it recurse, and what all values take is bounded.

use std::collections::HashMap;

use super::TorchFileError;
use super::globals::{self, Made};
use super::value::{Arena, Id, PickleValue};

/// Bytes that the values of a pickle may take. A network of a thousand tensors with its optimizer takes
/// some six million; a byte of a hostile pickle could ask for fifty.
const MOST_BYTES: usize = 64 << 20;

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    arena: Arena,
    /// The value that the pickle is of.
    pub root: Id,
    /// Bytes read.
    pub len: usize,
    /// The first name that is not on the list.
    pub refused: Option<String>,
}

impl Pickle {
    pub fn get(&self, id: Id) -> &PickleValue {
        self.arena.get(id)
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            PickleValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            PickleValue::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            PickleValue::Tuple(items) => Some(self.arena.items(*items)),
            _ => None,
        }
    }

    pub fn list(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            PickleValue::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            PickleValue::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// Everything that stands outside.
    pub fn outside(&self) -> impl Iterator<Item = Id> {
        self.arena.ids().filter(|id| matches!(self.get(*id), PickleValue::Outside(_)))
    }

    /// Reads the pickle that `bytes` begin with.
    pub fn read(bytes: &[u8]) -> Result<Self, TorchFileError> {
        let mut machine = Machine {
            bytes,
            at: 0,
            spent: 0,
            arena: Arena::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            refused: None,
        };
        let root = match (machine.run(), &machine.refused) {
            (Ok(root), _) => root,
            // What comes after an object of an unknown class may be in a form of its own.
            (Err(_), Some(name)) => return Err(TorchFileError::refused(name, None)),
            (Err(error), None) => return Err(error),
        };
        let Machine { arena, at, refused, .. } = machine;
        Ok(Self { arena, root, len: at, refused })
    }
}

/// What carries out the instructions of a pickle.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes that the values take so far.
    spent: usize,
    arena: Arena,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    refused: Option<String>,
}

impl<'a> Machine<'a> {
    fn broken(&self, what: &str) -> TorchFileError {
        TorchFileError::Malformed(format!("byte {} of the pickle: {what}", self.at))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TorchFileError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.broken("it ends too soon"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, TorchFileError> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned number of `len` bytes, at most 8, little endian.
    fn number(&mut self, len: usize) -> Result<u64, TorchFileError> {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(self.take(len)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn length(&mut self, len: usize) -> Result<usize, TorchFileError> {
        usize::try_from(self.number(len)?).map_err(|_| self.broken("a length is too large"))
    }

    fn line(&mut self) -> Result<&'a str, TorchFileError> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| self.broken("a line has no end"))?;
        let line = std::str::from_utf8(self.take(end)?);
        self.at += 1;
        line.map(|line| line.trim_end_matches('\r')).map_err(|_| self.broken("a line is no text"))
    }

    /// Counts bytes that values are about to take.
    fn spend(&mut self, bytes: usize) -> Result<(), TorchFileError> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent <= MOST_BYTES {
            return Ok(());
        }
        Err(TorchFileError::other(format!(
            "its pickle holds more than weights and their names do: its values take more than {} MB",
            MOST_BYTES >> 20
        ))
        .advise("save `model.state_dict()` alone"))
    }

    /// Puts a new value on the stack.
    fn push(&mut self, value: PickleValue) -> Result<(), TorchFileError> {
        let beside = match &value {
            PickleValue::Text(text) | PickleValue::Global(text) => text.len() + 16,
            PickleValue::List(items) => 40 + 4 * items.len(),
            PickleValue::Dict(entries) => 40 + 8 * entries.len(),
            PickleValue::View(view) => 128 + 16 * view.shape.len(),
            _ => 0,
        };
        self.spend(size_of::<PickleValue>() + beside)?;
        let id = self.arena.add(value).ok_or_else(|| self.broken("too many values"))?;
        self.put(id)
    }

    /// Puts a value that is there already on the stack.
    fn put(&mut self, id: Id) -> Result<(), TorchFileError> {
        self.spend(size_of::<Id>())?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, TorchFileError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.broken("a value is missing"));
        }
        Ok(self.stack.pop().expect("higher than the mark"))
    }

    fn top(&self) -> Result<Id, TorchFileError> {
        self.stack.last().copied().ok_or_else(|| self.broken("a value is missing"))
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>, TorchFileError> {
        let mark = self.marks.pop().ok_or_else(|| self.broken("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, items: &[Id]) -> Result<(), TorchFileError> {
        self.spend(size_of_val(items))?;
        let tuple = self.arena.tuple(items).ok_or_else(|| self.broken("too many values"))?;
        self.push(tuple)
    }

    fn tuple_of(&mut self, len: usize) -> Result<(), TorchFileError> {
        let mut items = [0; 3];
        for item in items[..len].iter_mut().rev() {
            *item = self.pop()?;
        }
        self.tuple(&items[..len])
    }

    fn set(&mut self, dict: Id, items: &[Id]) -> Result<(), TorchFileError> {
        if !items.len().is_multiple_of(2) {
            return Err(self.broken("a key has no value"));
        }
        // Twice what they are: a vector grows by doubling.
        self.spend(2 * size_of_val(items))?;
        match self.arena.get_mut(dict) {
            PickleValue::Dict(entries) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            PickleValue::Refused => Ok(()),
            _ => Err(self.broken("an entry for something that is no dictionary")),
        }
    }

    fn append(&mut self, list: Id, items: &[Id]) -> Result<(), TorchFileError> {
        self.spend(2 * size_of_val(items))?;
        match self.arena.get_mut(list) {
            PickleValue::List(all) => {
                all.extend(items);
                Ok(())
            }
            PickleValue::Refused => Ok(()),
            _ => Err(self.broken("an item for something that is no list")),
        }
    }

    fn keep(&mut self, key: u64) -> Result<(), TorchFileError> {
        self.spend(2 * size_of::<(u64, Id)>())?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), TorchFileError> {
        let id = self.memo.get(&key).copied();
        let id = id.ok_or_else(|| self.broken("it refers to something it never kept"))?;
        self.put(id)
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, TorchFileError> {
        let line = self.line()?;
        line.trim_end_matches('L').parse().map_err(|_| self.broken("a line is no number"))
    }

    /// A signed number of any length, which must fit 64 bits.
    fn long(&mut self, len: usize) -> Result<PickleValue, TorchFileError> {
        let bytes = self.take(len)?;
        let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if sign { 0xff } else { 0 };
        let mut eight = [fill; 8];
        match bytes.len() {
            ..=8 => {}
            // The magic number of the old form; nobody computes with it.
            9..=16 => return Ok(PickleValue::Text(hex(bytes).into())),
            _ => return Ok(PickleValue::Plain),
        }
        eight[..bytes.len()].copy_from_slice(bytes);
        Ok(PickleValue::Int(i64::from_le_bytes(eight)))
    }

    fn run(&mut self) -> Result<Id, TorchFileError> {
        loop {
            match self.byte()? {
                0x80 => {
                    self.byte()?;
                }
                0x95 => {
                    self.take(8)?;
                }
                b'.' => return self.pop(),
                b'(' => {
                    self.spend(size_of::<usize>())?;
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.marked()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.put(top)?;
                }
                b'N' => self.push(PickleValue::None)?,
                0x88 => self.push(PickleValue::Bool(true))?,
                0x89 => self.push(PickleValue::Bool(false))?,
                b'K' => self.small(1)?,
                b'M' => self.small(2)?,
                b'J' => {
                    let number = self.take(4)?.try_into().expect("four bytes");
                    self.push(PickleValue::Int(i64::from(i32::from_le_bytes(number))))?;
                }
                b'I' => match self.line()? {
                    "00" => self.push(PickleValue::Bool(false))?,
                    "01" => self.push(PickleValue::Bool(true))?,
                    line => {
                        let number = line.parse();
                        let number = number.map_err(|_| self.broken("a line is no number"))?;
                        self.push(PickleValue::Int(number))?;
                    }
                },
                b'L' => {
                    let number = self.parsed()?;
                    self.push(PickleValue::Int(number))?;
                }
                0x8a => {
                    let len = self.length(1)?;
                    let value = self.long(len)?;
                    self.push(value)?;
                }
                0x8b => {
                    let len = self.length(4)?;
                    let value = self.long(len)?;
                    self.push(value)?;
                }
                b'F' => {
                    let number = self.parsed()?;
                    self.push(PickleValue::Float(number))?;
                }
                b'G' => {
                    let number = self.take(8)?.try_into().expect("eight bytes");
                    self.push(PickleValue::Float(f64::from_be_bytes(number)))?;
                }
                b'X' | b'T' => self.string(4)?,
                0x8c | b'U' => self.string(1)?,
                0x8d => self.string(8)?,
                b'V' | b'S' => {
                    let line = self.line()?;
                    let plain = line.trim_matches(|c| c == '\'' || c == '"').into();
                    self.push(PickleValue::Text(plain))?;
                }
                b'B' => self.raw(4)?,
                b'C' => self.raw(1)?,
                0x8e | 0x96 => self.raw(8)?,
                b'}' => self.push(PickleValue::Dict(Box::default()))?,
                b']' | 0x8f => self.push(PickleValue::List(Box::default()))?,
                b')' => self.tuple(&[])?,
                b't' => {
                    let items = self.marked()?;
                    self.tuple(&items)?;
                }
                0x91 | b'l' => {
                    let items = self.marked()?;
                    self.push(PickleValue::List(Box::new(items)))?;
                }
                b'd' => {
                    let items = self.marked()?;
                    self.push(PickleValue::Dict(Box::default()))?;
                    let dict = self.top()?;
                    self.set(dict, &items)?;
                }
                0x85 => self.tuple_of(1)?,
                0x86 => self.tuple_of(2)?,
                0x87 => self.tuple_of(3)?,
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    let dict = self.top()?;
                    self.set(dict, &[key, value])?;
                }
                b'u' => {
                    let items = self.marked()?;
                    let dict = self.top()?;
                    self.set(dict, &items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    let list = self.top()?;
                    self.append(list, &[item])?;
                }
                b'e' | 0x90 => {
                    let items = self.marked()?;
                    let list = self.top()?;
                    self.append(list, &items)?;
                }
                b'p' => {
                    let key = self.parsed()?;
                    self.keep(key)?;
                }
                b'q' => {
                    let key = self.number(1)?;
                    self.keep(key)?;
                }
                b'r' => {
                    let key = self.number(4)?;
                    self.keep(key)?;
                }
                0x94 => {
                    let key = self.memo.len() as u64;
                    self.keep(key)?;
                }
                b'g' => {
                    let key = self.parsed()?;
                    self.recall(key)?;
                }
                b'h' => {
                    let key = self.number(1)?;
                    self.recall(key)?;
                }
                b'j' => {
                    let key = self.number(4)?;
                    self.recall(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.name(module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (PickleValue::Text(module), PickleValue::Text(name)) =
                        (self.arena.get(module), self.arena.get(name))
                    else {
                        return Err(self.broken("the name of a function is no text"));
                    };
                    let (module, name) = (module.clone(), name.clone());
                    self.name(&module, &name)?;
                }
                b'R' | 0x81 => {
                    let (args, callable) = (self.pop()?, self.pop()?);
                    match globals::call(&self.arena, callable, args)
                        .map_err(|what| self.broken(&what))?
                    {
                        Made::New(value) => self.push(value)?,
                        Made::Old(id) => self.put(id)?,
                    }
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    self.set_up(object, state)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(PickleValue::Outside(id))?;
                }
                b'P' => {
                    let name = self.line()?.into();
                    self.push(PickleValue::Text(name))?;
                    let id = self.pop()?;
                    self.push(PickleValue::Outside(id))?;
                }
                other => {
                    self.at -= 1;
                    return Err(self.broken(&format!("the instruction {other:#04x} is not known")));
                }
            }
        }
    }

    /// Puts a function or class on the stack, or what stands for one that is not on the list.
    fn name(&mut self, module: &str, name: &str) -> Result<(), TorchFileError> {
        if let Some(full) = globals::allowed(module, name) {
            return self.push(PickleValue::Global(full.into()));
        }
        self.refused.get_or_insert_with(|| format!("{module}.{name}"));
        self.push(PickleValue::Refused)
    }

    /// What an object has besides what it was made of: an ordered dictionary its `_metadata`, a
    /// tensor of before 0.4 everything.
    fn set_up(&mut self, object: Id, state: Id) -> Result<(), TorchFileError> {
        match self.arena.get(object) {
            PickleValue::Unreadable(globals::BARE) => {
                if let PickleValue::Tuple(state) = self.arena.get(state)
                    && let Some(view) = self.arena.view(self.arena.items(*state))
                {
                    self.spend(128 + 16 * view.shape.len())?;
                    *self.arena.get_mut(object) = PickleValue::View(Box::new(view));
                }
                Ok(())
            }
            PickleValue::Dict(_)
            | PickleValue::List(_)
            | PickleValue::View(_)
            | PickleValue::Unreadable(_)
            | PickleValue::Plain
            | PickleValue::Refused => Ok(()),
            PickleValue::None
            | PickleValue::Bool(_)
            | PickleValue::Int(_)
            | PickleValue::Float(_)
            | PickleValue::Text(_)
            | PickleValue::Tuple(_)
            | PickleValue::Global(_)
            | PickleValue::Outside(_) => Err(self.broken("it sets up something that is no object")),
        }
    }

    fn small(&mut self, len: usize) -> Result<(), TorchFileError> {
        let number = self.number(len)?;
        self.push(PickleValue::Int(number.cast_signed()))
    }

    fn string(&mut self, len: usize) -> Result<(), TorchFileError> {
        let len = self.length(len)?;
        match std::str::from_utf8(self.take(len)?) {
            Ok(text) => self.push(PickleValue::Text(text.into())),
            // A string of Python 2 may be any bytes; no tensor has such a name.
            Err(_) => self.push(PickleValue::Plain),
        }
    }

    fn raw(&mut self, len: usize) -> Result<(), TorchFileError> {
        let len = self.length(len)?;
        self.take(len)?;
        self.push(PickleValue::Plain)
    }
}

/// A key: text, or a number as text.
pub(super) fn name_of(pickle: &Pickle, id: Id) -> Option<String> {
    match pickle.get(id) {
        PickleValue::Text(text) => Some(text.to_string()),
        PickleValue::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
