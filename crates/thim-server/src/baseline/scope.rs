//! Whose baseline it is, and of which TEE.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thim_verify::Tee;

/// A TEE that has baselines. Text: `sgx`, `tdx`, `sev-snp`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum BaselineTee {
    /// AMD SEV-SNP.
    SevSnp,
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
}

impl BaselineTee {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::SevSnp, Self::Sgx, Self::Tdx];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SevSnp => "sev-snp",
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
        }
    }

    /// Intel's TEE, where it is one.
    pub const fn intel(self) -> Option<Tee> {
        match self {
            Self::SevSnp => None,
            Self::Sgx => Some(Tee::Sgx),
            Self::Tdx => Some(Tee::Tdx),
        }
    }
}

impl From<Tee> for BaselineTee {
    fn from(tee: Tee) -> Self {
        match tee {
            Tee::Sgx => Self::Sgx,
            Tee::Tdx => Self::Tdx,
        }
    }
}

impl fmt::Display for BaselineTee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BaselineTee {
    type Err = WrongName;

    fn from_str(text: &str) -> Result<Self, WrongName> {
        let mut all = Self::ALL.into_iter();
        all.find(|tee| tee.name() == text)
            .ok_or(WrongName("tee: wanted sgx, tdx or sev-snp"))
    }
}

/// A tenant's name: 1 to 63 of `a` to `z`, digits and `-`, and none of the [`RESERVED`] words.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Tenant {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Tenant {
    type Err = WrongName;

    fn from_str(text: &str) -> Result<Self, WrongName> {
        if RESERVED.contains(&text) {
            return Err(WrongName(
                "tenant: sgx, tdx, default and floor are no tenants' names",
            ));
        }
        let one_of = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=TENANT_CHARS).contains(&text.len()) || !text.bytes().all(one_of) {
            return Err(WrongName(
                "tenant: wanted 1 to 63 lower-case letters, digits and hyphens",
            ));
        }
        Ok(Self(text.into()))
    }
}

/// Whose baseline. Text: `default`, `floor`, or a tenant's name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Everybody's who has none of their own.
    Default,
    /// The operator's: what nobody goes below.
    Floor,
    /// A tenant's.
    Tenant(Tenant),
}

impl Scope {
    /// The text form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Default => DEFAULT,
            Self::Floor => FLOOR,
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = WrongName;

    fn from_str(text: &str) -> Result<Self, WrongName> {
        match text {
            DEFAULT => Ok(Self::Default),
            FLOOR => Ok(Self::Floor),
            other => other.parse().map(Self::Tenant),
        }
    }
}

/// A word that is no name of what it should be; says what was wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct WrongName(&'static str);

const DEFAULT: &str = "default";
const FLOOR: &str = "floor";
/// `sgx` and `tdx` because Intel's client rewrites these words wherever they stand in its base URL
/// (`spec/quote-provider-clients.md`); the others are scopes.
pub const RESERVED: [&str; 4] = ["sgx", "tdx", DEFAULT, FLOOR];
/// A DNS label's length.
const TENANT_CHARS: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_near_misses() {
        let longest = "a".repeat(63);
        for name in ["a", "0", "acme-1", "-", "sgx1", "my-sgx", &longest] {
            let scope: Scope = name.parse().expect("a name");
            assert_eq!(scope.to_string(), name);
            assert!(matches!(scope, Scope::Tenant(_)));
        }
        let too_long = "a".repeat(64);
        for name in [
            "", "A", "a_b", "a.b", "a b", "ä", "a/b", "sgx", "tdx", &too_long,
        ] {
            assert!(name.parse::<Scope>().is_err(), "{name}");
        }
        assert_eq!("default".parse(), Ok(Scope::Default));
        assert_eq!("floor".parse(), Ok(Scope::Floor));
        assert!("default".parse::<Tenant>().is_err());
        assert!("SGX".parse::<BaselineTee>().is_err());
        assert_eq!("sev-snp".parse(), Ok(BaselineTee::SevSnp));
    }
}
