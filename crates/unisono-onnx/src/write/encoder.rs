//! The protobuf wire format, written.

/// Appends fields to a message.
///
/// ```
/// use unisono_onnx::write::Encoder;
/// let mut message = Encoder::new();
/// message.varint(1, 150);
/// assert_eq!(message.into_bytes(), [0x08, 0x96, 0x01]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.raw_varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    /// An integer field; negative numbers as their two's complement.
    pub fn varint(&mut self, number: u32, value: i64) {
        self.tag(number, 0);
        self.raw_varint(value as u64);
    }

    /// A field of four fixed bytes.
    pub fn float(&mut self, number: u32, value: f32) {
        self.tag(number, 5);
        self.bytes.extend(value.to_le_bytes());
    }

    /// A field with a length: bytes, text or a message.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        self.raw_varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A text field.
    pub fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    /// A text field that is left out if it is empty.
    pub fn text_if_any(&mut self, number: u32, value: &str) {
        if !value.is_empty() {
            self.text(number, value);
        }
    }

    /// A nested message.
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Encoder)) {
        let mut inner = Encoder::new();
        write(&mut inner);
        self.bytes(number, &inner.bytes);
    }

    /// A repeated integer field in packed form; left out if there are none.
    pub fn packed_varints(&mut self, number: u32, values: impl IntoIterator<Item = i64>) {
        let mut inner = Encoder::new();
        for value in values {
            inner.raw_varint(value as u64);
        }
        if !inner.bytes.is_empty() {
            self.bytes(number, &inner.bytes);
        }
    }

    /// A repeated field of fixed-size numbers in packed form, as their bytes; left out if there are none.
    pub fn packed_fixed<const N: usize>(
        &mut self,
        number: u32,
        values: impl IntoIterator<Item = [u8; N]>,
    ) {
        let bytes: Vec<u8> = values.into_iter().flatten().collect();
        if !bytes.is_empty() {
            self.bytes(number, &bytes);
        }
    }
}
