//! What may be done, by whom: acts, roles that include one another, and scopes that narrow a role.

use std::fmt;
use std::str::FromStr;

/// What a token is for. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Reads what names platforms.
    Reader,
    /// Registers platforms.
    Registrar,
    /// Everything.
    Admin,
}

impl Role {
    /// All, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Registrar, Self::Admin];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Registrar => "registrar",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(UnknownWord("reader, registrar or admin"))
    }
}

/// Something that wants a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Import, deliver, release or fetch collateral.
    ChangeCollateral,
    /// Draft, promote and roll back baselines.
    ManageBaselines,
    /// Forget platforms, import databases, replace a platform under a known name.
    ManagePlatforms,
    /// Put appraisal policies.
    ManagePolicies,
    /// List, create and revoke tokens.
    ManageTokens,
    /// Look at everybody's baselines, and at what was done to them.
    ReadBaselines,
    /// Look at platforms.
    ReadPlatforms,
    /// Register platforms.
    RegisterPlatforms,
    /// Rotate the sealing key.
    RotateKeys,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ChangeCollateral,
        Self::ManageBaselines,
        Self::ManagePlatforms,
        Self::ManagePolicies,
        Self::ManageTokens,
        Self::ReadBaselines,
        Self::ReadPlatforms,
        Self::RegisterPlatforms,
        Self::RotateKeys,
    ];

    /// The least role that may do it.
    pub const fn role(self) -> Role {
        match self {
            Self::ReadBaselines | Self::ReadPlatforms => Role::Reader,
            Self::RegisterPlatforms => Role::Registrar,
            Self::ChangeCollateral
            | Self::ManageBaselines
            | Self::ManagePlatforms
            | Self::ManagePolicies
            | Self::ManageTokens
            | Self::RotateKeys => Role::Admin,
        }
    }

    /// The word for it in a token's scopes.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::ChangeCollateral => "collateral",
            Self::ManageBaselines => "baselines",
            Self::ManagePlatforms => "platforms:manage",
            Self::ManagePolicies => "policies",
            Self::ManageTokens => "tokens",
            Self::ReadBaselines => "baselines:read",
            Self::ReadPlatforms => "platforms:read",
            Self::RegisterPlatforms => "platforms:register",
            Self::RotateKeys => "keys",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl FromStr for Act {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|act| act.scope() == text)
            .ok_or(UnknownWord(
                "baselines:read, platforms:read, platforms:register, platforms:manage, baselines, collateral, policies, tokens or keys",
            ))
    }
}

/// A set of acts. Text: their scope words, joined by spaces.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Acts(u16);

impl Acts {
    /// These.
    pub fn of(acts: &[Act]) -> Self {
        Self(acts.iter().fold(0, |bits, act| bits | act.bit()))
    }

    /// All that a role may do.
    pub fn of_role(role: Role) -> Self {
        let acts = Act::ALL.into_iter().filter(|act| act.role() <= role);
        Self(acts.fold(0, |bits, act| bits | act.bit()))
    }

    /// True where `act` is among them.
    pub const fn contains(self, act: Act) -> bool {
        self.0 & act.bit() != 0
    }

    /// True where there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Act> {
        Act::ALL.into_iter().filter(move |act| self.contains(*act))
    }
}

impl fmt::Display for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, act) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(act.scope())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acts({self})")
    }
}

impl FromStr for Acts {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let acts = text.split_whitespace().map(str::parse::<Act>);
        Ok(Self::of(&acts.collect::<Result<Vec<_>, _>>()?))
    }
}

/// A word that names no role, or no act.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("wanted {0}")]
pub struct UnknownWord(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_includes_the_ones_before() {
        let [reader, registrar, admin] = Role::ALL.map(Acts::of_role);
        assert_eq!(reader.to_string(), "baselines:read platforms:read");
        assert_eq!(
            registrar.to_string(),
            "baselines:read platforms:read platforms:register"
        );
        assert!(Act::ALL.into_iter().all(|act| admin.contains(act)));
        assert!(
            !registrar.contains(Act::ManagePlatforms) && !reader.contains(Act::RegisterPlatforms)
        );
    }

    #[test]
    fn words_are_read_as_they_are_written_and_no_others() {
        for act in Act::ALL {
            assert_eq!(act.scope().parse(), Ok(act));
        }
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        let all = Acts::of_role(Role::Admin);
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!("".parse(), Ok(Acts::default()));
        for near in ["platforms", "platform:read", "Keys", "platforms:read,keys"] {
            assert!(near.parse::<Acts>().is_err(), "{near}");
        }
        for near in ["Admin", "administrator", ""] {
            assert!(near.parse::<Role>().is_err(), "{near}");
        }
    }
}
