//! `GET /api/v1/openapi.json`: the description of the API. Its text is `openapi.json`; the paths that are served, and the
//! scopes that they ask for, are those of the routes.

use super::Route;
use serde_json::{Map, Value, json};

/// The text, without scopes.
const TEXT: &str = include_str!("openapi.json");
/// The path of the document.
pub(super) const PATH: &str = "/api/v1/openapi.json";

/// The document for these routes: each operation with its scope. One that the text does not know is marked
/// `x-undocumented`, and what is not served is left out; a test sees that neither happens.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut document: Value = serde_json::from_str(TEXT).expect("it is parsed in a test");
    let described = document["paths"].take();
    let mut paths = Map::new();
    for route in routes {
        let method = route.method.as_str().to_ascii_lowercase();
        let name = route.path.replace("{*", "{");
        let mut operation = described[&name][&method].clone();
        if !operation.is_object() {
            operation = json!({"x-undocumented": true, "responses": {}});
        }
        operation["x-scope"] = route.scope.name().into();
        let path = paths.entry(name).or_insert_with(|| json!({}));
        path[&method] = operation;
    }
    document["paths"] = Value::Object(paths);
    document
}

/// All operations of the text, as `METHOD path`.
#[cfg(test)]
fn operations(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| format!("{} {path}", method.to_ascii_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[cfg(test)]
mod tests {
    use super::super::section::Scope;
    use super::*;
    use axum::http::Method;
    use axum::routing::MethodRouter;

    #[test]
    fn routes_and_text_meet() {
        let text: Value = serde_json::from_str(TEXT).unwrap();
        assert!(operations(&text).len() > 10);
        let route = |method, path: &str| Route {
            method,
            path: path.to_owned(),
            scope: Scope::Submit,
            handler: MethodRouter::new(),
        };
        let document = document(&[route(Method::POST, "/send"), route(Method::GET, "/unknown")]);
        assert_eq!(operations(&document), ["POST /send", "GET /unknown"]);
        assert_eq!(document["paths"]["/send"]["post"]["x-scope"], "submit");
        assert_eq!(document["paths"]["/unknown"]["get"]["x-undocumented"], true);
    }
}
