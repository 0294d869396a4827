//! The lines of the protocol. Pure; a line that is not understood is refused with OpenSSH's words.

/// What a sender says next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// Of the last change and the last access, for what comes next.
    Times {
        changed: u64,
        accessed: u64,
    },
    File {
        mode: u32,
        size: u64,
        name: &'a [u8],
    },
    Directory {
        mode: u32,
        name: &'a [u8],
    },
    EndOfDirectory,
    /// The sender could not read something.
    Warning,
    /// The sender gives up.
    Fatal,
}

/// Why a line is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused<'a> {
    Protocol(&'static str),
    /// The name would lead elsewhere.
    Name(&'a [u8]),
}

impl Refused<'_> {
    pub(super) fn message(&self) -> Vec<u8> {
        match self {
            Self::Protocol(why) => format!("protocol error: {why}").into_bytes(),
            Self::Name(name) => [b"error: unexpected filename: ", *name].concat(),
        }
    }
}

impl<'a> Record<'a> {
    /// Reads a line without its newline.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Refused<'a>> {
        let (kind, rest) = line.split_first().ok_or(Refused::Protocol("unexpected <newline>"))?;
        match kind {
            1 => Ok(Self::Warning),
            2 => Ok(Self::Fatal),
            b'E' => Ok(Self::EndOfDirectory),
            b'T' => times(rest).ok_or(Refused::Protocol("times not understood")),
            b'C' => {
                let (mode, size, name) = entry(rest)?;
                Ok(Self::File { mode, size, name })
            }
            b'D' => {
                let (mode, _, name) = entry(rest)?;
                Ok(Self::Directory { mode, name })
            }
            _ => Err(Refused::Protocol("expected control record")),
        }
    }
}

/// Digits of base 8 or 10, at least one, that fit.
fn number(digits: &[u8], base: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    // A sign would be accepted otherwise.
    text.bytes().next().filter(u8::is_ascii_digit)?;
    u64::from_str_radix(text, base).ok()
}

/// `1700000000 0 1700000000 0`, the zeros being microseconds.
fn times(rest: &[u8]) -> Option<Record<'_>> {
    let mut fields = rest.split(|byte| *byte == b' ');
    let mut field = || number(fields.next()?, 10);
    let (changed, _, accessed, _) = (field()?, field()?, field()?, field()?);
    fields.next().is_none().then_some(Record::Times { changed, accessed })
}

/// `0644 1234 name`.
fn entry(rest: &[u8]) -> Result<(u32, u64, &[u8]), Refused<'_>> {
    let mut fields = rest.splitn(3, |byte| *byte == b' ');
    let mode = fields.next().filter(|digits| digits.len() == 4).and_then(|digits| number(digits, 8));
    let mode = mode.and_then(|mode| u32::try_from(mode).ok()).ok_or(Refused::Protocol("bad mode"))?;
    let size = fields.next().and_then(|digits| number(digits, 10));
    let size =
        size.filter(|size| i64::try_from(*size).is_ok()).ok_or(Refused::Protocol("size out of range"))?;
    let name = fields.next().ok_or(Refused::Protocol("size not delimited"))?;
    let leads_elsewhere = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/');
    if leads_elsewhere || name.contains(&0) { Err(Refused::Name(name)) } else { Ok((mode, size, name)) }
}

/// A name as it is sent: one with a newline would end the line.
pub(super) fn sendable(name: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\n' => sent.extend_from_slice(b"\\^J"),
            byte => sent.push(*byte),
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_sent() {
        let file = Record::File { mode: 0o644, size: 12, name: b"a b\xff" };
        assert_eq!(Record::parse(b"C0644 12 a b\xff"), Ok(file));
        assert_eq!(Record::parse(b"D4755 0 d"), Ok(Record::Directory { mode: 0o4755, name: b"d" }));
        assert_eq!(Record::parse(b"T7 0 8 0"), Ok(Record::Times { changed: 7, accessed: 8 }));
        assert_eq!(Record::parse(b"E"), Ok(Record::EndOfDirectory));
        assert_eq!(Record::parse(b"\x01scp: no"), Ok(Record::Warning));
        assert_eq!(sendable(b"a\nb"), b"a\\^Jb");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "/etc/passwd", "a/b", "../x", "a\0b"] {
            let line = format!("C0644 1 {name}");
            assert_eq!(Record::parse(line.as_bytes()), Err(Refused::Name(name.as_bytes())), "{name}");
        }
        let refused = Record::parse(b"D0755 0 ..").unwrap_err();
        assert_eq!(refused.message(), b"error: unexpected filename: ..");
    }

    #[test]
    fn broken_lines_are_refused_with_a_reason() {
        for (line, why) in [
            ("", "unexpected <newline>"),
            ("hello", "expected control record"),
            ("C644 1 x", "bad mode"),
            ("C0888 1 x", "bad mode"),
            ("C+644 1 x", "bad mode"),
            ("C0644 -1 x", "size out of range"),
            ("C0644 99999999999999999999 x", "size out of range"),
            ("C0644 9223372036854775808 x", "size out of range"),
            ("C0644 1", "size not delimited"),
            ("T1 0 1", "times not understood"),
            ("T1 0 1 0 1", "times not understood"),
        ] {
            assert_eq!(Record::parse(line.as_bytes()), Err(Refused::Protocol(why)), "{line}");
        }
    }

    #[test]
    fn whatever_comes_is_a_record_or_a_reason_and_no_name_leads_elsewhere() {
        let mut state = 1_u64;
        let mut next = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % limit
        };
        let alphabet = b"CDTE 0123467/.ax\x01\xff\0";
        let mut records = 0;
        for round in 0..50_000 {
            let mut line = if round % 2 == 0 { b"C0644 12 ".to_vec() } else { Vec::new() };
            line.extend((0..next(20)).map(|_| alphabet[next(alphabet.len())]));
            let Ok(record) = Record::parse(&line) else { continue };
            records += 1;
            if let Record::File { name, mode, .. } | Record::Directory { name, mode } = record {
                assert!(mode <= 0o7777 && !name.is_empty() && name != b"..", "{line:?}");
                assert!(!name.contains(&b'/') && !name.contains(&0), "{line:?}");
            }
        }
        assert!(records > 1000, "{records} records");
    }
}
