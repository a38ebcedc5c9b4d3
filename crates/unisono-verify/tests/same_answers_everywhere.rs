//! The digests that every machine must see, whatever its instructions.
//!
//! They pin what `verify` compares two machines by: weights, requests, the arithmetic and the digest itself. A machine of
//! another kind runs this test with the same numbers (`cargo xtask neon --package unisono-verify --filter digest`). If a bit of
//! the arithmetic changes on purpose, its version is raised and these numbers are written anew.

use unisono::Isa;
use unisono::reference::arith::ARITHMETIC_VERSION;
use unisono_verify::Options;
use unisono_verify::case::{Case, Machine};
use unisono_verify::requests::{RowId, RowKind};
use unisono_verify::seed::SeedModel;

/// Digests of the requests for an ordinary row, two at once, a row of zeros and a poisoned one, and of their answers.
const DIGESTS: [(SeedModel, &str, &str); 3] = [
    (
        SeedModel::Transformer,
        "61d1b47e3a44bf99",
        "f8457a48b7b9ce16",
    ),
    (SeedModel::Mlp, "66d1f139114a5732", "dd2f20cb5571697b"),
    (SeedModel::Conv1d, "6a342dee4f3dd622", "798e237973954981"),
];

#[test]
fn the_digest_of_the_seeds_answers_is_the_same_everywhere() {
    assert_eq!(ARITHMETIC_VERSION, 1, "write the digests anew");
    let machine = Machine {
        threads: 1,
        isas: Isa::available().collect(),
    };
    let mut found = Vec::new();
    for (seed, _, _) in DIGESTS {
        let mut case = Case::of_seed(seed, &Options::default(), &machine).unwrap();
        let of = |kind| RowId { kind, number: 0 };
        let ordinary = RowId::ordinary;
        for rows in [
            &[ordinary(0)][..],
            &[ordinary(1), ordinary(2)],
            &[of(RowKind::Zeros)],
            &[of(RowKind::Poisoned)],
        ] {
            case.alone_for_the_record(rows).unwrap();
        }
        let digests = (case.record.requests_digest, case.record.answers_digest);
        found.push((seed, digests.0.unwrap(), digests.1.unwrap()));
    }
    let expected = DIGESTS.map(|(seed, r, a)| (seed, r.to_owned(), a.to_owned()));
    assert_eq!(found, expected);
}
