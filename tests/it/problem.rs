//! The table of failures is a promise to clients.

use tollhouse::problem::Kind;

#[test]
fn the_table_is_pinned() {
    let rows: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| {
            let row = kind.telling();
            format!("{kind:?} {} {} {} {}", row.http, row.rpc, row.code, row.r#type)
        })
        .collect();

    insta::assert_snapshot!(rows.join("\n"), @r"
    Invalid 400 -32602 VALIDATION_FAILED ValidationError
    Unauthenticated 401 -32001 UNAUTHORIZED Unauthorized
    Forbidden 403 -32003 ACCESS_DENIED Forbidden
    NotFound 404 -32602 NOT_FOUND NotFound
    Conflict 409 -32004 CONFLICT Conflict
    TooLarge 413 -32005 TOO_LARGE TooLarge
    Limited 429 -32006 LIMIT_EXCEEDED LimitExceeded
    RateLimited 429 -32006 RATE_LIMIT_EXCEEDED RateLimitExceeded
    Quota 429 -32006 QUOTA_EXCEEDED QuotaExceeded
    Unavailable 503 -32000 SERVICE_UNAVAILABLE InstanceUnavailable
    Upstream 502 -32000 BAD_GATEWAY UpstreamError
    Timeout 504 -32000 TIMEOUT RequestTimeout
    Internal 500 -32603 INTERNAL_ERROR InternalError
    ");
}
