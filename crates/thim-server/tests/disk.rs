//! A full disk, on a small tmpfs of this test's own: a clear cause, hits go on, and it heals.

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{BOTH, Fleet, SGX_ONLY, tcb};

struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder)
            .output()
            .ok()?;
        mounted.status.success().then(|| Self(folder.to_owned()))
    }

    /// Takes all that is left.
    fn fill(&self) {
        let mut size = 1024 * 1024;
        for index in 0.. {
            if std::fs::write(self.0.join(format!("filler-{index}")), vec![0; size]).is_err() {
                let _ = std::fs::remove_file(self.0.join(format!("filler-{index}")));
                if size == 1 {
                    return;
                }
                size /= 2;
            }
        }
    }

    fn free(&self) {
        for entry in std::fs::read_dir(&self.0).expect("a folder").flatten() {
            if entry.file_name().to_string_lossy().starts_with("filler-") {
                std::fs::remove_file(entry.path()).expect("removed");
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_admission_and_nothing_else() {
    let mut fleet = Fleet::sim_only(|_| {}).await;
    let Some(disk) = Tmpfs::mount(fleet.data()) else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    fleet.serve().await;
    let known = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(known.status, 200);
    disk.fill();
    let hit = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(
        (hit.status, &hit.body),
        (200, &known.body),
        "hits touch no disk"
    );
    let miss = fleet.get(&tcb("tdx", BOTH)).await;
    assert_eq!(
        miss.status, 503,
        "what cannot be kept is not served: {miss:?}"
    );
    assert!(
        miss.header("thim-cause").starts_with("storage; detail="),
        "{}",
        miss.header("thim-cause")
    );
    let metrics = fleet.get("/metrics").await;
    assert!(
        !metrics.text().contains("thim_store_failures_total 0\n"),
        "it is counted"
    );
    disk.free();
    fleet.clock.advance_millis(120_000);
    let healed = fleet.get(&tcb("tdx", BOTH)).await;
    assert_eq!(healed.status, 200, "it heals: {healed:?}");
    fleet.restart().await;
    let after = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!((after.status, &after.body), (200, &known.body));
    fleet.stop().await;
}
