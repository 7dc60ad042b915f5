//! Not a test: makes the database that `bench/platforms` imports, of `THIM_BENCH_PLATFORMS` platforms in the folder
//! `THIM_BENCH_FOLDER`, with the root to trust and the requests to make. Ignored unless asked for, and then it does
//! nothing without the two.

#![allow(clippy::disallowed_methods, reason = "the bench says what it wants")]

mod pccs_support;

use std::fmt::Write;
use std::path::PathBuf;

use pccs_support::{Pccs, SGX_ONLY, World, upper};
use thim_sim::PlatformSpec;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "bench/platforms runs it"]
async fn make() {
    let (Some(folder), Ok(count)) = (
        std::env::var_os("THIM_BENCH_FOLDER").map(PathBuf::from),
        std::env::var("THIM_BENCH_PLATFORMS")
            .unwrap_or_default()
            .parse::<usize>(),
    ) else {
        println!("nothing to do: THIM_BENCH_FOLDER and THIM_BENCH_PLATFORMS are not set");
        return;
    };
    let world = World::new().await;
    std::fs::copy(world.at("root.pem"), folder.join("root.pem")).expect("copied");
    let mut pccs = Pccs::create(folder.join("pckcache.db"), 5, false).await;
    pccs.run("BEGIN".to_owned()).await;
    pccs.collateral(&world, &[SGX_ONLY]).await;
    let mut requests = String::new();
    let mut made = 0;
    while made < count {
        let batch = (count - made).min(1000);
        for platform in world.add(PlatformSpec::new(SGX_ONLY, 1).levels(1), batch) {
            let certs = world.pck_certs(&platform).await;
            pccs.platform(&platform, &certs).await;
            writeln!(
                requests,
                "/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
                upper(&platform.qe_id),
                upper(&platform.encrypted_ppid),
                upper(&platform.cpu_svn),
                upper(&platform.pce_svn.to_le_bytes()),
                upper(&platform.pce_id)
            )
            .expect("a string takes it");
        }
        made += batch;
        println!("{made} of {count}");
    }
    pccs.run("COMMIT".to_owned()).await;
    std::fs::write(folder.join("requests"), requests).expect("written");
    pccs.close().await;
}
