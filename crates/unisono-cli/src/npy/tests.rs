use super::*;
use unisono::{bf16, f16};

/// A file as numpy would write it, with this dictionary and data.
fn file(dictionary: &str, data: &[u8]) -> Vec<u8> {
    file_of_version(1, dictionary, data)
}

fn file_of_version(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY".to_vec();
    out.extend([version, 0]);
    match version {
        1 => out.extend((dictionary.len() as u16).to_le_bytes()),
        _ => out.extend((dictionary.len() as u32).to_le_bytes()),
    }
    out.extend(dictionary.as_bytes());
    out.extend(data);
    out
}

fn dictionary(descr: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
}

fn round_trip(tensor: &Tensor) -> Tensor {
    let mut bytes = Vec::new();
    write(&mut bytes, tensor).expect("a vector takes everything");
    let data = bytes.len() - tensor.bytes().len();
    if tensor.dtype() != DType::BF16 && tensor.dtype() != DType::String {
        assert_eq!(data % 64, 0, "the data is aligned");
    }
    parse(&bytes).expect("what we write we can read")
}

#[test]
fn what_is_written_reads_back_for_every_type() {
    let shape = [2, 3];
    let tensors = [
        Tensor::from_slice(&shape, &[1f32, -2.5, f32::MAX, 0.0, -0.0, f32::INFINITY]),
        Tensor::from_slice(&shape, &[1f64, -2.5, f64::MAX, 0.0, 3.0, 1e-300]),
        Tensor::from_slice(&shape, &[0.0, 1.5, 2.0, 3.0, 4.0, 5.0].map(f16::from_f32)),
        Tensor::from_slice(&shape, &[-128i8, 127, 0, 1, 2, 3]),
        Tensor::from_slice(&shape, &[i16::MIN, i16::MAX, 0, 1, 2, 3]),
        Tensor::from_slice(&shape, &[i32::MIN, i32::MAX, 0, 1, 2, 3]),
        Tensor::from_slice(&shape, &[i64::MIN, i64::MAX, 0, 1, 2, 3]),
        Tensor::from_slice(&shape, &[255u8, 0, 1, 2, 3, 4]),
        Tensor::from_slice(&shape, &[u16::MAX, 0, 1, 2, 3, 4]),
        Tensor::from_slice(&shape, &[u32::MAX, 0, 1, 2, 3, 4]),
        Tensor::from_slice(&shape, &[u64::MAX, 0, 1, 2, 3, 4]),
        Tensor::from_bools(&shape, &[true, false, true, true, false, false]),
    ];
    for tensor in tensors {
        let tensor = tensor.unwrap();
        let back = round_trip(&tensor);
        assert_eq!(back.dtype(), tensor.dtype());
        assert_eq!(back.shape(), tensor.shape());
        assert_eq!(back.bytes(), tensor.bytes(), "{}", tensor.dtype());
    }
}

#[test]
fn strings_and_bf16_read_back_as_the_same_values() {
    let words = ["", "Ω", "two words"].map(str::to_owned).to_vec();
    let strings = Tensor::from_strings(&[3], words.clone()).unwrap();
    assert_eq!(round_trip(&strings).strings().unwrap(), words);
    let values = [1.0f32, -3.5, 1e30];
    let halves = Tensor::from_slice(&[3], &values.map(bf16::from_f32)).unwrap();
    let expected: Vec<f32> = values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
    assert_eq!(round_trip(&halves).as_slice::<f32>().unwrap(), expected);
}

#[test]
fn scalars_vectors_and_empty_arrays_keep_their_shape() {
    for shape in [&[][..], &[1], &[5], &[2, 0, 3], &[1, 2, 3, 4, 5]] {
        let tensor = Tensor::zeros(DType::I16, shape).unwrap();
        assert_eq!(round_trip(&tensor).shape(), shape);
    }
}

#[test]
fn the_other_byte_order_is_converted() {
    let dictionary = dictionary(">i4", false, "(2,)");
    let tensor = parse(&file(&dictionary, &[0, 0, 1, 2, 255, 255, 255, 254])).unwrap();
    assert_eq!(tensor.as_slice::<i32>().unwrap(), [258, -2]);
    let dictionary = self::dictionary(">U2", false, "(1,)");
    let text = [0, 0, 0, b'h', 0, 0, 0, b'i'];
    assert_eq!(
        parse(&file(&dictionary, &text)).unwrap().strings().unwrap(),
        ["hi"]
    );
}

#[test]
fn fortran_order_is_converted() {
    // [[[0, 1], [2, 3], [4, 5]]] of shape [1, 3, 2], column by column.
    let data = [0u8, 2, 4, 1, 3, 5];
    let tensor = parse(&file(&dictionary("|u1", true, "(1, 3, 2)"), &data)).unwrap();
    assert_eq!(tensor.as_slice::<u8>().unwrap(), [0, 1, 2, 3, 4, 5]);
    let empty = parse(&file(&dictionary("|u1", true, "(0, 4)"), &[])).unwrap();
    assert_eq!(empty.shape(), [0, 4]);
}

#[test]
fn versions_two_and_three_and_odd_spacing_are_read() {
    let text = "{ \"shape\":(2 ,) ,'fortran_order' : False,'descr':'<i2'}   \n";
    for version in [2, 3] {
        let tensor = parse(&file_of_version(version, text, &[1, 0, 2, 0])).unwrap();
        assert_eq!(tensor.as_slice::<i16>().unwrap(), [1, 2]);
    }
}

#[test]
fn any_byte_but_zero_is_true() {
    let tensor = parse(&file(&dictionary("|b1", false, "(3,)"), &[0, 1, 7])).unwrap();
    assert_eq!(tensor.bytes(), [0, 1, 1]);
}

#[test]
fn hostile_headers_are_refused_with_their_reason() {
    let f4 = |shape: &str| file(&dictionary("<f4", false, shape), &[0; 16]);
    let of_type = |descr: &str| file(&dictionary(descr, false, "(4,)"), &[0; 16]);
    let mut claims = b"\x93NUMPY\x02\x00".to_vec();
    claims.extend(u32::MAX.to_le_bytes());
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("empty", vec![], "not an .npy file"),
        (
            "text",
            b"hello world, not an array".to_vec(),
            "not an .npy file",
        ),
        (
            "magic alone",
            b"\x93NUMPY".to_vec(),
            "ends within its header",
        ),
        (
            "no length",
            b"\x93NUMPY\x01\x00\x01".to_vec(),
            "ends within its header",
        ),
        ("long header", claims, "claims 4294967295 bytes"),
        (
            "future version",
            b"\x93NUMPY\x09\x00".to_vec(),
            "version 9.0",
        ),
        (
            "header cut",
            file("{'descr'", &[])[..14].to_vec(),
            "ends within its header",
        ),
        (
            "not utf-8",
            [&b"\x93NUMPY\x01\x00\x02\x00"[..], &[0xff, 0xfe]].concat(),
            "not text",
        ),
        ("no dictionary", file("42\n", &[]), "no '{'"),
        (
            "nothing in it",
            file("{}\n", &[]),
            "no descr, fortran_order or shape",
        ),
        (
            "no shape",
            file("{'descr': '<f4', 'fortran_order': False}", &[]),
            "no descr",
        ),
        (
            "twice",
            file("{'shape': (), 'shape': (1,)}", &[]),
            "occurs twice",
        ),
        ("other key", file("{'x': 1}", &[]), "a key other than"),
        ("open string", file("{'descr: 1}", &[]), "does not end"),
        ("code", file("{'descr': __import__('os')}", &[]), "no '\"'"),
        (
            "after it",
            file(
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4,)} x",
                &[0; 16],
            ),
            "after the dictionary",
        ),
        (
            "too short",
            f4("(5,)"),
            "takes 20 bytes but the file has 16",
        ),
        ("too long", f4("(3,)"), "takes 12 bytes but the file has 16"),
        (
            "overflow",
            f4("(4294967296, 4294967296, 4294967296)"),
            "overflows",
        ),
        ("byte overflow", f4("(9223372036854775807,)"), "overflows"),
        (
            "huge number",
            f4("(99999999999999999999999999,)"),
            "not a number",
        ),
        ("negative", f4("(-4,)"), "not a number"),
        ("not a tuple", f4("4"), "no '('"),
        ("open tuple", f4("(4"), "not a number"),
        ("two numbers", f4("(4 4)"), "no ')'"),
        (
            "many axes",
            f4(&format!("({})", "1,".repeat(65))),
            "more than 64 axes",
        ),
        ("complex", of_type("<c8"), "'<c8' is not supported"),
        ("long double", of_type("<f16"), "'<f16' is not supported"),
        ("object", of_type("|O"), "'|O' is not supported"),
        ("bytes", of_type("|S4"), "'|S4' is not supported"),
        ("dates", of_type("<M8[ns]"), "is not supported"),
        (
            "wide string",
            of_type("<U18446744073709551615"),
            "is not supported",
        ),
        ("no type", of_type(""), "is not supported"),
        (
            "structure",
            file(
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}",
                &[],
            ),
            "structures",
        ),
        (
            "surrogate",
            file(&dictionary("<U1", false, "(1,)"), &0xd800u32.to_le_bytes()),
            "no Unicode character",
        ),
        ("archive", b"PK\x03\x04rest".to_vec(), "not an .npy file"),
    ];
    let mut wrong = Vec::new();
    for (case, bytes, expected) in table {
        match parse(bytes) {
            Ok(tensor) => wrong.push(format!("{case}: accepted as {tensor:?}")),
            Err(error) if !error.what.contains(expected) => {
                wrong.push(format!(
                    "{case}: {:?} does not say {expected:?}",
                    error.what
                ));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_prefix_and_no_flipped_byte_of_a_good_file_panics() {
    let mut good = Vec::new();
    let tensor = Tensor::from_slice(&[2, 2], &[1f32, 2.0, 3.0, 4.0]).unwrap();
    write(&mut good, &tensor).unwrap();
    for end in 0..good.len() {
        assert!(
            parse(&good[..end]).is_err(),
            "a prefix of {end} bytes was accepted"
        );
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let _ = parse(&bad);
        }
    }
}
