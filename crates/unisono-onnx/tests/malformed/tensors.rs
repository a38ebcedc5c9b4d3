//! Tensors whose description and data do not fit together.

use crate::table::{Table, around, weight};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Data, Encoder};

/// Evidence: hostile-files
#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let raw = |count: usize| Data::Raw(vec![0; count]);
    let mut table = Table::default();
    table.graph(
        "raw data too short",
        weight(1, &[4], raw(12)),
        Kind::InvalidTensor,
        "needs 16 bytes, raw_data has 12",
    );
    table.graph(
        "raw data too long",
        weight(1, &[4], raw(20)),
        Kind::InvalidTensor,
        "initializer[0] \"w\"",
    );
    table.graph(
        "no data",
        weight(1, &[4], Data::None),
        Kind::InvalidTensor,
        "has no data",
    );
    table.graph(
        "negative dimension",
        weight(1, &[-4], raw(16)),
        Kind::InvalidTensor,
        "impossible length -4",
    );
    table.graph(
        "dimension of 2^62",
        weight(1, &[1 << 62], raw(16)),
        Kind::InvalidTensor,
        "more than memory can hold",
    );
    table.graph(
        "product that overflows",
        weight(1, &[1 << 31, 1 << 31, 1 << 31], raw(16)),
        Kind::InvalidTensor,
        "more than memory can hold",
    );
    table.graph(
        "lengths that overflow beside a zero",
        weight(1, &[1 << 40, 1 << 40, 0], Data::None),
        Kind::InvalidTensor,
        "more than memory can hold",
    );
    table.graph(
        "8 GiB claimed by raw data",
        weight(1, &[2 << 30], raw(16)),
        Kind::InvalidTensor,
        "raw_data has 16",
    );
    table.graph(
        "8 GiB claimed by a typed list",
        weight(1, &[2 << 30], Data::Floats(vec![0.0; 4])),
        Kind::InvalidTensor,
        "the whole tensor has",
    );
    table.graph(
        "2^38 elements claimed without data",
        weight(1, &[(1 << 38) + 1], Data::None),
        Kind::LimitExceeded,
        "LoadLimits::elements",
    );
    table.graph(
        "floats in int64_data",
        weight(1, &[4], Data::Int64s(vec![1, 2, 3, 4])),
        Kind::InvalidTensor,
        "must be stored in float_data",
    );
    table.graph(
        "integers in float_data",
        weight(7, &[1], Data::Floats(vec![1.0])),
        Kind::InvalidTensor,
        "must be stored in int64_data",
    );
    table.graph(
        "typed list too short",
        weight(1, &[4], Data::Floats(vec![1.0; 3])),
        Kind::InvalidTensor,
        "needs 4 elements, float_data has 3",
    );
    table.graph(
        "typed list too long",
        weight(1, &[4], Data::Floats(vec![1.0; 5])),
        Kind::InvalidTensor,
        "needs 4 elements, float_data has 5",
    );
    table.graph(
        "byte out of range",
        weight(2, &[1], Data::Int32s(vec![256])),
        Kind::InvalidTensor,
        "the value 256 does not fit in u8",
    );
    table.graph(
        "half out of range",
        weight(10, &[1], Data::Int32s(vec![-1])),
        Kind::InvalidTensor,
        "does not fit in f16",
    );
    table.graph(
        "boolean out of range",
        weight(9, &[1], Data::Int32s(vec![2])),
        Kind::InvalidTensor,
        "fit in bool",
    );
    table.graph(
        "u32 out of range",
        weight(12, &[1], Data::Uint64s(vec![1 << 32])),
        Kind::InvalidTensor,
        "does not fit in u32",
    );
    table.graph(
        "no data type",
        weight(0, &[4], raw(16)),
        Kind::UnsupportedType,
        "data type UNDEFINED",
    );
    table.graph(
        "unknown data type",
        weight(99, &[4], raw(16)),
        Kind::UnsupportedType,
        "data type 99",
    );
    table.graph(
        "float8",
        weight(17, &[4], raw(4)),
        Kind::UnsupportedType,
        "FLOAT8E4M3FN",
    );
    table.graph(
        "int4",
        weight(22, &[4], raw(2)),
        Kind::UnsupportedType,
        "INT4",
    );
    table.graph(
        "complex",
        weight(14, &[4], raw(32)),
        Kind::UnsupportedType,
        "COMPLEX64",
    );
    table.graph(
        "strings as raw data",
        weight(8, &[1], raw(1)),
        Kind::InvalidTensor,
        "only in string_data",
    );
    table.graph(
        "string that is not UTF-8",
        weight(8, &[1], Data::Strings(vec![vec![0xc3, 0x28]])),
        Kind::InvalidUtf8,
        "string_data",
    );
    table.graph(
        "too few strings",
        weight(8, &[2], Data::Strings(vec![b"a".to_vec()])),
        Kind::InvalidTensor,
        "needs 2 elements, string_data has 1",
    );
    table.graph(
        "17 dimensions",
        weight(1, &[1; 17], raw(4)),
        Kind::LimitExceeded,
        "LoadLimits::rank",
    );

    let mut tensor = Encoder::new();
    tensor.packed_varints(1, [1]);
    tensor.varint(2, 1);
    tensor.text(8, "w");
    tensor.bytes(9, &[0; 4]);
    tensor.packed_fixed(4, [[0u8; 4]]);
    let mut graph = Encoder::new();
    graph.bytes(5, &tensor.into_bytes());
    table.bytes(
        "raw data and a typed list",
        around(&graph.into_bytes()),
        Kind::InvalidTensor,
        "in raw_data and in float_data",
    );
    let mut graph = Encoder::new();
    graph.message(5, |out| {
        out.text(8, "w");
        out.message(3, |out| out.varint(1, 0));
    });
    table.bytes(
        "segments",
        around(&graph.into_bytes()),
        Kind::UnsupportedType,
        "stored in segments",
    );
    let mut graph = Encoder::new();
    graph.message(5, |out| out.varint(14, 7));
    table.bytes(
        "unknown data location",
        around(&graph.into_bytes()),
        Kind::Malformed,
        "no data location",
    );
    let mut graph = Encoder::new();
    graph.message(5, |out| out.bytes(4, &[0; 5]));
    table.bytes(
        "typed list cut inside an element",
        {
            let mut graph = Encoder::new();
            graph.message(5, |out| {
                out.packed_varints(1, [1]);
                out.varint(2, 1);
                out.text(8, "w");
                out.bytes(4, &[0; 5]);
            });
            around(&graph.into_bytes())
        },
        Kind::Truncated,
        "float_data",
    );
    table.check();
}
