//! The form of a file of product facts, and what it must not say.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use super::{ModelRange, ProductFacts, WHAT, wrong};
use crate::Error;
use crate::amd::hw_id::{LONG_BYTES, SHORT_BYTES};
use crate::amd::product::Product;
use crate::amd::tcb::{SplField, TcbComponent};
use crate::error::within;

/// The file's form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    products: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    product: String,
    enabled: bool,
    kds_line: String,
    struct_version: u8,
    hw_id_bytes: usize,
    models: Vec<String>,
    tcb: Vec<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    component: String,
    byte: u8,
    max: u8,
}

/// The products of a file, in its order.
pub(super) fn read(text: &str) -> Result<Vec<ProductFacts>, Error> {
    within(WHAT, MAX_FILE_BYTES, text.len())?;
    let file: File = serde_json::from_str(text).map_err(wrong)?;
    if file.version != VERSION {
        return Err(wrong(format_args!("version {}", file.version)));
    }
    if file.products.len() > Product::ALL.len() {
        return Err(Error::too_many("products", Product::ALL.len()));
    }
    let mut seen = BTreeSet::new();
    let mut facts = Vec::new();
    for entry in file.products {
        let entry = entry.checked()?;
        if !seen.insert(entry.product) {
            return Err(wrong(format_args!("{} stands twice", entry.product)));
        }
        facts.push(entry);
    }
    Ok(facts)
}

impl Entry {
    fn checked(self) -> Result<ProductFacts, Error> {
        let product: Product = self.product.parse()?;
        let refuse = |why: fmt::Arguments<'_>| Err(wrong(format_args!("{product}: {why}")));
        let line = &self.kds_line;
        let plain = line.bytes().all(|b| b.is_ascii_alphanumeric());
        if line.is_empty() || line.len() > MAX_LINE_BYTES || !plain {
            // It becomes a path segment.
            return refuse(format_args!(
                "kds_line is not 1 to {MAX_LINE_BYTES} letters and digits"
            ));
        }
        if ![SHORT_BYTES, LONG_BYTES].contains(&self.hw_id_bytes) {
            return refuse(format_args!("hw_id_bytes is neither 8 nor 64"));
        }
        if self.models.len() > MAX_MODEL_RANGES {
            return Err(Error::too_many("ranges of models", MAX_MODEL_RANGES));
        }
        let mut models = Vec::new();
        for text in &self.models {
            let Some(range) = ModelRange::parse(text) else {
                return refuse(format_args!("{text} is not FAMILY/FIRST-LAST in hex"));
            };
            models.push(range);
        }
        let mut tcb: Vec<SplField> = Vec::new();
        for Field {
            component: name,
            byte,
            max,
        } in self.tcb
        {
            let all = TcbComponent::ALL.into_iter();
            let Some(component) = all.clone().find(|component| component.name() == name) else {
                return refuse(format_args!("no TCB component is called {name}"));
            };
            if byte > LAST_TCB_BYTE || max == 0 {
                return refuse(format_args!("{name} beyond byte 7, or without room"));
            }
            if tcb
                .iter()
                .any(|one| one.component == component || one.byte == byte)
            {
                return refuse(format_args!("{name}: a component or a byte twice"));
            }
            tcb.push(SplField {
                component,
                byte,
                max,
            });
        }
        let required = TcbComponent::ALL
            .into_iter()
            .filter(|component| *component != TcbComponent::Fmc);
        for component in required {
            if !tcb.iter().any(|field| field.component == component) {
                return refuse(format_args!("no {}", component.name()));
            }
        }
        Ok(ProductFacts {
            product,
            enabled: self.enabled,
            kds_line: self.kds_line,
            struct_version: self.struct_version,
            hw_id_bytes: self.hw_id_bytes,
            models,
            tcb,
        })
    }
}

/// The built-in table has 2 KiB.
pub(super) const MAX_FILE_BYTES: usize = 64 * 1024;

/// Of the file's form.
const VERSION: u64 = 1;

/// Product names have six letters.
const MAX_LINE_BYTES: usize = 32;

/// Venice has four; bounds the search for overlaps.
const MAX_MODEL_RANGES: usize = 64;

/// A TCB_VERSION has eight bytes.
const LAST_TCB_BYTE: u8 = 7;
