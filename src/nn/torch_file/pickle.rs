//! The part of Python's pickle format that holds tensors and plain containers. It runs nothing: what a
//! pickle asks to be called is looked up in a short list, and refused by its name elsewhere.
//!
//! Values live in one arena and refer to each other by number: no input makes it recurse, and shared
//! values stay shared.

use std::collections::HashMap;

use super::TorchFileError;

/// A value's place in the arena.
pub(super) type Id = usize;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Raw bytes, which no tensor file needs.
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or class by its full name.
    Global(String),
    /// What stands outside: the value that names it.
    Outside(Id),
    /// A tensor as a view into a storage.
    View(View),
}

/// A tensor as a view into a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The [`Value::Outside`] that names the storage.
    pub storage: Id,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    /// The value that the pickle is of.
    pub root: Id,
    /// Bytes read.
    pub len: usize,
}

impl Pickle {
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Everything that stands outside.
    pub fn outside(&self) -> impl Iterator<Item = Id> {
        (0..self.values.len()).filter(|id| matches!(self.values[*id], Value::Outside(_)))
    }

    /// Reads the pickle that `bytes` begin with.
    pub fn read(bytes: &[u8]) -> Result<Self, TorchFileError> {
        let mut machine = Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run()?;
        Ok(Self { root, len: machine.at, values: machine.values })
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
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

    fn text(&mut self, len: usize) -> Result<String, TorchFileError> {
        let text = std::str::from_utf8(self.take(len)?);
        text.map(str::to_owned).map_err(|_| self.broken("a string is not UTF-8"))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
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

    fn tuple(&mut self, len: usize) -> Result<(), TorchFileError> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn set(&mut self, dict: Id, items: &[Id]) -> Result<(), TorchFileError> {
        if !items.len().is_multiple_of(2) {
            return Err(self.broken("a key has no value"));
        }
        match &mut self.values[dict] {
            Value::Dict(entries) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(self.broken("an entry for something that is no dictionary")),
        }
    }

    fn append(&mut self, list: Id, items: &[Id]) -> Result<(), TorchFileError> {
        match &mut self.values[list] {
            Value::List(all) => {
                all.extend(items);
                Ok(())
            }
            _ => Err(self.broken("an item for something that is no list")),
        }
    }

    fn keep(&mut self, key: u64) -> Result<(), TorchFileError> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), TorchFileError> {
        let id = self.memo.get(&key).copied();
        let id = id.ok_or_else(|| self.broken("it refers to something it never kept"))?;
        self.stack.push(id);
        Ok(())
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, TorchFileError> {
        let line = self.line()?;
        line.trim_end_matches('L').parse().map_err(|_| self.broken("a line is no number"))
    }

    /// A signed number of any length, which must fit 64 bits.
    fn long(&mut self, len: usize) -> Result<Value, TorchFileError> {
        let bytes = self.take(len)?;
        let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if sign { 0xff } else { 0 };
        let mut eight = [fill; 8];
        if bytes.len() > 8 {
            // The magic number of the old form is longer; nobody computes with it.
            return Ok(Value::Text(hex(bytes)));
        }
        eight[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(eight)))
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
                b'(' => self.marks.push(self.stack.len()),
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.marked()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                b'K' => self.small(1)?,
                b'M' => self.small(2)?,
                b'J' => {
                    let number = self.take(4)?.try_into().expect("four bytes");
                    self.push(Value::Int(i64::from(i32::from_le_bytes(number))));
                }
                b'I' => match self.line()? {
                    "00" => self.push(Value::Bool(false)),
                    "01" => self.push(Value::Bool(true)),
                    line => {
                        let number = line.parse();
                        let number = number.map_err(|_| self.broken("a line is no number"))?;
                        self.push(Value::Int(number));
                    }
                },
                b'L' => {
                    let number = self.parsed()?;
                    self.push(Value::Int(number));
                }
                0x8a => {
                    let len = self.length(1)?;
                    let value = self.long(len)?;
                    self.push(value);
                }
                0x8b => {
                    let len = self.length(4)?;
                    let value = self.long(len)?;
                    self.push(value);
                }
                b'F' => {
                    let number = self.parsed()?;
                    self.push(Value::Float(number));
                }
                b'G' => {
                    let number = self.take(8)?.try_into().expect("eight bytes");
                    self.push(Value::Float(f64::from_be_bytes(number)));
                }
                b'X' | b'T' => self.string(4)?,
                0x8c | b'U' => self.string(1)?,
                0x8d => self.string(8)?,
                b'V' | b'S' => {
                    let line = self.line()?;
                    let plain = line.trim_matches(|c| c == '\'' || c == '"').to_owned();
                    self.push(Value::Text(plain));
                }
                b'B' => self.raw(4)?,
                b'C' => self.raw(1)?,
                0x8e | 0x96 => self.raw(8)?,
                b'}' => self.push(Value::Dict(Vec::new())),
                b']' | 0x8f => self.push(Value::List(Vec::new())),
                b')' => self.push(Value::Tuple(Vec::new())),
                b't' => {
                    let items = self.marked()?;
                    self.push(Value::Tuple(items));
                }
                0x91 | b'l' => {
                    let items = self.marked()?;
                    self.push(Value::List(items));
                }
                b'd' => {
                    let items = self.marked()?;
                    self.push(Value::Dict(Vec::new()));
                    let dict = self.top()?;
                    self.set(dict, &items)?;
                }
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
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
                    let global = allowed(module, name)?;
                    self.push(global);
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) =
                        (&self.values[module], &self.values[name])
                    else {
                        return Err(self.broken("the name of a function is no text"));
                    };
                    let global = allowed(module, name)?;
                    self.push(global);
                }
                b'R' | 0x81 => {
                    let (args, callable) = (self.pop()?, self.pop()?);
                    let value = self.make(callable, args)?;
                    self.push(value);
                }
                b'b' => {
                    // What an ordered dictionary has besides its entries: `_metadata`.
                    self.pop()?;
                    let object = self.top()?;
                    if !matches!(self.values[object], Value::Dict(_)) {
                        return Err(self.broken("it sets up an object that is no dictionary"));
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Outside(id));
                }
                b'P' => {
                    let name = self.line()?.to_owned();
                    self.push(Value::Text(name));
                    let id = self.pop()?;
                    self.push(Value::Outside(id));
                }
                other => {
                    self.at -= 1;
                    return Err(self.broken(&format!("the instruction {other:#04x} is not known")));
                }
            }
        }
    }

    fn small(&mut self, len: usize) -> Result<(), TorchFileError> {
        let number = self.number(len)?;
        self.push(Value::Int(number.cast_signed()));
        Ok(())
    }

    fn string(&mut self, len: usize) -> Result<(), TorchFileError> {
        let len = self.length(len)?;
        let text = self.text(len)?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn raw(&mut self, len: usize) -> Result<(), TorchFileError> {
        let len = self.length(len)?;
        self.take(len)?;
        self.push(Value::Bytes);
        Ok(())
    }

    /// What an allowed function makes of its arguments.
    fn make(&self, callable: Id, args: Id) -> Result<Value, TorchFileError> {
        let Value::Tuple(args) = &self.values[args] else {
            return Err(self.broken("arguments are no tuple"));
        };
        let Value::Global(name) = &self.values[callable] else {
            return Err(self.broken("it calls something that is no function"));
        };
        let wrong = || self.broken(&format!("`{name}` has other arguments than expected"));
        match name.as_str() {
            "collections.OrderedDict" => self.ordered(args).ok_or_else(wrong),
            "torch.Size" => match args.as_slice() {
                [items] => Ok(self.values[*items].clone()),
                _ => Err(wrong()),
            },
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                self.view(args).map(Value::View).ok_or_else(wrong)
            }
            "torch._utils._rebuild_parameter" => match args.first().map(|id| &self.values[*id]) {
                Some(Value::View(view)) => Ok(Value::View(view.clone())),
                _ => Err(wrong()),
            },
            "torch.device" => Ok(Value::None),
            _ => Err(wrong()),
        }
    }

    fn ordered(&self, args: &[Id]) -> Option<Value> {
        let [pairs] = args else { return args.is_empty().then(|| Value::Dict(Vec::new())) };
        let Value::List(pairs) = &self.values[*pairs] else { return None };
        let pair = |id: &Id| match &self.values[*id] {
            Value::Tuple(pair) | Value::List(pair) => match pair.as_slice() {
                [key, value] => Some((*key, *value)),
                _ => None,
            },
            _ => None,
        };
        pairs.iter().map(pair).collect::<Option<_>>().map(Value::Dict)
    }

    fn view(&self, args: &[Id]) -> Option<View> {
        let [storage, offset, shape, stride, ..] = args else { return None };
        if !matches!(self.values[*storage], Value::Outside(_)) {
            return None;
        }
        let number = |id: &Id| match self.values[*id] {
            Value::Int(number) => usize::try_from(number).ok(),
            _ => None,
        };
        let numbers = |id: &Id| match &self.values[*id] {
            Value::Tuple(items) | Value::List(items) => items.iter().map(number).collect(),
            _ => None,
        };
        let (shape, stride): (Vec<usize>, Vec<usize>) = (numbers(shape)?, numbers(stride)?);
        if shape.len() != stride.len() {
            return None;
        }
        Some(View { storage: *storage, offset: number(offset)?, shape, stride })
    }
}

/// A function or class that a tensor file may name.
fn allowed(module: &str, name: &str) -> Result<Value, TorchFileError> {
    const FUNCTIONS: &[(&str, &str)] = &[
        ("collections", "OrderedDict"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
    ];
    let storage = matches!(module, "torch" | "torch.cuda") && name.ends_with("Storage");
    // Names of the very old form, where a tensor's class came with it.
    let tensor = matches!(module, "torch" | "torch.cuda") && name.ends_with("Tensor");
    if FUNCTIONS.contains(&(module, name)) || storage || tensor {
        return Ok(Value::Global(format!("{module}.{name}")));
    }
    Err(TorchFileError::Refused(format!("{module}.{name}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
