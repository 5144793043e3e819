//! The plugin's config by pieces. Most plugins take it whole, in [`Plugin::init`](crate::Plugin::init). Needs no grant.

use crate::Error;

/// The value at a JSON pointer (RFC 6901) such as `/replace/X-A`, if it is there.
///
/// # Errors
/// The value has another type than `T`; the text names the pointer.
pub fn get<T: serde::de::DeserializeOwned>(pointer: &str) -> Result<Option<T>, Error> {
    let json = crate::backend::config::get(pointer);
    json.map(|json| parse(&json).map_err(|e| e.context(pointer))).transpose()
}

/// Reads a config; the error names the key, as in `add[0].position: unknown variant …`.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let text = error.inner().to_string();
        // A place in the JSON means nothing to somebody who wrote TOML.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        if path == "." { Error::new(text) } else { Error::new(format!("{path}: {text}")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn errors_name_the_key() {
        let error = parse::<BTreeMap<String, Vec<u8>>>(r#"{"a": [1, "x"]}"#).map(|_| ()).unwrap_err();
        assert_eq!(error.text(), "a[1]: invalid type: string \"x\", expected u8");
    }
}
