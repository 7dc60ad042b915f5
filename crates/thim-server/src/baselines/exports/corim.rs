//! As a CoRIM (draft-ietf-rats-corim-10) under Intel's profile (draft-cds-rats-intel-corim-profile-07): one reference triple a
//! class of platforms, with `tee.tcb-eval-num` at least the number that the baseline selects, and `tee.tcbstatus` one of those it
//! accepts. Classes are named by the ids of Intel's appraisal library. Unsigned; good as long as a statement is.

use corim::builder::{ComidBuilder, CorimBuilder};
use corim::cbor::value::Value;
use corim::profile::intel::{
    INTEL_PROFILE_OID_DER, MVAL_TEE_TCB_EVAL_NUM, MVAL_TEE_TCBSTATUS, TAG_INTEL_EXPRESSION,
    TAG_INTEL_SET_TSTR_EXPRESSION,
};
use corim::types::common::{ClassIdChoice, EntityMap, TagIdChoice};
use corim::types::corim::{CorimId, ProfileChoice};
use corim::types::environment::{ClassMap, EnvironmentMap};
use corim::types::measurement::{MeasurementMap, MeasurementValuesMap};
use corim::types::tags::COMID_ROLE_TAG_CREATOR;
use corim::types::triples::ReferenceTriple;
use thim_verify::UnixTime;

use super::intel_policy::classes;
use super::{Chosen, NotExported, chosen};
use crate::baseline::{BaselineTee, Scope};
use crate::baselines::Baselines;

/// The baseline as it is now, in CBOR (tag 501). `issuer` and `lifetime_secs` are those of statements.
///
/// # Errors
/// [`NotExported`].
pub fn corim(
    baselines: &Baselines,
    (issuer, lifetime_secs): (&str, i64),
    scope: &Scope,
    tee: BaselineTee,
    now: UnixTime,
) -> Result<Vec<u8>, NotExported> {
    let chosen = chosen(baselines, scope, tee, now)?;
    let name = format!(
        "{issuer}/baselines/{}/{tee}/{}",
        chosen.scope, chosen.version
    );
    let unwritable = |error: &dyn std::fmt::Display| NotExported::Unwritable(error.to_string());
    let mut comid = ComidBuilder::new(TagIdChoice::Text(name.clone()))
        .set_tag_version(u64::from(chosen.version))
        .add_entity(EntityMap {
            entity_name: issuer.to_owned(),
            reg_id: None,
            role: vec![COMID_ROLE_TAG_CREATOR],
        });
    for (class_id, description) in classes(chosen.tee) {
        let class_id: uuid::Uuid = class_id.parse().map_err(|error| unwritable(&error))?;
        let environment = EnvironmentMap {
            class: Some(ClassMap {
                class_id: Some(ClassIdChoice::Uuid(class_id.into_bytes())),
                vendor: Some("Intel Corporation".to_owned()),
                model: Some((*description).to_owned()),
                layer: None,
                index: None,
            }),
            instance: None,
            group: None,
        };
        let measurement = wanted(&chosen);
        comid = comid.add_reference_triple(ReferenceTriple::new(environment, vec![measurement]));
    }
    let comid = comid.build().map_err(|error| unwritable(&error))?;
    let until = now.plus_secs(lifetime_secs).secs();
    CorimBuilder::new(CorimId::Text(name))
        .set_profile(ProfileChoice::Oid(INTEL_PROFILE_OID_DER.to_vec()))
        .set_validity(Some(now.secs()), until)
        .and_then(|builder| builder.add_comid_tag(comid))
        .and_then(CorimBuilder::build_bytes)
        .map_err(|error| unwritable(&error))
}

fn wanted(chosen: &Chosen) -> MeasurementMap {
    let tagged = |tag, operator, operand| {
        let expression = vec![Value::Integer(operator), operand];
        Value::Tag(tag, Box::new(Value::Array(expression)))
    };
    let statuses = chosen.rule.accepted_statuses.iter();
    let statuses = statuses.map(|status| Value::Text(status.name().to_owned()));
    let number = Value::Integer(i128::from(chosen.number));
    let mut mval = MeasurementValuesMap::default();
    mval.extra_entries.insert(
        MVAL_TEE_TCB_EVAL_NUM,
        tagged(TAG_INTEL_EXPRESSION, AT_LEAST, number),
    );
    mval.extra_entries.insert(
        MVAL_TEE_TCBSTATUS,
        tagged(
            TAG_INTEL_SET_TSTR_EXPRESSION,
            MEMBER,
            Value::Array(statuses.collect()),
        ),
    );
    MeasurementMap {
        mkey: None,
        mval,
        authorized_by: None,
    }
}

/// `op.ge` and `op.mem` (draft-cds-rats-intel-corim-profile-07 section 8.2.1).
const AT_LEAST: i128 = 2;
const MEMBER: i128 = 6;
