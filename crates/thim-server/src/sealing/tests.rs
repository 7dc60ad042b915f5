//! Near misses of unsealing, and rotations that are cut short after each step.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use sqlx::Connection;
use thim_verify::Digest;

use super::*;
use crate::store::{SealedColumn, Store};

/// Never the same bytes twice.
fn counting(bytes: &mut [u8]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    bytes.fill(0);
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Ok(())
}

fn stuck(bytes: &mut [u8]) -> std::io::Result<()> {
    bytes.fill(5);
    Ok(())
}

fn broken(_: &mut [u8]) -> std::io::Result<()> {
    Err(std::io::Error::other("it is broken"))
}

fn sealer(directory: &Path) -> Sealer {
    Sealer::open(directory, counting).expect("a sealer").0
}

#[test]
fn what_is_sealed_is_read_again_and_its_near_misses_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sealer, fresh) = Sealer::open(folder.path(), counting).expect("a sealer");
    assert!(fresh);
    let plain = b"a platform manifest";
    let sealed = sealer.seal(Purpose::Manifest, plain);
    assert_eq!(sealed.len(), HEAD_BYTES + plain.len() + 16);
    assert!(!sealed.windows(4).any(|window| window == b"mani"));
    assert!(sealer.is_current(&sealed));
    assert_eq!(
        sealer.unseal(Purpose::Manifest, &sealed).expect("read"),
        plain
    );
    // Opened again, it is the same key.
    let (again, fresh) = Sealer::open(folder.path(), broken).expect("a sealer");
    assert!(!fresh);
    assert_eq!(
        again.unseal(Purpose::Manifest, &sealed).expect("read"),
        plain
    );

    assert!(matches!(
        sealer.unseal(Purpose::EncryptedPpid, &sealed),
        Err(SealingError::Altered)
    ));
    for length in 0..sealed.len() {
        let cut = sealer.unseal(Purpose::Manifest, &sealed[..length]);
        assert!(
            matches!(cut, Err(SealingError::TooShort | SealingError::Altered)),
            "{length}"
        );
    }
    for index in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[index] ^= 1;
        let refused = sealer.unseal(Purpose::Manifest, &altered);
        assert!(
            matches!(
                (index, &refused),
                (0, Err(SealingError::Version(_)))
                    | (1..=4, Err(SealingError::UnknownKey(_)))
                    | (5.., Err(SealingError::Altered))
            ),
            "{index}: {refused:?}"
        );
    }
    let other = tempfile::tempdir().expect("a folder");
    let other = self::sealer(other.path());
    assert!(matches!(
        other.unseal(Purpose::Manifest, &sealed),
        Err(SealingError::UnknownKey(_))
    ));
    assert!(!other.is_current(&sealed));
    assert!(
        sealer
            .unseal(Purpose::Ppid, &sealer.seal(Purpose::Ppid, b""))
            .expect("read")
            .is_empty()
    );
}

#[test]
fn the_nonce_follows_from_purpose_and_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let sealer = sealer(folder.path());
    let seal = |purpose, plain: &[u8]| sealer.seal(purpose, plain);
    assert_eq!(
        seal(Purpose::Manifest, b"one"),
        seal(Purpose::Manifest, b"one")
    );
    let nonces: HashSet<Vec<u8>> = [
        seal(Purpose::Manifest, b"one"),
        seal(Purpose::Manifest, b"two"),
        seal(Purpose::EncryptedPpid, b"one"),
        seal(Purpose::EncryptedPpid, b"two"),
    ]
    .iter()
    .map(|sealed| sealed[PREFIX_BYTES..HEAD_BYTES].to_vec())
    .collect();
    assert_eq!(nonces.len(), 4);
}

#[test]
fn identity_hashes_tell_secrets_and_purposes_apart() {
    let key = IdentityKey::new([1; 32]);
    let hash = key.keyed(Purpose::Ppid, b"ppid");
    assert_eq!(
        (hash.len(), &hash),
        (64, &key.keyed(Purpose::Ppid, b"ppid"))
    );
    assert_ne!(hash, key.keyed(Purpose::Ppid, b"ppie"));
    assert_ne!(hash, key.keyed(Purpose::Manifest, b"ppid"));
    assert_ne!(
        hash,
        IdentityKey::new([2; 32]).keyed(Purpose::Ppid, b"ppid")
    );
}

#[test]
fn a_damaged_key_file_is_refused_without_showing_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(KEY_FILE);
    drop(sealer(folder.path()));
    let mode = std::fs::metadata(&path).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let good = std::fs::read_to_string(&path).expect("text");
    let line = good.trim_end();
    let (id, hex) = line.split_once(' ').expect("two words");
    let flipped = if hex.ends_with('0') { "1" } else { "0" };
    for (bad, why) in [
        (String::new(), "no key"),
        (hex.to_owned(), "line 1"),
        (format!("{id} {}{flipped}", &hex[..63]), "damaged"),
        (format!("{id} {}", &hex[..62]), "64 lower-case"),
        (format!("{line}\n{line}"), "line 2: a key twice"),
    ] {
        std::fs::write(&path, &bad).expect("written");
        let refused = Sealer::open(folder.path(), counting).expect_err("refused");
        let told = format!("{refused} {refused:?}");
        assert!(told.contains(why), "{told}");
        assert!(!told.contains(&hex[..16]), "{told}");
        assert_eq!(
            std::fs::read_to_string(&path).expect("text"),
            bad,
            "left alone"
        );
    }
    std::fs::write(&path, &good).expect("written");
    let sealer = sealer(folder.path());
    assert!(!format!("{sealer:?}").contains(&hex[..16]));
    for _ in 1..KEYS {
        sealer.add_key().expect("added");
    }
    assert!(
        Sealer::open(folder.path(), counting).is_ok(),
        "as many as may be"
    );
    sealer.add_key().expect("added");
    let refused = Sealer::open(folder.path(), counting).expect_err("one more");
    assert!(refused.to_string().contains("too many"), "{refused}");
}

#[test]
fn without_randomness_there_is_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Sealer::open(folder.path(), broken),
        Err(SealingError::NoRandomness(_))
    ));
    assert!(!folder.path().join(KEY_FILE).exists());
    let (sealer, _) = Sealer::open(folder.path(), stuck).expect("a sealer");
    assert!(matches!(
        sealer.add_key(),
        Err(SealingError::NoRandomness(_))
    ));
    assert_eq!(sealer.filed(), 1);
}

/// More than two batches.
const PLATFORMS: usize = 1_100;

fn manifest(number: usize) -> Vec<u8> {
    format!("the manifest of platform {number}").into_bytes()
}

async fn store(directory: &Path) -> Store {
    Store::open(directory, Digest::of(b"roots"))
        .await
        .expect("a store")
}

async fn connect(directory: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("thim.db"));
    sqlx::SqliteConnection::connect_with(&options)
        .await
        .expect("opens")
}

/// Platforms with manifests, the first with an encrypted PPID too, and a registration with both.
async fn fill(directory: &Path, sealer: &Sealer) {
    let mut connection = connect(directory).await;
    let mut tx = connection.begin().await.expect("begins");
    for number in 0..PLATFORMS {
        sqlx::query(
            "INSERT INTO platform (id, pce_id, enc_ppid, manifest, state, cause, detail, since, origin, registered) \
             VALUES ($1, '0000', $2, $3, 'new', '', '', 0, 'registered', 0)",
        )
        .bind(format!("{number:016x}"))
        .bind((number == 0).then(|| sealer.seal(Purpose::EncryptedPpid, b"a PPID")))
        .bind(sealer.seal(Purpose::Manifest, &manifest(number)))
        .execute(&mut *tx)
        .await
        .expect("inserted");
    }
    sqlx::query(
        "INSERT INTO registration (qe_id, pce_id, cpu_svn, pce_svn, enc_ppid, manifest, state, at) \
         VALUES ('AA', '0000', '00', '00', $1, $2, 'new', 0)",
    )
    .bind(sealer.seal(Purpose::EncryptedPpid, b"a PPID"))
    .bind(sealer.seal(Purpose::Manifest, &manifest(0)))
    .execute(&mut *tx)
    .await
    .expect("inserted");
    tx.commit().await.expect("committed");
    connection.close().await.expect("closed");
}

/// All that is sealed, unsealed; how much of it is under the newest key.
async fn readable(store: &Store, sealer: &Sealer) -> (usize, usize) {
    let (mut all, mut current) = (0, 0);
    for column in SealedColumn::ALL {
        let purpose = match column {
            SealedColumn::PlatformEncPpid | SealedColumn::RegistrationEncPpid => {
                Purpose::EncryptedPpid
            }
            SealedColumn::PlatformManifest | SealedColumn::RegistrationManifest => {
                Purpose::Manifest
            }
        };
        for one in store
            .sealed_otherwise(column, None, b"none begins so", u32::MAX)
            .await
            .expect("read")
        {
            let plain = sealer.unseal(purpose, &one.sealed.0).expect("readable");
            if column == SealedColumn::PlatformManifest {
                let number = usize::from_str_radix(&one.row, 16).expect("an id");
                assert_eq!(plain, manifest(number));
            }
            all += 1;
            current += usize::from(sealer.is_current(&one.sealed.0));
        }
    }
    (all, current)
}

fn copy(from: &Path, to: &Path) {
    for name in ["thim.db", "thim.db-wal", KEY_FILE] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("copied");
        }
    }
}

fn keys_in(directory: &Path) -> usize {
    let text = std::fs::read_to_string(directory.join(KEY_FILE)).expect("text");
    text.lines().count()
}

#[tokio::test]
async fn a_rotation_that_stops_anywhere_leaves_everything_readable_and_the_next_finishes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let sealer = sealer(folder.path());
    assert!(!store.has_sealed().await.expect("read"));
    fill(folder.path(), &sealer).await;
    assert!(store.has_sealed().await.expect("read"));
    let total = PLATFORMS + 3;
    let before = tempfile::tempdir().expect("a folder");
    copy(folder.path(), before.path());

    let mut snapshots = Vec::new();
    let rotated = rotate(&sealer, &store, &mut |step| {
        let snapshot = tempfile::tempdir().expect("a folder");
        copy(folder.path(), snapshot.path());
        snapshots.push((step, snapshot));
    })
    .await
    .expect("rotated");
    assert_eq!(
        rotated,
        Rotated {
            resealed: total as u64,
            lost: 0
        }
    );
    assert_eq!(readable(&store, &sealer).await, (total, total));
    assert_eq!(keys_in(folder.path()), 1);

    let steps: Vec<Step> = snapshots.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps.first(), Some(&Step::KeyAdded));
    assert_eq!(steps.last(), Some(&Step::OldKeysDropped));
    assert!(steps.contains(&Step::Resealed(501)), "{steps:?}");
    for (step, snapshot) in snapshots {
        let store = self::store(snapshot.path()).await;
        let sealer = self::sealer(snapshot.path());
        let (all, current) = readable(&store, &sealer).await;
        let (resealed, keys) = match step {
            Step::KeyAdded => (0, 2),
            Step::Resealed(resealed) => (usize::try_from(resealed).expect("few"), 2),
            Step::OldKeysDropped => (total, 1),
        };
        assert_eq!(
            (all, current, keys_in(snapshot.path())),
            (total, resealed, keys)
        );
        let finished = rotate(&sealer, &store, &mut |_| {}).await.expect("rotated");
        assert_eq!(finished.lost, 0);
        assert_eq!(readable(&store, &sealer).await, (total, total));
        assert_eq!(keys_in(snapshot.path()), 1);
        store.close().await;
    }

    // The old key is worth nothing any more, and the new one nothing for what a thief took before.
    let old = self::sealer(before.path());
    let column = SealedColumn::PlatformManifest;
    let found = store
        .sealed_otherwise(column, None, b"none begins so", 1)
        .await
        .expect("read");
    assert!(matches!(
        old.unseal(Purpose::Manifest, &found[0].sealed.0),
        Err(SealingError::UnknownKey(_))
    ));
    store.close().await;
}

#[tokio::test]
async fn what_no_key_unseals_is_counted_and_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let sealer = sealer(folder.path());
    fill(folder.path(), &sealer).await;
    let mut altered = sealer.seal(Purpose::Manifest, b"altered");
    *altered.last_mut().expect("not empty") ^= 1;
    let wrong_purpose = sealer.seal(Purpose::EncryptedPpid, b"elsewhere");
    let mut connection = connect(folder.path()).await;
    for (number, bad) in [(3, &altered), (600, &wrong_purpose)] {
        sqlx::query("UPDATE platform SET manifest = $2 WHERE id = $1")
            .bind(format!("{number:016x}"))
            .bind(bad)
            .execute(&mut connection)
            .await
            .expect("altered");
    }
    let rotated = rotate(&sealer, &store, &mut |_| {}).await.expect("rotated");
    assert_eq!(
        rotated,
        Rotated {
            resealed: (PLATFORMS + 3 - 2) as u64,
            lost: 2
        }
    );
    let left: Vec<u8> = sqlx::query_scalar("SELECT manifest FROM platform WHERE id = $1")
        .bind(format!("{:016x}", 3))
        .fetch_one(&mut connection)
        .await
        .expect("there");
    assert_eq!(left, altered);
    connection.close().await.expect("closed");
    store.close().await;
}

#[tokio::test]
async fn many_rotations_cut_short_leave_room_for_one_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let sealer = sealer(folder.path());
    fill(folder.path(), &sealer).await;
    for _ in 1..KEYS {
        sealer.add_key().expect("added");
    }
    let last = sealer.current_prefix();
    rotate(&sealer, &store, &mut |_| {}).await.expect("rotated");
    assert_eq!(keys_in(folder.path()), 1);
    assert_ne!(sealer.current_prefix(), last, "a new key all the same");
    assert_eq!(
        readable(&store, &self::sealer(folder.path())).await,
        (PLATFORMS + 3, PLATFORMS + 3)
    );
    store.close().await;
}

#[tokio::test]
async fn a_rotation_waits_for_who_is_writing_and_for_no_second_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let sealer = sealer(folder.path());
    fill(folder.path(), &sealer).await;
    // Sealed under the old key, and not committed yet.
    let writing = sealer.writing().await;
    let late = sealer.seal(Purpose::Manifest, &manifest(7));
    let mut steps = Vec::new();
    let mut at = |step| steps.push(step);
    let mut rotation = Box::pin(rotate(&sealer, &store, &mut at));
    let once = std::future::poll_fn(|context| Poll::Ready(rotation.as_mut().poll(context)));
    assert!(once.await.is_pending());
    assert!(matches!(
        rotate(&sealer, &store, &mut |_| {}).await,
        Err(SealingError::InProgress)
    ));
    let mut connection = connect(folder.path()).await;
    sqlx::query("UPDATE platform SET manifest = $2 WHERE id = $1")
        .bind(format!("{:016x}", 7))
        .bind(&late)
        .execute(&mut connection)
        .await
        .expect("written");
    connection.close().await.expect("closed");
    drop(writing);
    rotation.await.expect("rotated");
    assert_eq!(steps.first(), Some(&Step::KeyAdded));
    assert_eq!(
        readable(&store, &self::sealer(folder.path())).await,
        (PLATFORMS + 3, PLATFORMS + 3)
    );
    // What was read before the end can still be unsealed after it, in this process.
    assert!(!sealer.is_current(&late));
    assert_eq!(
        sealer.unseal(Purpose::Manifest, &late).expect("read"),
        manifest(7)
    );
    store.close().await;
}

#[tokio::test]
async fn the_identity_key_is_the_store_s_and_survives() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let first = store.identity_key([1; 32]).await.expect("a key");
    let again = store.identity_key([2; 32]).await.expect("a key");
    let keyed = |key: &IdentityKey| key.keyed(Purpose::Ppid, b"ppid");
    assert_eq!(keyed(&first), keyed(&again));
    assert_ne!(keyed(&first), keyed(&IdentityKey::new([2; 32])));
    let mut connection = connect(folder.path()).await;
    sqlx::query("UPDATE meta SET value = '00' WHERE name = 'identity'")
        .execute(&mut connection)
        .await
        .expect("altered");
    connection.close().await.expect("closed");
    assert!(store.identity_key([1; 32]).await.is_err());
    store.close().await;
}
