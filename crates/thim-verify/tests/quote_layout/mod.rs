//! Where the fields of a quote stand, written down once more for the tests and from the specification alone
//! (spec/intel-verification.md, section 1): the parser under test is not asked.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ops::Range;

/// A field by its name.
pub type Field = (&'static str, Range<usize>);

const HEADER: &[(&str, usize)] = &[
    ("version", 2),
    ("attestation key type", 2),
    ("TEE type", 4),
    ("QE SVN", 2),
    ("PCE SVN", 2),
    ("QE vendor id", 16),
    ("user data", 20),
];

const DESCRIPTOR: &[(&str, usize)] = &[("body type", 2), ("body length", 4)];

const ENCLAVE: &[(&str, usize)] = &[
    ("cpusvn", 16),
    ("miscselect", 4),
    ("reserved 1", 12),
    ("isvextprodid", 16),
    ("attributes", 16),
    ("mrenclave", 32),
    ("reserved 2", 32),
    ("mrsigner", 32),
    ("reserved 3", 32),
    ("configid", 64),
    ("isvprodid", 2),
    ("isvsvn", 2),
    ("configsvn", 2),
    ("reserved 4", 42),
    ("isvfamilyid", 16),
    ("reportdata", 64),
];

const TD: &[(&str, usize)] = &[
    ("tee_tcb_svn", 16),
    ("mrseam", 48),
    ("mrsignerseam", 48),
    ("seamattributes", 8),
    ("tdattributes", 8),
    ("xfam", 8),
    ("mrtd", 48),
    ("mrconfigid", 48),
    ("mrowner", 48),
    ("mrownerconfig", 48),
    ("rtmr0", 48),
    ("rtmr1", 48),
    ("rtmr2", 48),
    ("rtmr3", 48),
    ("reportdata", 64),
];

const TD_1_5: &[(&str, usize)] = &[("tee_tcb_svn2", 16), ("mrservicetd", 48)];

const TD_1_5_EXTENDED: &[(&str, usize)] = &[
    ("vmid", 1),
    ("td_id", 32),
    ("dev_info hash", 48),
    ("initial servtd hash", 48),
    ("initial servtd attributes", 8),
    ("initial cpusvn", 16),
    ("initial tee_tcb_svn", 16),
    ("initial fmspc block", 12),
    ("current servtd hash", 48),
    ("current servtd attributes", 8),
];

/// All fields of a well-formed quote, in order, without a gap.
pub fn fields(quote: &[u8]) -> Vec<Field> {
    let version = number(quote, 0..2);
    let is_tdx = number(quote, 4..8) == 0x81;
    let mut layout = Layout::default();
    layout.add(HEADER);
    match (version, is_tdx) {
        (5, _) => {
            layout.add(DESCRIPTOR);
            match number(quote, 48..50) {
                1 => layout.add(ENCLAVE),
                2 => layout.add(TD),
                3 => layout.adds(&[TD, TD_1_5]),
                4 => layout.adds(&[TD, TD_1_5, TD_1_5_EXTENDED]),
                other => panic!("body type {other}"),
            }
        }
        (_, false) => layout.add(ENCLAVE),
        (_, true) => layout.add(TD),
    }
    layout.add(&[
        ("signature data length", 4),
        ("quote signature", 64),
        ("attestation key", 64),
    ]);
    if version > 3 {
        layout.add(&[("outer type", 2), ("outer size", 4)]);
    }
    layout.quoting_enclave();
    layout.add(&[("QE report signature", 64), ("auth size", 2)]);
    let auth = layout.last(quote);
    layout.add(&[("auth data", auth), ("inner type", 2), ("inner size", 4)]);
    let inner = layout.last(quote);
    layout.add(&[("certification data", inner)]);
    layout.fields
}

/// The place of a field.
pub fn field(quote: &[u8], name: &str) -> Range<usize> {
    let mut all = fields(quote).into_iter();
    all.find(|(found, _)| *found == name).expect(name).1
}

/// A little-endian number of up to four bytes.
pub fn number(bytes: &[u8], range: Range<usize>) -> usize {
    let bytes = bytes[range].iter().rev();
    bytes.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Writes one.
pub fn set_number(bytes: &mut [u8], range: Range<usize>, value: usize) {
    for (at, byte) in range.enumerate() {
        bytes[byte] = u8::try_from(value >> (8 * at) & 0xff).expect("a byte");
    }
}

#[derive(Default)]
struct Layout {
    fields: Vec<Field>,
    at: usize,
}

impl Layout {
    fn add(&mut self, parts: &[(&'static str, usize)]) {
        for (name, bytes) in parts {
            self.fields.push((name, self.at..self.at + bytes));
            self.at += bytes;
        }
    }

    fn adds(&mut self, parts: &[&[(&'static str, usize)]]) {
        parts.iter().for_each(|part| self.add(part));
    }

    /// The enclave's report as it stands in the signature section; its fields have names of their own.
    fn quoting_enclave(&mut self) {
        for ((_, bytes), name) in ENCLAVE.iter().zip(QE_NAMES) {
            self.add(&[(name, *bytes)]);
        }
    }

    fn last(&self, quote: &[u8]) -> usize {
        let (_, range) = self.fields.last().expect("a field");
        number(quote, range.clone())
    }
}

const QE_NAMES: [&str; 16] = [
    "QE cpusvn",
    "QE miscselect",
    "QE reserved 1",
    "QE isvextprodid",
    "QE attributes",
    "QE mrenclave",
    "QE reserved 2",
    "QE mrsigner",
    "QE reserved 3",
    "QE configid",
    "QE isvprodid",
    "QE isvsvn",
    "QE configsvn",
    "QE reserved 4",
    "QE isvfamilyid",
    "QE reportdata",
];
