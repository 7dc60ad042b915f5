//! The two words of flags in a report: what a guest demands, and how its host is set up.
//!
//! Bits without a meaning yet are kept and told apart, never an error. Source: spec/amd-kds-and-thim.md, 4.

/// POLICY: what the guest's owner allows and demands.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct GuestPolicy(pub u64);

/// PLATFORM_INFO: how the host is set up.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PlatformInfo(pub u64);

impl GuestPolicy {
    /// The least firmware ABI, major and minor.
    pub const fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Whether the host may debug the guest: its memory is then open.
    pub const fn debug(self) -> bool {
        bit(self.0, 19)
    }

    /// Whether simultaneous multithreading is allowed.
    pub const fn smt(self) -> bool {
        bit(self.0, 16)
    }

    /// Whether a migration agent may be associated.
    pub const fn migration_agent(self) -> bool {
        bit(self.0, 18)
    }

    /// Whether the guest stays on one socket.
    pub const fn single_socket(self) -> bool {
        bit(self.0, 20)
    }

    /// Whether CXL devices are allowed.
    pub const fn cxl(self) -> bool {
        bit(self.0, 21)
    }

    /// Whether memory must be encrypted with AES-256-XTS.
    pub const fn aes_256_xts(self) -> bool {
        bit(self.0, 22)
    }

    /// Whether RAPL must be off.
    pub const fn rapl_disabled(self) -> bool {
        bit(self.0, 23)
    }

    /// Whether ciphertext hiding must be on.
    pub const fn ciphertext_hiding(self) -> bool {
        bit(self.0, 24)
    }

    /// Whether page swapping must be off.
    pub const fn page_swap_disabled(self) -> bool {
        bit(self.0, 25)
    }

    /// Bits without a meaning here.
    pub const fn unknown(self) -> u64 {
        self.0 & !POLICY_KNOWN
    }
}

impl PlatformInfo {
    /// Simultaneous multithreading is on.
    pub const fn smt(self) -> bool {
        bit(self.0, 0)
    }

    /// Transparent memory encryption is on.
    pub const fn tsme(self) -> bool {
        bit(self.0, 1)
    }

    /// Memory has error correction.
    pub const fn ecc(self) -> bool {
        bit(self.0, 2)
    }

    /// RAPL is off.
    pub const fn rapl_disabled(self) -> bool {
        bit(self.0, 3)
    }

    /// Ciphertext hiding is on.
    pub const fn ciphertext_hiding(self) -> bool {
        bit(self.0, 4)
    }

    /// Memory was checked for aliases (the mitigation of BadRAM).
    pub const fn alias_check_complete(self) -> bool {
        bit(self.0, 5)
    }

    /// Trusted I/O is on.
    pub const fn tio(self) -> bool {
        bit(self.0, 7)
    }

    /// Bits without a meaning here; bit 6 is set in genuine Turin reports.
    pub const fn unknown(self) -> u64 {
        self.0 & !PLATFORM_KNOWN
    }
}

const fn bit(number: u64, at: u32) -> bool {
    number >> at & 1 == 1
}

/// Bits 0 to 25.
const POLICY_KNOWN: u64 = (1 << 26) - 1;

/// Bits 0 to 5 and 7.
const PLATFORM_KNOWN: u64 = 0b1011_1111;
