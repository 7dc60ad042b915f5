//! TCB_VERSION: layouts, the two orders of hex, the key server's parameters, and comparison.

use proptest::prelude::*;
use thim_verify::Error;
use thim_verify::amd::{
    Product, ProductFacts, Products, SnpTcb, SplValues, TcbComponent, TcbVersion,
};

fn products() -> Products {
    Products::builtin()
}

fn reason<T>(result: Result<T, Error>) -> Option<&'static str> {
    result.err().map(|error| error.reason())
}

/// The parameter that an error is about.
fn blamed<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Format { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_seen_in_the_field() {
    let products = products();
    let (milan, turin) = (
        products.facts(Product::Milan),
        products.facts(Product::Turin),
    );
    let tcb = SnpTcb {
        fmc: None,
        boot_loader: 3,
        tee: 0,
        snp: 8,
        microcode: 115,
    };
    assert_eq!(SnpTcb::from_hex_le(milan, "0300000000000873"), Ok(tcb));
    assert_eq!(SnpTcb::from_hex_be(milan, "7308000000000003"), Ok(tcb));
    assert_eq!(tcb.to_tcbm_hex(milan), Ok("7308000000000003".to_owned()));
    assert_eq!(tcb.to_query(), "blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115");
    // The other order is another TCB, or none: bytes 2 to 5 are reserved here.
    assert_ne!(SnpTcb::from_hex_be(milan, "0300000000000873"), Ok(tcb));
    let tcb = SnpTcb {
        fmc: Some(1),
        boot_loader: 1,
        tee: 1,
        snp: 4,
        microcode: 81,
    };
    assert_eq!(SnpTcb::from_hex_le(turin, "0101010400000051"), Ok(tcb));
    assert_eq!(tcb.to_tcbm_hex(turin), Ok("5100000004010101".to_owned()));
    assert_eq!(
        tcb.to_query(),
        "fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81"
    );
    // Without its product a TCB is ambiguous; with the wrong one it is refused or another.
    assert_eq!(
        reason(SnpTcb::from_hex_le(milan, "0101010400000051")),
        Some("format")
    );
    assert_eq!(reason(tcb.to_u64(milan)), Some("format"));
    assert_eq!(
        reason(SnpTcb { fmc: None, ..tcb }.to_u64(turin)),
        Some("format")
    );
    // Unpadded, as a URL has it.
    assert_eq!(TcbVersion::from_hex_be("3"), Ok(TcbVersion(3)));
    assert_eq!(
        TcbVersion::from_hex_be("DB18000000000004").map(TcbVersion::to_memory_hex),
        Ok("04000000000018db".to_owned())
    );
}

#[test]
fn near_misses_of_hex() {
    for text in ["", "00000000000000003", "+3", "0x3", "3 ", "g", "٣"] {
        assert_eq!(
            reason(TcbVersion::from_hex_be(text)),
            Some("format"),
            "{text}"
        );
    }
    for text in [
        "",
        "03",
        "030000000000087",
        "030000000000087g",
        "+300000000000873",
        "03000000000008731",
    ] {
        assert_eq!(
            reason(TcbVersion::from_hex_le(text)),
            Some("format"),
            "{text}"
        );
    }
}

#[test]
fn limits_by_component() {
    let products = products();
    for facts in products.all() {
        let mut values = SplValues {
            fmc: facts.has(TcbComponent::Fmc).then_some(127),
            boot_loader: Some(127),
            tee: Some(127),
            snp: Some(127),
            microcode: Some(255),
        };
        let highest = SnpTcb::from_spl(facts, &values).expect("the highest");
        assert_eq!((highest.snp, highest.microcode), (127, 255));
        values.microcode = Some(256);
        assert_eq!(blamed(SnpTcb::from_spl(facts, &values)), "ucodeSPL");
        values.microcode = Some(255 + 256);
        assert_eq!(blamed(SnpTcb::from_spl(facts, &values)), "ucodeSPL");
        values.microcode = Some(0);
        values.snp = Some(128);
        assert_eq!(blamed(SnpTcb::from_spl(facts, &values)), "snpSPL");
        // The same limits for numbers: byte 0 is the boot loader or FMC.
        assert!(SnpTcb::from_u64(facts, 0x7f).is_ok());
        assert!(SnpTcb::from_u64(facts, 0x80).is_err());
    }
}

#[test]
fn parameters_in_every_spelling_and_none_too_many() {
    let products = products();
    let (milan, turin) = (
        products.facts(Product::Milan),
        products.facts(Product::Turin),
    );
    let read = |facts: &ProductFacts, query: &str| {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        SnpTcb::from_parameters(
            facts,
            pairs.map(|pair| pair.split_once('=').expect("a pair")),
        )
    };
    let canonical = read(milan, "blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115").expect("go-sev-guest's");
    for query in [
        "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
        "ucodeSPL=115&snpSPL=8&teeSPL=0&blSPL=3",
        "blSPL=0003&snpSPL=8&teeSPL=0&ucodeSPL=0115",
    ] {
        assert_eq!(read(milan, query), Ok(canonical), "{query}");
    }
    assert_eq!(
        read(turin, "blSPL=1&fmcSPL=1&snpSPL=4&teeSPL=1&ucodeSPL=81").map(|tcb| tcb.fmc),
        Ok(Some(1))
    );
    for (query, parameter) in [
        ("", "blSPL"),
        ("teeSPL=0&snpSPL=8&ucodeSPL=115", "blSPL"),
        ("blSPL=3&snpSPL=8&ucodeSPL=115", "teeSPL"),
        ("blSPL=3&teeSPL=0&ucodeSPL=115", "snpSPL"),
        ("blSPL=3&teeSPL=0&snpSPL=8", "ucodeSPL"),
        ("fmcSPL=0&blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115", "fmcSPL"),
        ("blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115&blSPL=3", "blSPL"),
        ("blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115&spl4=0", "spl4"),
        ("blspl=3&teeSPL=0&snpSPL=8&ucodeSPL=115", "blspl"),
        ("blSPL=128&teeSPL=0&snpSPL=8&ucodeSPL=115", "blSPL"),
        ("blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=256", "ucodeSPL"),
        ("blSPL=3&teeSPL=&snpSPL=8&ucodeSPL=115", "teeSPL"),
        ("blSPL=3&teeSPL=-1&snpSPL=8&ucodeSPL=115", "teeSPL"),
        ("blSPL=3&teeSPL=+1&snpSPL=8&ucodeSPL=115", "teeSPL"),
        ("blSPL=3&teeSPL=0x1&snpSPL=8&ucodeSPL=115", "teeSPL"),
        ("blSPL=3&teeSPL=٣&snpSPL=8&ucodeSPL=115", "teeSPL"),
        (
            "blSPL=3&teeSPL=00000000000000000&snpSPL=8&ucodeSPL=115",
            "teeSPL",
        ),
        (
            "blSPL=3&teeSPL=18446744073709551616&snpSPL=8&ucodeSPL=115",
            "teeSPL",
        ),
    ] {
        assert_eq!(blamed(read(milan, query)), parameter, "{query}");
    }
    assert_eq!(
        blamed(read(turin, "blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81")),
        "fmcSPL"
    );
}

#[test]
fn comparison_is_by_component() {
    let tcb = |boot_loader, tee, snp, microcode| SnpTcb {
        fmc: None,
        boot_loader,
        tee,
        snp,
        microcode,
    };
    let minimum = tcb(3, 0, 8, 115);
    assert!(minimum.covers(&minimum) && tcb(4, 1, 9, 116).covers(&minimum));
    // As a number this is larger, as a TCB it is short of two.
    let other = tcb(2, 0, 7, 255);
    assert_eq!(
        other.short_of(&minimum),
        [TcbComponent::BootLoader, TcbComponent::Snp]
    );
    assert!(!other.covers(&minimum) && !minimum.covers(&other));
    let turin = SnpTcb {
        fmc: Some(0),
        ..minimum
    };
    assert_eq!(turin.short_of(&minimum), [TcbComponent::Fmc]);
    assert_eq!(minimum.short_of(&turin), [TcbComponent::Fmc]);
    let newer = SnpTcb {
        fmc: Some(1),
        ..turin
    };
    assert!(newer.covers(&turin) && !turin.covers(&newer));
}

fn tcbs() -> impl Strategy<Value = (Product, SnpTcb)> {
    let product = prop::sample::select(Product::ALL.to_vec());
    let levels = (0..128_u8, 0..128_u8, 0..128_u8, 0..128_u8, any::<u8>());
    (product, levels).prop_map(|(product, (fmc, boot_loader, tee, snp, microcode))| {
        let fmc = (product >= Product::Turin).then_some(fmc);
        let tcb = SnpTcb {
            fmc,
            boot_loader,
            tee,
            snp,
            microcode,
        };
        (product, tcb)
    })
}

proptest! {
    /// Every way out is a way back in, and the layout is the specification's.
    #[test]
    fn layouts((product, tcb) in tcbs()) {
        let products = products();
        let facts = products.facts(product);
        let number = tcb.to_u64(facts)?;
        let expected = match tcb.fmc {
            None => [tcb.boot_loader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode],
            Some(fmc) => [fmc, tcb.boot_loader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode],
        };
        prop_assert_eq!(number.to_le_bytes(), expected);
        let version = TcbVersion::from_report_bytes(expected);
        prop_assert_eq!(version, TcbVersion(number));
        prop_assert_eq!(version.decode(facts), Ok(tcb));
        let tcbm = tcb.to_tcbm_hex(facts)?;
        prop_assert_eq!(tcbm.len(), 16);
        prop_assert_eq!(SnpTcb::from_hex_be(facts, &tcbm), Ok(tcb));
        let unpadded = format!("{number:x}");
        prop_assert_eq!(SnpTcb::from_hex_be(facts, &unpadded), Ok(tcb));
        prop_assert_eq!(SnpTcb::from_hex_le(facts, &version.to_memory_hex()), Ok(tcb));
        let query = tcb.to_query();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        prop_assert_eq!(SnpTcb::from_parameters(facts, pairs), Ok(tcb));
    }

    /// A number is a TCB exactly when its reserved bytes are zero and its levels within their limits.
    #[test]
    fn numbers(number in any::<u64>(), mask in any::<u64>(), product in prop::sample::select(Product::ALL.to_vec())) {
        let products = products();
        let facts = products.facts(product);
        let number = number & mask;
        let fits = (0_u8..).zip(number.to_le_bytes()).all(|(at, byte)| {
            let field = facts.tcb_fields().iter().find(|field| field.byte == at);
            byte <= field.map_or(0, |field| field.max)
        });
        match SnpTcb::from_u64(facts, number) {
            Ok(tcb) => {
                prop_assert!(fits);
                prop_assert_eq!(tcb.to_u64(facts), Ok(number));
            }
            Err(error) => prop_assert!(!fits, "{error}"),
        }
    }

    /// A partial order: reflexive, and two that cover each other are equal.
    #[test]
    fn order((_, a) in tcbs(), (_, b) in tcbs()) {
        prop_assert!(a.covers(&a));
        prop_assert_eq!(a.covers(&b) && b.covers(&a), a == b);
        let levels: Vec<TcbComponent> = a.short_of(&b);
        for component in TcbComponent::ALL {
            let short = match (a.component(component), b.component(component)) {
                (Some(have), Some(need)) => have < need,
                (have, need) => have != need,
            };
            prop_assert_eq!(levels.contains(&component), short);
        }
    }
}
