//! The nouns: pure values and their rules. No clock, no disk, no network.

mod address;
mod balance;
mod call;
mod consent;
mod email;
mod endpoint;
mod grant;
mod http_route;
mod id;
mod item;
mod key;
mod link;
mod login;
mod misfit;
mod name;
mod organization;
mod outward;
mod page;
mod pin;
mod policy;
mod principal;
mod rate_limit;
mod record;
mod role;
mod secret;
mod server;
mod session;
mod sight;
mod text;
mod time;

pub use address::household;
pub use balance::{Balance, InvalidPreference, Preference, Strategy};
pub use call::{Scope, Target};
pub use consent::{Consent, TokenScope, TokenScopes};
pub use email::{Email, InvalidEmail};
pub use endpoint::{Endpoint, HttpUrl, InvalidUrl, Transport, is_never_asked, is_public};
pub use grant::{Grant, InvalidGrant};
pub use http_route::{
    HeaderChange, HttpRoute, HttpRouteForm, Projection, RouteRule, Sought, behaviour, behind,
    plain_path,
};
pub use id::{
    InstanceId, InvalidId, LinkId, LoginId, NamespaceId, OrganizationId, PolicyId, RateLimitId,
    RequestId, RouteId, ServerId, SessionId, SubjectId, UserId,
};
pub use item::{Annotations, Item, ItemKind, ParamHeader, TaskSupport};
pub use key::{ApiKey, InvalidKey, KeyId, KeyText, KeyType, KeyUse};
pub use link::{Grantor, Link};
pub use login::{Before, Login, LoginKind, SecondFactor, SigningKey};
pub use misfit::Misfit;
pub use name::{InvalidName, NAME_LIMIT, Prefixing, SEPARATOR, Slug, qualify};
pub use organization::{Namespace, Organization, Plan, Quotas, UnknownPlan};
pub use outward::{ClientAuth, EndpointTls, ExchangeAuth, ServerAuth, ServerTls, UserAuth};
pub use page::{Cursor, InvalidCursor};
pub use pin::{Definition, Digest, OnChange, Pin, PinKind, Pins, Standing, Version};
pub use policy::{Decision, Policy, PolicyType, UnknownPolicyType, Verdict};
pub use principal::{Actor, Principal, PrincipalKind, User};
pub use rate_limit::{
    Algorithm, Dimension, LimitScope, LimitStanding, LimitStandings, LimitTallies, RateLimit,
    RateLimitForm, UnknownDimension, Window,
};
pub use record::{AuditHead, AuditLine, Change, FeedEntry, Noun, Refusal};
pub use role::{Permission, Permissions, Role, UnknownRole};
pub use secret::{Secret, exposed, exposed_map, exposed_option, veiled};
pub use server::{CachePolicy, CacheScope, CheckPolicy, Health, Instance, Labels, Server, State};
pub use session::SessionRecord;
pub use sight::{Limits, Sight};
pub use text::{is_hidden, without_unseen};
pub use time::{Clock, FixedClock, SystemClock, Timestamp};
