//! The product lines for which AMD runs a key hierarchy of their own.
//!
//! A product is the name in the paths of AMD's key server and in the certificates (`ARK-Genoa`, `SEV-Genoa`). Parts
//! without a hierarchy belong to another's: Bergamo and Siena are Genoa. Source: spec/amd-kds-and-thim.md, 1.3.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::error::excerpt;

/// A product line, oldest first. Text: AMD's own spelling; read in any case.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, and 8004 (Siena) and the 97x4 (Bergamo).
    Genoa,
    /// EPYC 9005.
    Turin,
    /// The one after; its root has not been confirmed, so none is built in.
    Venice,
}

impl Product {
    /// All, oldest first.
    pub const ALL: [Self; 4] = [Self::Milan, Self::Genoa, Self::Turin, Self::Venice];

    /// The canonical spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
            Self::Venice => "Venice",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Product {
    type Err = Error;

    /// [`Error::Unsupported`] for a name that is no product's.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|product| product.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::unsupported(format_args!("the AMD product {}", excerpt(text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_in_one_case_out() {
        for product in Product::ALL {
            let name = product.name();
            for text in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(text.parse::<Product>().as_ref(), Ok(&product), "{text}");
            }
            assert_eq!(product.to_string(), name);
        }
        for text in [
            "",
            "Mila",
            "Milann",
            " Milan",
            "Milan-B0",
            "Bergamo",
            "SEV-Milan",
            "Mılan",
        ] {
            let refused = text.parse::<Product>();
            assert_eq!(
                refused.map_err(|e| e.reason()),
                Err("unsupported"),
                "{text}"
            );
        }
    }
}
