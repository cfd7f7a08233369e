//! The kernels by name, with the kinds of their parameters. A test compares these with their source.

/// One argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) enum Arg {
    /// An address in the GPU's memory; 0 where there is nothing.
    Address(u64),
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// `float`.
    Float(f32),
}

impl Arg {
    /// A size.
    ///
    /// # Panics
    /// When it is no `int`: shapes are below that by far.
    pub fn size(size: usize) -> Self {
        Self::Int(i32::try_from(size).expect("a size that fits an int"))
    }

    /// A number of values.
    ///
    /// # Panics
    /// When no memory could hold them.
    pub fn count(count: usize) -> Self {
        Self::Long(i64::try_from(count).expect("a number of values"))
    }

    /// Its bits, the way a pointer to it finds them: in the low bytes.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Address(at) => at,
            #[expect(clippy::cast_sign_loss, reason = "the bits count")]
            Self::Int(value) => u64::from(value as u32),
            #[expect(clippy::cast_sign_loss, reason = "the bits count")]
            Self::Long(value) => value as u64,
            Self::Float(value) => u64::from(value.to_bits()),
        }
    }

    /// The letter of its kind.
    pub(super) fn kind(self) -> u8 {
        match self {
            Self::Address(_) => b'p',
            Self::Int(_) => b'i',
            Self::Long(_) => b'l',
            Self::Float(_) => b'f',
        }
    }
}

/// How a launch of a kernel can do the work of several that follow each other: the last parameters of a kernel are places for
/// the like of what it does, of which a launch fills the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    /// Arguments before the first place, which are the same in launches that are joined.
    pub before: usize,
    /// Arguments of a place.
    pub width: usize,
    /// Whether each place has a row of blocks of its own, which writes where its arguments say; else what a place names is read.
    pub is_row: bool,
}

/// Places of a launch.
pub(in crate::nn) const SLOTS: usize = 8;

impl Kernel {
    /// Its places, if it has any.
    pub(super) fn slots(self) -> Option<Slots> {
        match self {
            Self::Adam | Self::RmsProp | Self::Sgd => {
                Some(Slots { before: 0, width: 6, is_row: true })
            }
            Self::Accumulate => Some(Slots { before: 0, width: 3, is_row: true }),
            Self::LogNumbers => Some(Slots { before: 3, width: 1, is_row: false }),
            _ => None,
        }
    }
}

/// Each kernel once: its name in the source, and a letter for each parameter: `p` for a pointer, `i` for an `int`, `l` for a
/// `long long`, `f` for a `float`.
macro_rules! kernels {
    ($($variant:ident $name:literal $parameters:literal,)*) => {
        /// A kernel of this program.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::nn) enum Kernel { $(#[doc = $name] $variant,)* }

        impl Kernel {
            /// Every one, in the order of their numbers.
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the source.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The kinds of its parameters.
            pub(super) fn parameters(self) -> &'static str {
                match self { $(Self::$variant => $parameters,)* }
            }
        }
    };
}

kernels! {
    Accumulate "accumulate" "lpplpplpplpplpplpplpplpp",
    Adam "adam" "lppppplppppplppppplppppplppppplppppplppppplppppp",
    Average "average" "lppp",
    Binary "binary" "liiiippp",
    BinaryBack "binary_back" "liiiippppp",
    BlockBack "block_back" "iiiiiiiiiiiiifppppppp",
    BlockBackParts "block_back_parts" "liiiiiiiiiiiiifiippppppp",
    BlockForward "block_forward" "iiiiiiiiiiiiifpppppp",
    ChannelMeans "channel_means" "iiiipp",
    ChannelMeansBack "channel_means_back" "liiipp",
    ColumnParts "column_parts" "liiippp",
    ConvFilterGradient "conv_filter_gradient" "iiiiiiiiiiiiiiiippp",
    ConvFilterGradientPrecise "conv_filter_gradient_precise" "iiiiiiiiiiiiiiiippp",
    ConvForward "conv_forward" "iiiiiiiiiiiiiipppp",
    ConvForwardPrecise "conv_forward_precise" "iiiiiiiiiiiiiipppp",
    ConvForwardSmall "conv_forward_small" "iiiiiiiiiiiiiipppp",
    ConvInputGradient "conv_input_gradient" "iiiiiiiiiiiiiippp",
    ConvInputGradientPrecise "conv_input_gradient_precise" "iiiiiiiiiiiiiippp",
    ConvInputGradientSmall "conv_input_gradient_small" "iiiiiiiiiiiiiippp",
    CopyBlock "copy_block" "liipip",
    CrossEntropy "cross_entropy" "iipppppp",
    DepthwiseFilterGradient "depthwise_filter_gradient" "iiiiiiiiiiiiiiippp",
    DepthwiseForward "depthwise_forward" "iiiiiiiiiiiiiipppp",
    DepthwiseInputGradient "depthwise_input_gradient" "iiiiiiiiiiiiiippp",
    Fill "fill" "lpp",
    GatherRows "gather_rows" "iippp",
    Hits "hits" "iippp",
    LogNumbers "log_numbers" "ipppppppppp",
    MatmulNn "matmul_nn" "iiiipppp",
    MatmulNt "matmul_nt" "iiiipppp",
    MatmulTn "matmul_tn" "iiiipppp",
    MaxPool "max_pool" "liiiiiiiiiiiippp",
    MaxPoolBack "max_pool_back" "liiiiiiiiiiiippp",
    MeanPool "mean_pool" "liiiiiiiiiiiipp",
    MeanPoolBack "mean_pool_back" "liiiiiiiiiiiipp",
    NormApply "norm_apply" "liipppp",
    NormBackApply "norm_back_apply" "liippppp",
    NormBackFinish "norm_back_finish" "iliippppp",
    NormBackParts "norm_back_parts" "liiipppp",
    NormBackWhole "norm_back_whole" "iiippppppp",
    NormFinish "norm_finish" "iiliffpppppppp",
    NormGiven "norm_given" "ifppppp",
    NormParts "norm_parts" "liiipp",
    NormWhole "norm_whole" "iiffpppppppp",
    Rectify "rectify" "lfpp",
    RectifyBack "rectify_back" "lfppp",
    RmsProp "rmsprop" "lppppplppppplppppplppppplppppplppppplppppplppppp",
    RowMax "row_max" "iipp",
    RowMaxBack "row_max_back" "lipppp",
    RowSums "row_sums" "iipp",
    Scale "scale" "lppp",
    ScalePlanes "scale_planes" "lippp",
    ScatterRows "scatter_rows" "iiippp",
    Sgd "sgd" "lppppplppppplppppplppppplppppplppppplppppplppppp",
    Softmax "softmax" "iiipp",
    SoftmaxBack "softmax_back" "iiippp",
    SumAll "sum_all" "ifpp",
    SumParts "sum_parts" "lpp",
    SwapAxes "swap_axes" "liiiiipp",
    Unary "unary" "lippp",
    UnaryBack "unary_back" "lippppp",
    Widen "widen" "liipp",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The kinds of the parameters of every kernel in the source, by its name.
    fn in_the_source() -> BTreeMap<String, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nn/gpu/kernels");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_source = |it: &PathBuf| it.extension().is_some_and(|it| it == "cu" || it == "cuh");
        let texts: Vec<String> =
            paths.filter(is_source).map(|path| std::fs::read_to_string(path).unwrap()).collect();
        // Lists of parameters that several kernels share.
        let shared: BTreeMap<&str, &str> = texts
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
            .filter(|(name, _)| !name.contains('('))
            .collect();
        let mut found = BTreeMap::new();
        for text in texts.iter().filter(|text| text.contains("REGISTER(")) {
            let text = text.replace("KERNEL_BOUNDED(", "KERNEL(");
            for part in text.split("\nKERNEL(").skip(1) {
                let (name, rest) = part.split_once(")(").unwrap();
                let (name, _) = name.split_once(',').unwrap_or((name, ""));
                let (list, _) = rest.split_once(") {").unwrap();
                let mut list: Vec<&str> = list.split(',').map(str::trim).collect();
                while list.iter().any(|it| shared.contains_key(it)) {
                    list = list
                        .iter()
                        .flat_map(|it| shared.get(it).unwrap_or(it).split(','))
                        .map(str::trim)
                        .collect();
                }
                let list = list.into_iter();
                let kind = |parameter: &str| match parameter.trim() {
                    it if it.contains('*') => 'p',
                    it if it.starts_with("int ") => 'i',
                    it if it.starts_with("long long ") => 'l',
                    it if it.starts_with("float ") => 'f',
                    it => panic!("{name}: what is `{it}`?"),
                };
                found.insert(name.to_owned(), list.map(kind).collect());
            }
        }
        found
    }

    #[test]
    fn the_table_is_what_the_source_says() {
        let table = Kernel::ALL.iter().map(|it| (it.name().to_owned(), it.parameters().to_owned()));
        assert_eq!(table.collect::<BTreeMap<_, _>>(), in_the_source());
    }
}
