//! JSON that keeps the order of keys as a person wrote them. It knows nothing of Docker.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use serde_json::ser::PrettyFormatter;
use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Plain(Value),
}

impl Json {
    /// Parses a text. An empty text is an empty object, as it is to dockerd.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::Object(Vec::new()));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Prints the value with the indentation of `text`, from which it was parsed.
    pub(super) fn print_like(&self, text: &str) -> String {
        let indent = text.lines().skip(1).find_map(|line| {
            let width = line.len() - line.trim_start_matches([' ', '\t']).len();
            line.get(..width).filter(|indent| !indent.is_empty())
        });
        let mut bytes = Vec::new();
        let formatter = PrettyFormatter::with_indent(indent.unwrap_or("  ").as_bytes());
        let mut printer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        // Writing into memory does not fail.
        let _ = self.serialize(&mut printer);
        bytes.push(b'\n');
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let fields = if let Self::Object(fields) = self { fields.as_slice() } else { &[] };
        fields.iter().map(|(key, _)| key.as_str())
    }

    /// The value of a key. If the key is there twice the last one counts, as it does to dockerd.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Plain(value) = self { value.as_str() } else { None }
    }

    pub(super) fn truth(&self) -> Option<bool> {
        if let Self::Plain(value) = self { value.as_bool() } else { None }
    }

    pub(super) fn is_object_of_texts(&self) -> bool {
        if let Self::Object(fields) = self {
            fields.iter().all(|(_, value)| value.text().is_some())
        } else {
            false
        }
    }

    /// Sets a field of an object, in its place if it is there.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        let Self::Object(fields) = self else { return };
        match fields.iter_mut().rev().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => fields.push((key.to_owned(), value)),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Self::Object(fields) = self {
            fields.retain(|(name, _)| name != key);
        }
    }

    /// The object in a field; one is made where the field is missing or `null`. `None`: the field has another type.
    pub(super) fn object_in(&mut self, key: &str) -> Option<&mut Self> {
        if self.field(key).is_none_or(|value| *value == Self::Plain(Value::Null)) {
            self.set(key, Self::Object(Vec::new()));
        }
        let Self::Object(fields) = self else { return None };
        let (_, value) = fields.iter_mut().rev().find(|(name, _)| name == key)?;
        matches!(value, Self::Object(_)).then_some(value)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
            Value::Array(values) => Self::Array(values.into_iter().map(Into::into).collect()),
            plain => Self::Plain(plain),
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(fields) => {
                let mut map = to.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Array(values) => to.collect_seq(values),
            Self::Plain(value) => value.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Json::Array(values))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Plain(Value::Null))
            }
        }
        from.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_indentation_stay() {
        let text = "{\n    \"z\": [\n        1,\n        -2.5,\n        null\n    ],\n    \"a\": {\n        \"y\": true,\n        \"b\": \"x\"\n    }\n}\n";
        let mut json = Json::parse(text).unwrap();
        assert_eq!(json.print_like(text), text);
        json.set("a", Json::Plain(1.into()));
        json.set("m", Json::Plain("n".into()));
        json.remove("z");
        assert_eq!(json.print_like(text), "{\n    \"a\": 1,\n    \"m\": \"n\"\n}\n");
        assert!(json.object_in("a").is_none() && json.object_in("new").is_some());
        assert!(Json::parse("{\n,").unwrap_err().contains("line 2 column 1"));
        assert_eq!(Json::parse(" \n").unwrap().print_like(""), "{}\n");
    }
}
