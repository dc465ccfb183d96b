//! Kinds of things that are counted: each has a name for programs and a sentence for people, written once.

/// Declares an enum of such kinds: variant, name, sentence.
///
/// The enum gets `ALL`, all kinds in the order of their numbers, `name` and `sentence`.
#[macro_export]
macro_rules! counted_kinds {
    ($(#[$about:meta])* $kind:ident: $($variant:ident $name:literal $sentence:literal)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $kind { $(#[doc = $sentence] $variant),* }

        impl $kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in tables, JSON and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it is, as one sentence for people.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),* }
            }
        }
    };
}
