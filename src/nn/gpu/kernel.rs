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

    /// Whether a parameter of this letter takes it.
    pub(super) fn fits(self, letter: u8) -> bool {
        match self {
            Self::Address(_) => matches!(letter, b'r' | b'w'),
            Self::Int(_) => letter == b'i',
            Self::Long(_) => letter == b'l',
            Self::Float(_) => letter == b'f',
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
            Self::SwapAxes => Some(Slots { before: 0, width: 8, is_row: true }),
            Self::LogNumbers => Some(Slots { before: 3, width: 1, is_row: false }),
            _ => None,
        }
    }
}

/// Each kernel once: its name in the source, and a letter for each parameter: `r` for a pointer to what it only reads, `w` for
/// one to what it writes or reads and writes, `i` for an `int`, `l` for a `long long`, `f` for a `float`.
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
    Accumulate "accumulate" "lrwlrwlrwlrwlrwlrwlrwlrw",
    Adam "adam" "lrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwww",
    AddParts "add_parts" "iiiiiiiirrw",
    AlterImages "alter_images" "iiirrrw",
    Average "average" "lrrw",
    Binary "binary" "liiiirrw",
    BinaryBack "binary_back" "liiiirrrww",
    BlockBack "block_back" "iiiiiiiiiiiiifrrrrrw",
    BlockBackParts "block_back_parts" "liiiiiiiiiiiiifiirrrrrww",
    BlockBackPooled "block_back_pooled" "iiiiiiiiiiiirrrrrw",
    BlockForward "block_forward" "iiiiiiiiiiiiifrrrrw",
    BlockForwardPooled "block_forward_pooled" "iiiiiiiiiiiiifrrrrww",
    ChannelMeans "channel_means" "iiiirw",
    ChannelMeansBack "channel_means_back" "liiirw",
    ColumnParts "column_parts" "liirw",
    ConvFilterGradientGroupHuge "conv_filter_gradient_group_huge" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientGroupHugeBf16 "conv_filter_gradient_group_huge_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientLarge "conv_filter_gradient_large" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientLargeBf16 "conv_filter_gradient_large_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientMedium "conv_filter_gradient_medium" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientMediumBf16 "conv_filter_gradient_medium_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientPrecise "conv_filter_gradient_precise" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientSmall "conv_filter_gradient_small" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvFilterGradientSmallBf16 "conv_filter_gradient_small_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    ConvForwardGroupFew "conv_forward_group_few" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupFewBf16 "conv_forward_group_few_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupLarge "conv_forward_group_large" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupLargeBf16 "conv_forward_group_large_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupMedium "conv_forward_group_medium" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupMediumBf16 "conv_forward_group_medium_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupSmall "conv_forward_group_small" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupSmallBf16 "conv_forward_group_small_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupWide "conv_forward_group_wide" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardGroupWideBf16 "conv_forward_group_wide_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardLarge "conv_forward_large" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardLargeBf16 "conv_forward_large_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardMedium "conv_forward_medium" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardMediumBf16 "conv_forward_medium_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardPrecise "conv_forward_precise" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardSmall "conv_forward_small" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvForwardSmallBf16 "conv_forward_small_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupLarge "conv_input_gradient_group_large" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupLargeBf16 "conv_input_gradient_group_large_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupMedium "conv_input_gradient_group_medium" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupMediumBf16 "conv_input_gradient_group_medium_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupSmall "conv_input_gradient_group_small" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupSmallBf16 "conv_input_gradient_group_small_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupWide "conv_input_gradient_group_wide" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientGroupWideBf16 "conv_input_gradient_group_wide_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientLarge "conv_input_gradient_large" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientLargeBf16 "conv_input_gradient_large_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientMedium "conv_input_gradient_medium" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientMediumBf16 "conv_input_gradient_medium_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientPrecise "conv_input_gradient_precise" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientSmall "conv_input_gradient_small" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    ConvInputGradientSmallBf16 "conv_input_gradient_small_bf16" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    CopyBlock "copy_block" "liiriw",
    CrossEntropy "cross_entropy" "iirrrrww",
    DepthwiseFilterGradient "depthwise_filter_gradient" "iiiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    DepthwiseForward "depthwise_forward" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrrw",
    DepthwiseInputGradient "depthwise_input_gradient" "iiiiiiiiiiiiiiiiiiiiiiiiiiirrw",
    DropoutScales "dropout_scales" "iffrw",
    Fill "fill" "lrw",
    GatherRows "gather_rows" "iirrw",
    Hits "hits" "iirrw",
    LogNumbers "log_numbers" "iwwrrrrrrrr",
    MatmulNn "matmul_nn" "iiiirrrw",
    MatmulNnBf16 "matmul_nn_bf16" "iiiirrrw",
    MatmulNt "matmul_nt" "iiiirrrw",
    MatmulNtBf16 "matmul_nt_bf16" "iiiirrrw",
    MatmulTn "matmul_tn" "iiiirrrw",
    MatmulTnBf16 "matmul_tn_bf16" "iiiirrrw",
    MaxPool "max_pool" "liiiiiiiiiiiirww",
    MaxPoolBack "max_pool_back" "liiiiiiiiiiiirrw",
    MeanPool "mean_pool" "liiiiiiiiiiiirw",
    MeanPoolBack "mean_pool_back" "liiiiiiiiiiiirw",
    MoveImages "move_images" "liiiiirrrw",
    NormApply "norm_apply" "liirrrw",
    NormBackApply "norm_back_apply" "liirrrrw",
    NormBackFinish "norm_back_finish" "iliirrwww",
    NormBackParts "norm_back_parts" "liiirrrw",
    NormBackWhole "norm_back_whole" "iiirrrrwww",
    NormFinish "norm_finish" "iiliffrrrrwwrw",
    NormGiven "norm_given" "ifrrrrw",
    NormParts "norm_parts" "liiiirw",
    NormWhole "norm_whole" "iiffrrrwwrww",
    NormaliseImages "normalise_images" "liiirrrw",
    RecolorImages "recolor_images" "iirrrw",
    Rectify "rectify" "lfrw",
    RectifyBack "rectify_back" "lfrrw",
    ResizeImages "resize_images" "liiiiiirrrw",
    ResizeTaps "resize_taps" "iiiirw",
    RmsProp "rmsprop" "lrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwww",
    RowMax "row_max" "iirw",
    RowMaxBack "row_max_back" "lirrrw",
    RowSums "row_sums" "iirw",
    Scale "scale" "lrrw",
    ScalePlanes "scale_planes" "lirrw",
    ScatterRows "scatter_rows" "iirrw",
    Sgd "sgd" "lrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwwwlrrwww",
    Softmax "softmax" "iiirw",
    SoftmaxBack "softmax_back" "iiirrw",
    SumAll "sum_all" "ifrw",
    SumParts "sum_parts" "lrw",
    SwapAxes "swap_axes" "liiiiirwliiiiirwliiiiirwliiiiirwliiiiirwliiiiirwliiiiirwliiiiirw",
    TurnImages "turn_images" "liiirrrw",
    Unary "unary" "lirrw",
    UnaryBack "unary_back" "lirrrrw",
    Widen "widen" "liirw",
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
                    it if it.contains('*') => {
                        if it.starts_with("const ") {
                            'r'
                        } else {
                            'w'
                        }
                    }
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
