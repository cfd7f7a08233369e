//! The functions and classes that a tensor file may name: those that `torch.load(weights_only=True)`
//! accepts. The result of a call is worked out here from its arguments; nothing is run.

use super::value::{Arena, Id, PickleValue, TensorView};

/// What a tensor is called whose values come after it, as those of before PyTorch 0.4.
pub(super) const BARE: &str = "a tensor without values";

/// What a call gives.
pub(super) enum Made {
    /// A value that was not there before.
    New(PickleValue),
    /// One of the arguments: it stays shared, however often it is wrapped.
    Old(Id),
}

/// Names that stand for themselves or are called, by their modules.
const NAMES: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict", "Counter"]),
    ("builtins", &["set", "bytearray", "complex"]),
    ("_codecs", &["encode"]),
    (
        "torch",
        &[
            "Size",
            "device",
            "Tensor",
            "per_tensor_affine",
            "per_tensor_symmetric",
            "per_channel_affine",
            "per_channel_symmetric",
            "per_channel_affine_float_qparams",
        ],
    ),
    ("torch.serialization", &["_get_layout"]),
    ("torch.nn.parameter", &["Parameter"]),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_sparse_tensor",
            "_rebuild_qtensor",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_nested_tensor",
            "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_device_tensor_from_cpu_tensor",
        ],
    ),
];

/// How the names of element types begin: `torch.float32`, `torch.uint8`, `torch.bits16`.
const DTYPES: &[&str] = &[
    "float", "double", "half", "bfloat", "complex", "int", "uint", "bool", "qint", "quint", "bits",
];

/// The full name, if a tensor file may name it.
pub(super) fn allowed(module: &str, name: &str) -> Option<String> {
    // Protocol 2, which PyTorch writes, has Python 2's name of the module.
    let module = if module == "__builtin__" { "builtins" } else { module };
    let listed = NAMES.iter().any(|(of, names)| *of == module && names.contains(&name));
    let is_torch =
        |rest: &[&str]| module.strip_prefix("torch").is_some_and(|after| rest.contains(&after));
    let storage = is_torch(&["", ".cuda", ".storage"]) && name.ends_with("Storage");
    let tensor = is_torch(&["", ".cuda", ".sparse", ".cuda.sparse"]) && name.ends_with("Tensor");
    let dtype = module == "torch"
        && DTYPES.iter().any(|begin| {
            name.strip_prefix(begin)
                .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        });
    (listed || storage || tensor || dtype).then(|| format!("{module}.{name}"))
}

/// What the call of `callable` with the tuple `args` gives.
///
/// # Errors
/// What is wrong with the call.
pub(super) fn call(arena: &Arena, mut callable: Id, mut args: Id) -> Result<Made, String> {
    loop {
        let name = match arena.get(callable) {
            PickleValue::Global(name) => name,
            PickleValue::Refused => return Ok(Made::Old(callable)),
            _ => return Err("it calls something that is no function".into()),
        };
        let PickleValue::Tuple(items) = arena.get(args) else {
            return Err("arguments are no tuple".into());
        };
        let items = arena.items(*items);
        if &**name == "torch._tensor._rebuild_from_type_v2" {
            // A tensor with attributes: (function, class, its arguments, state).
            let [function, _, inner, ..] = items else {
                return Err("a tensor is rebuilt from nothing".into());
            };
            (callable, args) = (*function, *inner);
            continue;
        }
        let made = made(arena, name, items);
        return made.ok_or_else(|| format!("`{name}` has other arguments than expected"));
    }
}

fn made(arena: &Arena, name: &str, args: &[Id]) -> Option<Made> {
    let first = || args.first().map(|id| Made::Old(*id));
    let (module, word) = name.rsplit_once('.')?;
    let made = match (module, word) {
        ("collections", _) => return ordered(arena, args),
        ("torch", "Size") | ("builtins", "set") => match args {
            [] => PickleValue::List(Box::default()),
            [items] => return Some(Made::Old(*items)),
            _ => return None,
        },
        ("builtins" | "_codecs" | "torch.serialization", _) | ("torch", "device") => {
            PickleValue::Plain
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => tensor(arena, args, 6)?,
        ("torch._utils", "_rebuild_tensor_v3") => match tensor(arena, args, 7)? {
            PickleValue::View(mut view) => {
                view.dtype = args.get(6).copied();
                PickleValue::View(view)
            }
            other => other,
        },
        (
            "torch._utils",
            "_rebuild_parameter"
            | "_rebuild_parameter_with_state"
            | "_rebuild_device_tensor_from_cpu_tensor",
        ) => return first(),
        ("torch._utils", "_rebuild_sparse_tensor") => PickleValue::Unreadable("a sparse tensor"),
        ("torch._utils", "_rebuild_qtensor") => PickleValue::Unreadable("a quantised tensor"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => {
            PickleValue::Unreadable("a tensor of the device `meta`, which has no values")
        }
        ("torch._utils", "_rebuild_nested_tensor") => PickleValue::Unreadable("a nested tensor"),
        ("torch._utils", _) => PickleValue::Unreadable("a tensor of a class or device of its own"),
        ("torch.nn.parameter", _) => match args {
            [] => PickleValue::Unreadable(BARE),
            _ => return first(),
        },
        ("torch" | "torch.cuda", word) if word.ends_with("Tensor") => PickleValue::Unreadable(BARE),
        (_, word) if word.ends_with("Tensor") => PickleValue::Unreadable("a sparse tensor"),
        _ => return None,
    };
    Some(Made::New(made))
}

/// A tensor, unless `metadata`, at its place among the arguments, turns the sign of its values or
/// conjugates them when they are used.
fn tensor(arena: &Arena, args: &[Id], metadata: usize) -> Option<PickleValue> {
    let view: TensorView = arena.view(args)?;
    let turned = args.get(metadata).is_some_and(
        |id| matches!(arena.get(*id), PickleValue::Dict(entries) if !entries.is_empty()),
    );
    Some(if turned {
        PickleValue::Unreadable("a tensor whose sign is turned when it is used")
    } else {
        PickleValue::View(Box::new(view))
    })
}

/// A dictionary from nothing, a dictionary or pairs.
fn ordered(arena: &Arena, args: &[Id]) -> Option<Made> {
    let [from] = args else {
        return args.is_empty().then(|| Made::New(PickleValue::Dict(Box::default())));
    };
    let pairs = match arena.get(*from) {
        PickleValue::Dict(_) => return Some(Made::Old(*from)),
        PickleValue::List(pairs) => pairs,
        _ => return None,
    };
    let pair = |id: &Id| {
        let items = match arena.get(*id) {
            PickleValue::Tuple(items) => arena.items(*items),
            PickleValue::List(items) => items,
            _ => return None,
        };
        match items {
            [key, value] => Some((*key, *value)),
            _ => None,
        }
    };
    let pairs: Option<Vec<_>> = pairs.iter().map(pair).collect();
    pairs.map(|pairs| Made::New(PickleValue::Dict(Box::new(pairs))))
}
