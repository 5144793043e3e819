//! JSON values with limits that `serde_json::Value` does not have: how many there are, and that no key is there twice.
//!
//! Of small values each takes many times its text in memory, and of two equal keys one reader sees the first and another the
//! last. How deep values nest is the parser's own limit (128).

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads a value, of which so many may still come. What they are part of shares the count.
pub(super) struct Bounded<'a>(pub(super) &'a mut usize);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let Some(left) = self.0.checked_sub(1) else { return Err(D::Error::custom("there are too many values in it")) };
        *self.0 = left;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Bounded(self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(twice(&key));
            }
            let value = from.next_value_seed(Bounded(self.0))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// The error for a key that is there twice.
pub(super) fn twice<E: Error>(key: &str) -> E {
    let shown: String = key.chars().filter(|c| !c.is_control()).take(64).collect();
    E::custom(format_args!("the key `{shown}` is there twice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> Result<Value, String> {
        let mut left = most;
        let mut from = serde_json::Deserializer::from_str(text);
        let value = Bounded(&mut left).deserialize(&mut from).map_err(|error| error.to_string())?;
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        Ok(value)
    }

    #[test]
    fn values_as_serde_has_them_but_for_their_number_and_keys() {
        for text in ["null", "true", "-1", "18446744073709551615", "1.5e3", r#""a\u00e9\n""#, "[]", "{}"] {
            read(text, 1).unwrap();
        }
        let text = r#"{"a": [1, {"b": null}], "c": {"b": "x", "d": []}}"#;
        read(text, 8).unwrap();
        assert!(read(text, 7).unwrap_err().contains("too many values"));
        assert!(read(r#"{"a": {"b": 1, "c": 2, "b": 3}}"#, 9).unwrap_err().contains("`b` is there twice"));
        assert!(read(&"[".repeat(100_000), 1_000_000).unwrap_err().contains("recursion limit"));
    }
}
