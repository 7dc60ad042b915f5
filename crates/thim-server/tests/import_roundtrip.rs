//! What one store exports another imports, as the same editions in the same states.

mod harness;
#[path = "import_support/mod.rs"]
mod support;
#[path = "import_support/vendor.rs"]
mod vendor;

use thim_server::intake;
use vendor::{LATER, Vendor, counts, three_rounds};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_as_the_same_editions() {
    let vendor = Vendor::start().await;
    let kept = vendor.kept(LATER).await;
    kept.import_gathered(three_rounds(&vendor).await).await;
    let folder = tempfile::tempdir().expect("a folder");
    let exported = intake::export(
        &kept.collateral,
        None,
        true,
        kept.clock.now(),
        folder.path(),
    )
    .await
    .expect("an export");
    assert_eq!(exported.editions, 21);
    let other = vendor.kept(LATER).await;
    let report = other.import(&[folder.path()]).await;
    assert_eq!(counts(&report), (20, 0, 1, 0, 0));
    assert_eq!(other.states().await, kept.states().await);
}
