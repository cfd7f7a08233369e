//! Words of a pipeline file and the values that they stand for.
//!
//! A word is turned into its value where it is read, so that whoever uses it matches on variants and
//! the compiler finds the one that was forgotten. Never reads a file itself.

/// A value that a file calls by a word: a variant of an enum, or an entry of a registry.
pub trait Word: Copy + 'static {
    /// Every value, in the order in which people are shown them.
    fn all() -> impl Iterator<Item = Self>;

    /// The word for it.
    fn word(&self) -> &'static str;

    /// What it stands for, one line without a full stop, where that is said.
    fn about(&self) -> Option<&'static str> {
        None
    }

    /// The value that `word` stands for.
    fn named(word: &str) -> Option<Self> {
        Self::all().find(|it| it.word() == word)
    }
}

/// Every word for a value of type `T`.
pub fn words_of<T: Word>() -> Vec<&'static str> {
    T::all().map(|it| it.word()).collect()
}

/// Declares an enum of which every variant has a word: `Max = "max"`. Only a macro can list an enum's
/// variants, so that none of them is without a word or left out of [`Word::all`]. The documentation of a variant is
/// what people are told of the word.
macro_rules! words {
    (
        $(#[$about:meta])*
        $visibility:vis enum $name:ident {
            $($(#[doc = $says:literal])+ $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[doc = $says])+ $variant),+
        }

        impl $crate::config::Word for $name {
            fn all() -> impl Iterator<Item = Self> {
                [$(Self::$variant),+].into_iter()
            }

            fn word(&self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            fn about(&self) -> Option<&'static str> {
                // As rustdoc has it, with the blank that it begins with.
                let line = match self {
                    $(Self::$variant => concat!($($says),+)),+
                };
                Some(line.trim().trim_end_matches('.'))
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// Two sides.
        enum Side {
            /// One.
            Left = "left",
            /// The other.
            Right = "right",
        }
    }

    #[test]
    fn every_word_leads_back_to_its_value_and_no_other_word_does() {
        assert_eq!(words_of::<Side>(), ["left", "right"]);
        assert_eq!(Side::named("right"), Some(Side::Right));
        assert_eq!(Side::named("Right"), None);
        assert_eq!(Side::Left.about(), Some("One"));
    }
}
