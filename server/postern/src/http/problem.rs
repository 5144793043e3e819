//! Errors of the API: JSON problem details (RFC 9457), with the field of the request that is wrong where there is one.

use crate::clients::Over;
use crate::spool::SpoolError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::message::compose::FieldError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When to come again with what was refused for now, in seconds, where nothing better is known.
const RETRY_AFTER: u64 = 30;

/// Why a request was not done.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong here.
    pub detail: String,
    /// The field of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The code of the SMTP reply that a client of SMTP would get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp_code: Option<u16>,
    /// Its enhanced code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<String>,
    /// When it may be tried again, in seconds from now, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        Self {
            status: status.as_u16(),
            title,
            detail: detail.into(),
            field: None,
            smtp_code: None,
            enhanced: None,
            retry_after: None,
        }
    }

    /// 400: this field is wrong.
    pub(super) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let text = error.to_string();
        Self::field(&error.field, text)
    }
}

impl From<&Reply> for Problem {
    /// What a refusal means in HTTP: whether to come again, and whose fault it is.
    fn from(reply: &Reply) -> Self {
        let subject = reply.enhanced.map_or((0, 0), |EnhancedCode(_, subject, detail)| (subject, detail));
        let status = match (reply.is_permanent(), reply.code, subject) {
            (false, 452, (3, 1)) => StatusCode::INSUFFICIENT_STORAGE,
            (false, _, (7, _)) => StatusCode::TOO_MANY_REQUESTS,
            (false, ..) => StatusCode::SERVICE_UNAVAILABLE,
            (true, 552, _) | (true, _, (3, 4)) => StatusCode::PAYLOAD_TOO_LARGE,
            (true, _, (7, _)) => StatusCode::FORBIDDEN,
            (true, ..) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self {
            smtp_code: Some(reply.code),
            enhanced: reply.enhanced.map(|code| code.to_string()),
            ..Self::new(status, reply.text.clone())
        }
    }
}

impl From<Over> for Problem {
    /// 429, or 422 where waiting does not help.
    fn from(over: Over) -> Self {
        let of_reply = Self::from(&over.reply());
        match over.wait {
            Some(Duration::ZERO) => {
                Self { smtp_code: None, enhanced: None, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, of_reply.detail) }
            }
            wait => Self { retry_after: wait.map(|wait| wait.as_secs()), ..of_reply },
        }
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        let status = match error {
            SpoolError::NotFound(_) => StatusCode::NOT_FOUND,
            SpoolError::Busy(_) | SpoolError::Poisoned(_) => StatusCode::SERVICE_UNAVAILABLE,
            SpoolError::LeaseLost(_) => StatusCode::CONFLICT,
            SpoolError::Corrupt(_) | SpoolError::Invalid(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after.unwrap_or(RETRY_AFTER);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if matches!(status.as_u16(), 429 | 503 | 507) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_in_http() {
        let check = |code: u16, enhanced: (u8, u16, u16), status: u16| {
            let reply = Reply::new(code, EnhancedCode(enhanced.0, enhanced.1, enhanced.2), "No");
            let problem = Problem::from(&reply);
            assert_eq!((problem.status, problem.smtp_code), (status, Some(code)), "{reply}");
        };
        check(452, (4, 3, 1), 507);
        check(450, (4, 7, 1), 429);
        check(451, (4, 3, 0), 503);
        check(552, (5, 3, 4), 413);
        check(550, (5, 7, 1), 403);
        check(550, (5, 1, 1), 422);
        check(554, (5, 4, 6), 422);
        assert_eq!(Problem::from(&Reply::plain(550, "No")).status, 422);
    }
}
