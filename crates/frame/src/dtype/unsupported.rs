//! What to do about a pixel type that is not one of the eight.
//!
//! The remedy depends on what the text names: a type of numpy that this program does not read (then the frame must be
//! converted), the right type in the wrong byte order, or no type at all.

use std::borrow::Cow;

/// For a text that numpy does not know either.
pub(super) const NAME_IT: &str = "name the type as numpy does";

/// The kinds of numpy's types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
    Complex,
    Bool,
}

/// What to do about `text`, which names none of the eight types. The sentence follows "pixel type '…': ".
pub(crate) fn remedy(text: &str) -> Cow<'static, str> {
    let text = text.trim();
    if text.starts_with(['[', '(', '{']) {
        return "send plain pixels, not a structured type".into();
    }
    if let Some(name) = text.strip_prefix(['>', '!']) {
        return match described(name).and_then(|(kind, bytes)| little_endian(kind, bytes)) {
            Some(name) => format!(
                "these pixels are big-endian: send them little-endian, as '{name}', \
                 with frame.astype(frame.dtype.newbyteorder('<'))"
            )
            .into(),
            None => converted(described(name)),
        };
    }
    if let Some(name) = text.strip_prefix(['<', '=', '|']) {
        if name.starts_with(['O', 'S', 'U', 'V', 'M', 'm']) {
            return "the array holds no numbers: convert it with frame.astype('float32')".into();
        }
        return match described(name).and_then(|(kind, bytes)| little_endian(kind, bytes)) {
            // '=' is the byte order of the machine that wrote it, and '|' is none.
            Some(name) => format!("name the type '{name}'").into(),
            None => converted(described(name)),
        };
    }
    // Without a byte order the number counts bits ("f16"), unless no type has so few: "f4" counts bytes.
    let meant = named(text).or_else(|| described(text));
    match meant.and_then(|(kind, bytes)| little_endian(kind, bytes)) {
        Some(name) => format!("name the type '{name}'").into(),
        None => converted(meant),
    }
}

/// What to convert a type to that is read in no byte order.
fn converted(kind: Option<(Kind, usize)>) -> Cow<'static, str> {
    match kind {
        Some((Kind::Signed, 8)) => {
            "64-bit integers are not supported: convert them with frame.astype('int32')".into()
        }
        Some((Kind::Unsigned, 8)) => {
            "64-bit integers are not supported: convert them with frame.astype('uint32')".into()
        }
        Some((Kind::Float, 2)) => {
            "half precision is not supported: convert it with frame.astype('float32')".into()
        }
        Some((Kind::Float, 10 | 12 | 16)) => {
            "extended precision is not supported: convert it with frame.astype('float64')".into()
        }
        Some((Kind::Complex, _)) => {
            "send intensities, not complex numbers: (abs(frame) ** 2).astype('float32')".into()
        }
        Some((Kind::Bool, _)) => {
            "truth values are not supported: convert them with frame.astype('uint8')".into()
        }
        Some(_) | None => NAME_IT.into(),
    }
}

/// Kind and bytes of a type as numpy's array interface describes it, without its byte order: `u2`.
fn described(text: &str) -> Option<(Kind, usize)> {
    let kind = match text.chars().next()? {
        'u' => Kind::Unsigned,
        'i' => Kind::Signed,
        'f' => Kind::Float,
        'c' => Kind::Complex,
        'b' | '?' => Kind::Bool,
        _ => return None,
    };
    match text.get(1..)? {
        "" if text == "?" => Some((kind, 1)),
        bytes => Some((kind, bytes.parse().ok()?)),
    }
}

/// Kind and bytes of a type by its name: `uint64`, or `u64`, or a name without a size.
fn named(text: &str) -> Option<(Kind, usize)> {
    let name = text.to_ascii_lowercase();
    let name = name.trim_end_matches('_');
    Some(match name {
        "bool" | "boolean" => (Kind::Bool, 1),
        "half" => (Kind::Float, 2),
        "longdouble" => (Kind::Float, 16),
        "complex" => (Kind::Complex, 16),
        "csingle" => (Kind::Complex, 8),
        "cdouble" => (Kind::Complex, 16),
        "long" | "longlong" => (Kind::Signed, 8),
        "ulong" | "ulonglong" => (Kind::Unsigned, 8),
        _ => {
            let digits = name.find(|c: char| c.is_ascii_digit())?;
            let (word, bits) = name.split_at_checked(digits)?;
            let kind = match word {
                "uint" | "u" => Kind::Unsigned,
                "int" | "i" => Kind::Signed,
                "float" | "f" => Kind::Float,
                "complex" | "c" => Kind::Complex,
                _ => return None,
            };
            let bits: usize = bits
                .parse()
                .ok()
                .filter(|bits| *bits >= 16 && bits % 8 == 0)?;
            (kind, bits / 8)
        }
    })
}

/// The supported type of this kind and size, by its name.
fn little_endian(kind: Kind, bytes: usize) -> Option<&'static str> {
    Some(match (kind, bytes) {
        (Kind::Unsigned, 1) => "uint8",
        (Kind::Signed, 1) => "int8",
        (Kind::Unsigned, 2) => "uint16",
        (Kind::Signed, 2) => "int16",
        (Kind::Unsigned, 4) => "uint32",
        (Kind::Signed, 4) => "int32",
        (Kind::Float, 4) => "float32",
        (Kind::Float, 8) => "float64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_for_a_pixel_type_fits_what_was_given() {
        for (given, words) in [
            (">u2", &["big-endian", "little-endian", "'uint16'"][..]),
            (">f4", &["big-endian", "'float32'"]),
            (">f8", &["big-endian", "'float64'"]),
            ("!i4", &["big-endian", "'int32'"]),
            ("=u2", &["'uint16'"]),
            ("|i2", &["'int16'"]),
            ("u2", &["'uint16'"]),
            ("f4", &["'float32'"]),
            ("uint64", &["64-bit", "astype('uint32')"]),
            ("int64", &["64-bit", "astype('int32')"]),
            ("<i8", &["64-bit", "astype('int32')"]),
            (">u8", &["64-bit", "astype('uint32')"]),
            ("UInt64", &["64-bit", "astype('uint32')"]),
            ("i64", &["64-bit", "astype('int32')"]),
            ("complex64", &["complex", "abs(frame)"]),
            (">c16", &["complex", "abs(frame)"]),
            ("complex", &["complex", "abs(frame)"]),
            ("bool", &["truth values", "astype('uint8')"]),
            ("bool_", &["truth values", "astype('uint8')"]),
            ("|b1", &["truth values", "astype('uint8')"]),
            ("float16", &["half precision", "astype('float32')"]),
            ("<f2", &["half precision", "astype('float32')"]),
            ("f16", &["half precision", "astype('float32')"]),
            ("half", &["half precision", "astype('float32')"]),
            ("float128", &["extended", "astype('float64')"]),
            ("<f16", &["extended", "astype('float64')"]),
            ("[('a', '<i2')]", &["plain pixels"]),
            ("pixels", &["as numpy does"]),
            ("int17", &["as numpy does"]),
            ("|O", &["no numbers"]),
            ("<U3", &["no numbers"]),
            ("", &["as numpy does"]),
        ] {
            let remedy = remedy(given);
            for word in words {
                assert!(remedy.contains(word), "{given}: {remedy}");
            }
        }
    }
}
