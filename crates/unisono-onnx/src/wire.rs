//! The protobuf wire format, read in place.
//!
//! A [`Message`] is an iterator over the fields of one message; every value is a number or a slice of the file. The one
//! idea: nothing is ever allocated or skipped on the word of the file, since a length is only believed once the bytes
//! that it claims are there. Unknown fields are passed over, as protobuf asks. Groups, which ONNX has never used, are refused.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>.

use crate::error::{OnnxError, OnnxErrorKind};

/// A slice of the file and where it begins, so that errors can name the byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub bytes: &'a [u8],
    pub offset: usize,
}

impl<'a> Span<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The slice as text.
    pub(crate) fn text(self) -> Result<&'a str, OnnxError> {
        std::str::from_utf8(self.bytes).map_err(|error| {
            OnnxError::new(OnnxErrorKind::InvalidUtf8, "the text is not valid UTF-8")
                .at_byte(self.offset.saturating_add(error.valid_up_to()))
                .help("the file is damaged, or its writer stored bytes where ONNX asks for text; export the model again")
        })
    }
}

/// One field's value, not yet interpreted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Span<'a>),
}

impl Value<'_> {
    fn wire_type(&self) -> &'static str {
        match self {
            Value::Varint(_) => "a variable-length integer",
            Value::Fixed64(_) => "eight fixed bytes",
            Value::Fixed32(_) => "four fixed bytes",
            Value::Bytes(_) => "a length and bytes",
        }
    }
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Where the field's tag stands in the file.
    pub offset: usize,
}

impl<'a> Field<'a> {
    fn unexpected(&self, wanted: &str) -> OnnxError {
        OnnxError::new(
            OnnxErrorKind::Malformed,
            format!(
                "field {} is stored as {} where {wanted} is expected",
                self.number,
                self.value.wire_type()
            ),
        )
        .at_byte(self.offset)
        .help(
            "this is not an ONNX model, or it is damaged; compare its checksum with the original's",
        )
    }

    /// A nested message, a string or bytes.
    pub(crate) fn span(&self) -> Result<Span<'a>, OnnxError> {
        match self.value {
            Value::Bytes(span) => Ok(span),
            _ => Err(self.unexpected("a length and bytes")),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, OnnxError> {
        self.span()?.text()
    }

    pub(crate) fn int64(&self) -> Result<i64, OnnxError> {
        match self.value {
            Value::Varint(value) => Ok(value as i64),
            _ => Err(self.unexpected("a variable-length integer")),
        }
    }

    /// Keeps the low 32 bits, as protobuf defines `int32` and enumerations.
    pub(crate) fn int32(&self) -> Result<i32, OnnxError> {
        Ok(self.int64()? as i32)
    }

    pub(crate) fn float(&self) -> Result<f32, OnnxError> {
        match self.value {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.unexpected("four fixed bytes")),
        }
    }

    /// Calls `each` for every integer of a repeated field, packed or not.
    pub(crate) fn each_varint(
        &self,
        mut each: impl FnMut(u64) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        match self.value {
            Value::Varint(value) => each(value),
            Value::Bytes(span) => {
                let mut packed = Message::new(span);
                while !packed.is_at_end() {
                    each(packed.varint()?)?;
                }
                Ok(())
            }
            _ => Err(self.unexpected("a variable-length integer")),
        }
    }

    /// Calls `each` for every four-byte value of a repeated field, packed or not.
    pub(crate) fn each_fixed32(
        &self,
        mut each: impl FnMut(u32) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        match self.value {
            Value::Fixed32(value) => each(value),
            Value::Bytes(span) => {
                let mut packed = Message::new(span);
                while !packed.is_at_end() {
                    each(u32::from_le_bytes(packed.array()?))?;
                }
                Ok(())
            }
            _ => Err(self.unexpected("four fixed bytes")),
        }
    }

    /// Calls `each` for every eight-byte value of a repeated field, packed or not.
    pub(crate) fn each_fixed64(
        &self,
        mut each: impl FnMut(u64) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        match self.value {
            Value::Fixed64(value) => each(value),
            Value::Bytes(span) => {
                let mut packed = Message::new(span);
                while !packed.is_at_end() {
                    each(u64::from_le_bytes(packed.array()?))?;
                }
                Ok(())
            }
            _ => Err(self.unexpected("eight fixed bytes")),
        }
    }
}

/// Reads the fields of one message in the order in which they are stored.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    rest: &'a [u8],
    /// Where `rest` begins in the file.
    offset: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn new(span: Span<'a>) -> Self {
        Self {
            rest: span.bytes,
            offset: span.offset,
        }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], OnnxError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(OnnxError::new(
                OnnxErrorKind::Truncated,
                format!("{count} bytes are announced, {} are left", self.rest.len()),
            )
            .at_byte(self.offset)
            .help("the file was cut off or damaged while it was copied; fetch it again and compare its checksum"));
        };
        self.rest = rest;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OnnxError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn varint(&mut self) -> Result<u64, OnnxError> {
        let start = self.offset;
        let mut value = 0u64;
        for (position, &byte) in self.rest.iter().enumerate().take(10) {
            let low = u64::from(byte & 0x7f);
            // The tenth byte holds bit 63 alone.
            if position == 9 && byte > 1 {
                break;
            }
            value |= low << (7 * position);
            if byte & 0x80 == 0 {
                self.take(position + 1)?;
                return Ok(value);
            }
        }
        if self.rest.len() < 10 {
            return Err(
                OnnxError::new(OnnxErrorKind::Truncated, "the bytes end inside an integer")
                    .at_byte(start)
                    .help("the file was cut off or damaged while it was copied; fetch it again and compare its checksum"),
            );
        }
        Err(OnnxError::new(
            OnnxErrorKind::Malformed,
            "an integer does not fit in 64 bits",
        )
        .at_byte(start)
        .help(
            "this is not an ONNX model, or it is damaged; compare its checksum with the original's",
        ))
    }

    /// The next field, or `None` at the end of the message.
    pub(crate) fn next_field(&mut self) -> Result<Option<Field<'a>>, OnnxError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let offset = self.offset;
        let malformed = |what: String| {
            OnnxError::new(OnnxErrorKind::Malformed, what)
                .at_byte(offset)
                .help("this is not an ONNX model, or it is damaged; compare its checksum with the original's")
        };
        let tag = self.varint()?;
        let tag = u32::try_from(tag).map_err(|_| malformed(format!("{tag} is no field tag")))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(malformed("field number 0 does not exist".into()));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let at = self.offset;
                let length = self.varint()?;
                // A length beyond the address space cannot be there either: the same error as any that is too long.
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let start = self.offset;
                let bytes = self.take(length).map_err(|error| error.at_byte(at))?;
                Value::Bytes(Span {
                    bytes,
                    offset: start,
                })
            }
            3 | 4 => {
                return Err(malformed(format!(
                    "field {number} is a group, which ONNX does not use"
                )));
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => {
                return Err(malformed(format!(
                    "field {number} has the unknown wire type {other}"
                )));
            }
        };
        Ok(Some(Field {
            number,
            value,
            offset,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<Field<'_>>, OnnxError> {
        Message::new(Span::new(bytes)).next_field()
    }

    fn kind(bytes: &[u8]) -> OnnxErrorKind {
        first(bytes).expect_err("must be refused").kind()
    }

    #[test]
    fn the_largest_integer_is_read_and_a_larger_one_refused() {
        let mut bytes = vec![0x08];
        bytes.extend([0xff; 9]);
        bytes.push(0x01);
        assert_eq!(first(&bytes).unwrap().unwrap().int64().unwrap(), -1);
        *bytes.last_mut().unwrap() = 0x02;
        assert_eq!(kind(&bytes), OnnxErrorKind::Malformed);
        *bytes.last_mut().unwrap() = 0x81;
        bytes.push(0x00);
        assert_eq!(kind(&bytes), OnnxErrorKind::Malformed);
    }

    #[test]
    fn a_length_is_believed_only_when_its_bytes_are_there() {
        assert_eq!(kind(&[0x0a, 0x05, 1, 2, 3]), OnnxErrorKind::Truncated);
        let mut absurd = vec![0x0a];
        absurd.extend([0xff; 9]);
        absurd.push(0x01);
        assert_eq!(kind(&absurd), OnnxErrorKind::Truncated);
    }

    #[test]
    fn groups_and_unknown_wire_types_are_refused() {
        assert_eq!(kind(&[0x0b]), OnnxErrorKind::Malformed);
        assert_eq!(kind(&[0x0c]), OnnxErrorKind::Malformed);
        assert_eq!(kind(&[0x0e]), OnnxErrorKind::Malformed);
        assert_eq!(kind(&[0x0f]), OnnxErrorKind::Malformed);
        assert_eq!(kind(&[0x00, 0x00]), OnnxErrorKind::Malformed);
    }

    #[test]
    fn repeated_numbers_are_read_packed_and_unpacked() {
        let mut seen = Vec::new();
        for bytes in [&[0x08u8, 0x96, 0x01][..], &[0x0a, 0x03, 0x96, 0x01, 0x07]] {
            let field = first(bytes).unwrap().unwrap();
            field
                .each_varint(|value| {
                    seen.push(value);
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(seen, [150, 150, 7]);
    }

    #[test]
    fn a_packed_list_whose_bytes_do_not_divide_is_refused() {
        let field = first(&[0x0a, 0x05, 0, 0, 0, 0, 0]).unwrap().unwrap();
        assert_eq!(
            field.each_fixed32(|_| Ok(())).unwrap_err().kind(),
            OnnxErrorKind::Truncated
        );
        assert_eq!(
            field.each_fixed64(|_| Ok(())).unwrap_err().kind(),
            OnnxErrorKind::Truncated
        );
    }

    #[test]
    fn offsets_in_errors_count_from_the_start_of_the_file() {
        // A nested message at byte 2 whose string announces too much.
        let outer = first(&[0x3a, 0x03, 0x0a, 0x09, 0x41]).unwrap().unwrap();
        let error = Message::new(outer.span().unwrap())
            .next_field()
            .unwrap_err();
        assert_eq!(error.byte_offset(), Some(3));
    }
}
