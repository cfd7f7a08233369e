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
    Accumulate "accumulate" "lpp",
    Adam "adam" "lppppp",
    AddParts "add_parts" "lipp",
    Average "average" "lppp",
    Binary "binary" "liiiippp",
    BinaryBack "binary_back" "liiiippppp",
    ChannelMeans "channel_means" "iiiipp",
    ChannelMeansBack "channel_means_back" "liiipp",
    ColumnParts "column_parts" "liipp",
    ConvFilterGradient "conv_filter_gradient" "iiiiiiiiiiiiiiippp",
    ConvFilterGradientPrecise "conv_filter_gradient_precise" "iiiiiiiiiiiiiiippp",
    ConvForward "conv_forward" "iiiiiiiiiiiiiipppp",
    ConvForwardPrecise "conv_forward_precise" "iiiiiiiiiiiiiipppp",
    ConvInputGradient "conv_input_gradient" "iiiiiiiiiiiiiippp",
    ConvInputGradientPrecise "conv_input_gradient_precise" "iiiiiiiiiiiiiippp",
    CopyBlock "copy_block" "liipip",
    CrossEntropy "cross_entropy" "iipppppp",
    DepthwiseFilterGradient "depthwise_filter_gradient" "iiiiiiiiiiiiiiippp",
    DepthwiseForward "depthwise_forward" "iiiiiiiiiiiiiipppp",
    DepthwiseInputGradient "depthwise_input_gradient" "iiiiiiiiiiiiiippp",
    Fill "fill" "lpp",
    GatherRows "gather_rows" "iippp",
    Hits "hits" "iippp",
    LogNumbers "log_numbers" "iipppppppppp",
    MatmulNn "matmul_nn" "iiipppp",
    MatmulNt "matmul_nt" "iiipppp",
    MatmulTn "matmul_tn" "iiipppp",
    MaxPool "max_pool" "liiiiiiiiiiiippp",
    MaxPoolBack "max_pool_back" "liiiiiiiiiiiippp",
    MeanPool "mean_pool" "liiiiiiiiiiiipp",
    MeanPoolBack "mean_pool_back" "liiiiiiiiiiiipp",
    NormApply "norm_apply" "liipppp",
    NormBackApply "norm_back_apply" "liippppp",
    NormBackFinish "norm_back_finish" "iliippppp",
    NormBackParts "norm_back_parts" "liiipppp",
    NormFinish "norm_finish" "iiliffpppppppp",
    NormGiven "norm_given" "ifppppp",
    NormParts "norm_parts" "liiipp",
    Rectify "rectify" "lfpp",
    RectifyBack "rectify_back" "lfppp",
    RmsProp "rmsprop" "lppppp",
    RowMax "row_max" "iipp",
    RowMaxBack "row_max_back" "lipppp",
    RowSums "row_sums" "iipp",
    Scale "scale" "lppp",
    ScalePlanes "scale_planes" "lippp",
    ScatterRows "scatter_rows" "iiippp",
    Sgd "sgd" "lpppp",
    Softmax "softmax" "iiipp",
    SoftmaxBack "softmax_back" "iiippp",
    SumAll "sum_all" "ifpp",
    SumParts "sum_parts" "lpp",
    SwapAxes "swap_axes" "liipp",
    Unary "unary" "lippp",
    UnaryBack "unary_back" "lippppp",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    /// The kinds of the parameters of every kernel in the source, by its name.
    fn in_the_source() -> BTreeMap<String, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nn/gpu/kernels");
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|it| it != "cu") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Lists of parameters that several kernels share.
            let shared: BTreeMap<&str, &str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
                .collect();
            for part in text.split("KERNEL(").skip(1) {
                let (name, rest) = part.split_once(")(").unwrap();
                let (list, _) = rest.split_once(") {").unwrap();
                let list: Vec<&str> = list.split(',').map(str::trim).collect();
                let list = list.iter().flat_map(|it| shared.get(it).unwrap_or(it).split(','));
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
