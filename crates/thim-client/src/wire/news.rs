//! News.

use serde::{Deserialize, Serialize};

/// One piece of news.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewsRecord {
    /// Rises; ask for news after it.
    pub seq: i64,
    /// The id: the same in the feed (`urn:uuid:`), in webhooks, and on every replica.
    pub id: String,
    /// When it was told.
    pub at: String,
    /// The kind's stable name, such as `org.thim.baseline.standard-moves`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The thing it is about.
    pub subject: String,
    /// For people.
    pub text: String,
    /// The facts: an object.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub data: serde_json::Value,
}
