//! The Atom feed (RFC 4287). Pure: the same news gives the same bytes.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use thim_verify::UnixTime;

use super::item::{self, NewsKind};
use crate::store::NewsRow;

/// The content type of the feed.
pub const CONTENT_TYPE: &str = "application/atom+xml; charset=utf-8";

/// The feed of these rows, newest first, of the service that calls itself `source`.
pub fn atom(source: &str, rows: &[NewsRow]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    let feed = writer
        .create_element("feed")
        .with_attribute(("xmlns", "http://www.w3.org/2005/Atom"));
    feed.write_inner_content(|writer| {
        let id = item::id(&format!("feed/{source}"));
        text(writer, "id", &id.urn().to_string())?;
        text(writer, "title", "THIM: news of trusted hardware")?;
        // A feed without entries was never updated.
        let updated = rows.first().map_or(UnixTime::from_secs(0), |row| row.at);
        text(writer, "updated", &updated.to_string())?;
        text(writer, "generator", "THIM")?;
        writer
            .create_element("author")
            .write_inner_content(|writer| text(writer, "name", source))?;
        if source.starts_with("http") {
            let place = format!("{}/thim/v1/news.atom", source.trim_end_matches('/'));
            writer
                .create_element("link")
                .with_attributes([("rel", "self"), ("href", place.as_str())])
                .write_empty()?;
        }
        rows.iter().try_for_each(|row| entry(writer, row))
    })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn entry(writer: &mut Writer<Vec<u8>>, row: &NewsRow) -> io::Result<()> {
    let title = row.kind.parse().map_or("News", NewsKind::title);
    let written = writer
        .create_element("entry")
        .write_inner_content(|writer| {
            text(writer, "id", &item::id(&row.key).urn().to_string())?;
            text(writer, "title", &format!("{title}: {}", row.subject))?;
            text(writer, "updated", &row.at.to_string())?;
            text(writer, "published", &row.at.to_string())?;
            writer
                .create_element("category")
                .with_attribute(("term", row.kind.as_str()))
                .write_empty()?;
            writer
                .create_element("content")
                .with_attribute(("type", "text"))
                .write_text_content(BytesText::new(&row.text))?;
            Ok(())
        });
    written.map(|_| ())
}

fn text(writer: &mut Writer<Vec<u8>>, name: &str, text: &str) -> io::Result<()> {
    let element = writer.create_element(name);
    element.write_text_content(BytesText::new(text)).map(|_| ())
}
