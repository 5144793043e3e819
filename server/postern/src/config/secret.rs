//! Secrets in the config: written out, in a file or in an environment variable. They are read when the config is
//! checked and are never printed.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// Larger files hold no secret.
const MAX_LEN: u64 = 64 * 1024;

/// A secret as written.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(untagged, deny_unknown_fields, expecting = "a secret is a text, { file = \"…\" } or { env = \"…\" }")]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// In a file; a line end at its end does not count.
    File {
        /// Which; a relative path belongs to the folder of the config file.
        file: PathBuf,
    },
    /// In an environment variable.
    Env {
        /// Its name.
        env: String,
    },
}

impl Secret {
    /// The secret.
    ///
    /// # Errors
    /// One line that says what can't be read; it does not begin with the key.
    pub fn read(&self) -> Result<String, String> {
        let secret = match self {
            Self::Text(text) => text.clone(),
            Self::File { file } => {
                let len = std::fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?.len();
                if len > MAX_LEN {
                    return Err(format!("{}: is too large for a secret", file.display()));
                }
                let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            Self::Env { env } => std::env::var(env).map_err(|error| format!("environment variable {env}: {error}"))?,
        };
        if secret.is_empty() { Err("it is empty".to_owned()) } else { Ok(secret) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Secret"),
            Self::File { file } => write!(f, "Secret(file {})", file.display()),
            Self::Env { env } => write!(f, "Secret(env {env})"),
        }
    }
}

impl Serialize for Secret {
    /// Where it is, never what it is.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let (key, value) = match self {
            Self::Text(_) => return to.serialize_str("(secret)"),
            Self::File { file } => ("file", file.to_string_lossy().into_owned()),
            Self::Env { env } => ("env", env.clone()),
        };
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Section {
        password: Secret,
    }

    #[test]
    fn is_read_from_where_it_is_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "s3cret\n").unwrap();
        let parse = |text: &str| toml::from_str::<Section>(text).unwrap();
        let check = |text: &str, wanted: Result<&str, &str>| {
            let section = parse(text);
            let printed = format!("{section:?} {}", toml::to_string(&section).unwrap());
            assert!(!printed.contains("s3cret"), "{printed}");
            match (section.password.read(), wanted) {
                (Ok(secret), Ok(wanted)) => assert_eq!(secret, wanted),
                (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check("password = 's3cret'", Ok("s3cret"));
        check(&format!("password = {{ file = '{}' }}", file.display()), Ok("s3cret"));
        check("password = { file = '/no/such' }", Err("/no/such"));
        check("password = { env = 'POSTERN_NO_SUCH_VARIABLE' }", Err("POSTERN_NO_SUCH_VARIABLE"));
        check("password = ''", Err("empty"));
        for wrong in ["{ fil = 'x' }", "{ file = 'x', env = 'y' }", "3"] {
            let error = toml::from_str::<Section>(&format!("password = {wrong}")).unwrap_err().to_string();
            assert!(error.contains("{ file = "), "{error}");
        }
    }
}
