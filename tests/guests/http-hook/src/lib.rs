//! The hook `http` with every answer and failure: what it does goes by the path.

use postern_plugin_sdk::prelude::*;

struct HttpHook {
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    version: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { version: "1".into() }
    }
}

impl Plugin for HttpHook {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        Ok(Self { version: config.version })
    }
}

/// What the plugin sees of a request.
#[derive(serde::Serialize)]
struct Seen {
    method: String,
    path: String,
    query: Option<String>,
    custom: Option<String>,
    kind: Option<String>,
    secrets: Vec<String>,
    peer: String,
    user: Option<String>,
    body: String,
    pieces: usize,
}

fn seen(request: &Request) -> Result<Seen> {
    let (mut body, mut pieces) = (Vec::new(), 0);
    loop {
        let piece = request.read(1000)?;
        if piece.is_empty() {
            break;
        }
        body.extend(piece);
        pieces += 1;
    }
    let secrets = ["Authorization", "Cookie", "proxy-authorization"].iter();
    Ok(Seen {
        method: request.method(),
        path: request.path(),
        query: request.query(),
        custom: request.header("x-custom"),
        kind: request.header("CONTENT-TYPE"),
        secrets: secrets.filter_map(|name| request.header(name)).collect(),
        peer: request.peer_address(),
        user: request.user(),
        body: String::from_utf8_lossy(&body).into_owned(),
        pieces,
    })
}

impl Http for HttpHook {
    fn handle(&mut self, request: &Request, response: &Response) -> Result<()> {
        let value = request.query_value("value").unwrap_or_default();
        match request.path().as_str() {
            "/" => Ok(()),
            "/version" => Ok(response.text(&self.version)?),
            "/status" => Ok(response.set_status(value.parse().unwrap_or_default())?),
            "/teapot" => {
                response.add_header("Set-Cookie", "a=1")?;
                response.add_header("set-cookie", "b=2")?;
                Ok(response.error(418, "short and stout")?)
            }
            // What the host says to a header field.
            "/header" => {
                let name = request.query_value("name").unwrap_or_default();
                let said = response.add_header(&name, &value).err().map(|error| error.to_string());
                response.json(&said)
            }
            "/write" => {
                let mut octets = value.parse::<usize>().unwrap_or_default();
                while octets > 0 {
                    let piece = octets.min(100_000);
                    response.write(&vec![b'x'; piece])?;
                    octets -= piece;
                }
                Ok(())
            }
            "/error" => Err(Error::new("the secret cause")),
            "/trap" => panic!("as told"),
            "/loop" => loop {
                std::hint::black_box(());
            },
            "/memory" => {
                let mut held = Vec::new();
                loop {
                    held.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&held);
                }
            }
            // Written before it failed: none of it is sent.
            "/half" => {
                response.text("half an answer")?;
                Err(Error::new("and then"))
            }
            // Whatever the host says: until the deadline ends the call.
            "/wait" => loop {
                let _ = http::Request::get(&value).send();
            },
            _ => response.json(&seen(request)?),
        }
    }
}

export_plugin!(HttpHook: Http);
