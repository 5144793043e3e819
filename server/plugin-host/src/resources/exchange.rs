//! The resources `request` and `response` of the hook `http`.

use crate::bindings::postern::plugin::exchange::{Host, HostRequest, HostResponse};
use crate::error::{BAD_NAME, BAD_VALUE, HostResult, TOO_LARGE, error};
use crate::state::{GuestState, RequestHandle, ResponseHandle, no_call};
use crate::subject::{Exchange, Subject};
use postern_core::hook::HttpAnswer;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Octets that one read gives at most.
const MAX_PIECE: usize = 256 << 10;
/// Fields that say how the answer is transferred (RFC 9110 section 7.6.1), and what the server says of it itself.
const OF_THE_SERVER: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Host for GuestState {}

impl GuestState {
    fn exchange(&self) -> Result<&Exchange> {
        match self.subject() {
            Subject::Exchange(exchange) => Ok(exchange),
            _ => Err(no_call()),
        }
    }

    fn exchange_mut(&mut self) -> Result<&mut Exchange> {
        match self.subject_mut() {
            Subject::Exchange(exchange) => Ok(exchange),
            _ => Err(no_call()),
        }
    }
}

impl HostRequest for GuestState {
    fn method(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        Ok(self.exchange()?.request.method.clone())
    }

    fn path(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        Ok(self.exchange()?.request.path.clone())
    }

    fn query(&mut self, _: Resource<RequestHandle>) -> Result<Option<String>> {
        Ok(self.exchange()?.request.query.clone())
    }

    fn header(&mut self, _: Resource<RequestHandle>, name: String) -> Result<Option<String>> {
        let mut fields = self.exchange()?.request.headers.iter();
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(&name));
        Ok(found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()))
    }

    fn peer_address(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        Ok(self.exchange()?.request.peer.to_string())
    }

    fn user(&mut self, _: Resource<RequestHandle>) -> Result<Option<String>> {
        Ok(self.exchange()?.request.user.as_deref().map(str::to_owned))
    }

    fn read(&mut self, _: Resource<RequestHandle>, max: u32) -> Result<HostResult<Vec<u8>>> {
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(MAX_PIECE);
        if max == 0 {
            return Ok(Err(error(BAD_VALUE, "a read of at most 0 octets")));
        }
        let body = &mut self.exchange_mut()?.request.body;
        Ok(Ok(body.split_to(max.min(body.len())).to_vec()))
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> Result<()> {
        Ok(())
    }
}

impl HostResponse for GuestState {
    fn set_status(&mut self, _: Resource<ResponseHandle>, code: u16) -> Result<HostResult> {
        if !(200..600).contains(&code) {
            return Ok(Err(error(BAD_VALUE, "a status is 200 to 599")));
        }
        self.exchange_mut()?.answer.status = code;
        Ok(Ok(()))
    }

    fn add_header(&mut self, _: Resource<ResponseHandle>, name: String, value: String) -> Result<HostResult> {
        let answer = &mut self.exchange_mut()?.answer;
        Ok(may_stand(&name, &value, answer).map(|()| answer.headers.push((name, value))))
    }

    fn write(&mut self, _: Resource<ResponseHandle>, bytes: Vec<u8>) -> Result<HostResult> {
        let body = &mut self.exchange_mut()?.answer.body;
        if body.len() + bytes.len() > HttpAnswer::MAX_BODY {
            return Ok(Err(error(TOO_LARGE, "an answer has at most 1 MiB")));
        }
        body.extend_from_slice(&bytes);
        Ok(Ok(()))
    }

    fn drop(&mut self, _: Resource<ResponseHandle>) -> Result<()> {
        Ok(())
    }
}

/// RFC 9110 sections 5.1 and 5.5: the name is a token, and what is no line end, NUL or other control character may stand
/// in the value.
fn may_stand(name: &str, value: &str, answer: &HttpAnswer) -> HostResult {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(error(BAD_NAME, "the name of an HTTP field is letters, digits and !#$%&'*+-.^_`|~"));
    }
    if OF_THE_SERVER.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(error(BAD_NAME, format_args!("{} is the server's to say", name.to_ascii_lowercase())));
    }
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return Err(error(BAD_VALUE, "the value of an HTTP field has no control characters"));
    }
    let octets: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if answer.headers.len() >= HttpAnswer::MAX_FIELDS || octets + name.len() + value.len() > HttpAnswer::MAX_HEADER {
        return Err(error(TOO_LARGE, "an answer has at most 64 fields of 16 KiB together"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_an_answers_header() {
        let check = |name: &str, value: &str, word: &str| {
            let said = may_stand(name, value, &HttpAnswer::default()).err().unwrap_or_default();
            assert!(said.starts_with(word) && said.is_empty() == word.is_empty(), "{name}: {value}: {said}");
        };
        check("X-A", "1\t2 õ", "");
        check("Set-Cookie", "a=b", "");
        for name in ["", "X A", "X:", "X\r\nY", "X\0", "õ", "X\"", "X/"] {
            check(name, "1", BAD_NAME);
        }
        for name in ["Content-Length", "TRANSFER-ENCODING", "connection", "Upgrade"] {
            check(name, "1", BAD_NAME);
        }
        for value in ["a\r\nX: b", "a\rb", "a\nb", "a\0", "\u{7f}", "\u{85}"] {
            check("X-A", value, BAD_VALUE);
        }
        let headers = vec![("a".into(), "b".into()); HttpAnswer::MAX_FIELDS];
        let answer = HttpAnswer { headers, ..HttpAnswer::default() };
        assert!(may_stand("a", "b", &answer).unwrap_err().starts_with(TOO_LARGE));
        assert!(may_stand("a", &"b".repeat(HttpAnswer::MAX_HEADER), &HttpAnswer::default()).is_err());
    }
}
