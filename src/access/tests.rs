//! Who is let in, for how long, and who is not any more.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Method};

use super::{sign_in::SignedIn, *};
use crate::domain::{Actor, FixedClock, LoginKind, PrincipalKind, Role, Secret, User};

const PASSWORD: &str = "correct horse battery staple 9";
const DAY: Duration = Duration::from_hours(24);

struct House {
    access: Access,
    store: Store,
    clock: Arc<FixedClock>,
    _folder: tempfile::TempDir,
    /// Of that account.
    key: Secret,
}

/// A house with one account, `ann`.
async fn house() -> House {
    house_with(Settings::default()).await
}

async fn house_with(settings: Settings) -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(FixedClock::default());
    clock.advance(DAY * 20_000);
    let (data, store) = (folder.path().join("data"), store::Settings::default());
    let store = Store::create(&data, &store, clock.clone()).expect("a store");
    furnish(&store).await.expect("furnished");
    let access = Access::new(settings, &store, clock.clone()).expect("readable");
    let claimed = access.claim(&Actor::system("test"), "Ann", Secret::new(PASSWORD)).await;
    House { access, store, clock, _folder: folder, key: claimed.expect("claimed") }
}

fn attempt(name: &str, password: &str) -> Attempt {
    let (name, password) = (name.to_owned(), Secret::new(password));
    Attempt { name, password, second: None, kind: LoginKind::Tokens, from: None }
}

impl House {
    async fn sign_in(&self) -> SignedIn {
        self.access.sign_in(attempt("ann", PASSWORD)).await.expect("signed in")
    }

    fn prepare<'a>(&'a self, basic: &'a Credential) -> BoxFuture<'a, Result<(), Error>> {
        self.access.prepare(basic, None).expect("takes long")
    }

    fn user(&self) -> User {
        self.store.read().and_then(|it| it.users()).expect("readable").remove(0)
    }

    async fn put(&self, user: User) {
        let who = Actor::system("test");
        let written = self.store.write(&who, move |change| {
            change.put_user(&user)?;
            Ok::<(), Error>(())
        });
        written.await.expect("written");
        self.access.reload().expect("readable");
    }

    fn role(&self, credential: &Credential) -> Result<Role, Error> {
        self.access.authenticate(credential).map(|caller| caller.principal().role)
    }
}

fn token(signed_in: &SignedIn) -> Credential {
    match &signed_in.pass {
        Pass::Tokens { access, .. } => Credential::token(access.clone()),
        Pass::Page { .. } => panic!("tokens"),
    }
}

fn refresh_token(signed_in: &SignedIn) -> Secret {
    match &signed_in.pass {
        Pass::Tokens { refresh, .. } => refresh.clone(),
        Pass::Page { .. } => panic!("tokens"),
    }
}

#[tokio::test]
async fn whoever_signs_in_is_who_they_are_until_their_token_is_over() {
    let house = house().await;
    let signed_in = house.sign_in().await;
    let token = token(&signed_in);

    let caller = house.access.authenticate(&token).expect("known");

    assert_eq!(caller.principal().kind, PrincipalKind::User(house.user().id));
    assert_eq!(caller.principal().role, Role::Admin);
    assert_eq!(signed_in.expires_in, 600);
    house.clock.advance(Duration::from_secs(629));
    assert!(house.role(&token).is_ok());
    house.clock.advance(Duration::from_secs(1));
    assert!(matches!(house.role(&token), Err(Error::TokenOver)));
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_told_alike() {
    let house = house().await;

    for (name, password) in [("bob", PASSWORD), ("ann", "correct horse battery staple 8")] {
        let told = house.access.sign_in(attempt(name, password)).await;
        assert!(matches!(told, Err(Error::WrongPassword)), "{name}");
    }
    let long = "x".repeat(1_025);
    let told = house.access.sign_in(attempt("ann", &long)).await;
    assert!(matches!(told, Err(Error::WeakPassword(_))));
}

#[tokio::test]
async fn what_changes_of_a_person_counts_at_the_next_call() {
    let house = house().await;
    let token = token(&house.sign_in().await);

    house.put(User { role: Role::Viewer, ..house.user() }).await;
    assert!(matches!(house.role(&token), Ok(Role::Viewer)));
    house.put(User { is_active: false, ..house.user() }).await;
    assert!(matches!(house.role(&token), Err(Error::Disabled)));

    let right = house.access.sign_in(attempt("ann", PASSWORD)).await;
    let wrong = house.access.sign_in(attempt("ann", "correct horse battery staple 8")).await;
    assert!(matches!(right, Err(Error::Disabled)));
    assert!(matches!(wrong, Err(Error::WrongPassword)));
}

#[tokio::test]
async fn a_key_of_somebody_who_may_not_come_in_opens_nothing() {
    let house = house().await;
    let key = Credential::key(house.key.clone());
    assert!(house.role(&key).is_ok());

    house.put(User { is_active: false, ..house.user() }).await;

    assert!(matches!(house.role(&key), Err(Error::UnknownKey)));
}

#[tokio::test]
async fn signing_out_ends_the_tokens_and_no_others() {
    let house = house().await;
    let (one, other) = (house.sign_in().await, house.sign_in().await);

    house.access.sign_out(&token(&one)).await.expect("signed out");

    assert!(matches!(house.role(&token(&one)), Err(Error::InvalidToken)));
    assert!(house.access.refresh(&refresh_token(&one)).await.is_err());
    assert!(house.role(&token(&other)).is_ok());
}

#[tokio::test]
async fn a_refresh_token_is_good_once() {
    let house = house().await;
    let first = house.sign_in().await;
    let r1 = refresh_token(&first);

    let second = house.access.refresh(&r1).await.expect("renewed");
    let r2 = refresh_token(&second);
    let again = house.access.refresh(&r1).await.expect("within the grace");
    assert!(r1 != r2 && refresh_token(&again) == r2, "the same successor");
    house.clock.advance(Duration::from_secs(11));
    let late = house.access.refresh(&r1).await;

    assert!(matches!(late, Err(Error::InvalidToken)));
    assert!(house.access.refresh(&r2).await.is_err(), "the whole family is dead");
    assert!(house.role(&token(&second)).is_err());
    let audit = house.store.read().and_then(|it| it.audit(0, 100)).expect("readable");
    let last = audit.last().expect("a line");
    assert_eq!(last.actor.as_str(), "system:a refresh token was used twice");
}

#[tokio::test]
async fn many_who_refresh_at_once_get_one_successor() {
    let house = house().await;
    let r1 = refresh_token(&house.sign_in().await);

    let all = (0..20).map(|_| house.access.refresh(&r1));
    let all = futures_util::future::join_all(all).await;

    let texts: std::collections::BTreeSet<String> = all
        .iter()
        .map(|it| it.as_ref().map(refresh_token).expect("renewed").expose().to_owned())
        .collect();
    assert_eq!(texts.len(), 1);
    let next = Secret::new(texts.into_iter().next().expect("one"));
    assert!(house.access.refresh(&next).await.is_ok());
}

#[tokio::test]
async fn a_made_up_refresh_token_ends_nobodys_sign_in() {
    let house = house().await;
    let r1 = refresh_token(&house.sign_in().await);
    let (stem, mark) = r1.expose().rsplit_once('.').expect("a mark");
    let made_up = format!("{}x.{mark}", &stem[..stem.len() - 1]);

    for text in [&made_up, "", "thr_", "thr_..", &r1.expose()[1..], &format!("{}x", r1.expose())] {
        assert!(house.access.refresh(&Secret::new(text)).await.is_err(), "{text}");
    }

    assert!(house.access.refresh(&r1).await.is_ok());
}

#[tokio::test]
async fn a_sign_in_lasts_a_week_unused_and_a_month_used() {
    let house = house().await;
    let unused = refresh_token(&house.sign_in().await);
    house.clock.advance(DAY * 7);
    assert!(house.access.refresh(&unused).await.is_err());

    let mut used = refresh_token(&house.sign_in().await);
    for _ in 0..5 {
        house.clock.advance(Duration::from_secs(6 * 86_400 - 1));
        used = refresh_token(&house.access.refresh(&used).await.expect("used in time"));
    }
    house.clock.advance(Duration::from_secs(5));
    assert!(house.access.refresh(&used).await.is_err());
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_a_new_key() {
    let house = house().await;
    let before = house.sign_in().await;
    let old = house.store.read().and_then(|it| it.signing_keys()).expect("readable");

    let again = Access::new(Settings::default(), &house.store, house.clock.clone());
    let again = again.expect("readable");
    assert!(again.authenticate(&token(&before)).is_ok());
    house.access.rotate_signing_keys(&Actor::system("test")).await.expect("rotated");
    let after = house.sign_in().await;

    assert!(house.role(&token(&before)).is_ok() && house.role(&token(&after)).is_ok());
    let keys = house.store.read().and_then(|it| it.signing_keys()).expect("readable");
    assert_eq!((old.len(), keys.len()), (1, 2));
    house.clock.advance(DAY * 31);
    let _third = house.sign_in().await;
    let keys = house.store.read().and_then(|it| it.signing_keys()).expect("readable");
    assert_eq!(keys.iter().filter(|key| key.retired_at.is_none()).count(), 1);
    assert!(!keys.iter().any(|key| key.id == old[0].id), "what retired long ago is gone");
}

#[tokio::test]
async fn a_shared_secret_signs_where_it_is_set() {
    let mut settings = Settings::default();
    settings.tokens.secret_key = Some(Secret::new("k".repeat(32)));
    let house = house_with(settings).await;

    let signed_in = house.sign_in().await;

    let Credential::Token(shown) = token(&signed_in) else { panic!("a token") };
    let text = shown.text;
    let head = text.expose().split('.').next().expect("a head");
    let head = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, head);
    assert!(String::from_utf8(head.expect("base64")).expect("text").contains("HS256"));
    assert!(house.role(&token(&signed_in)).is_ok());
    let plain = Access::new(Settings::default(), &house.store, house.clock.clone());
    assert!(plain.expect("readable").authenticate(&token(&signed_in)).is_err());
}

#[tokio::test]
async fn a_new_password_ends_every_other_sign_in() {
    let house = house().await;
    let (own, other) = (house.sign_in().await, house.sign_in().await);
    let (caller, shown) = (house.access.authenticate(&token(&own)).expect("known"), token(&own));
    let change = |current: Option<&str>, new: &str| {
        let form = serde_json::json!({"current_password": current, "new_password": new});
        let form: PasswordForm = serde_json::from_value(form).expect("a form");
        house.access.change_password((&caller, &shown), form, None)
    };
    let new = "a much longer sentence than before";

    assert!(matches!(change(None, new).await, Err(Error::WrongCurrentPassword)));
    assert!(matches!(
        change(Some("wrong wrong wrong"), new).await,
        Err(Error::WrongCurrentPassword)
    ));
    assert!(matches!(change(Some(PASSWORD), "short").await, Err(Error::WeakPassword(_))));
    assert!(house.role(&token(&other)).is_ok());
    change(Some(PASSWORD), new).await.expect("changed");

    assert!(house.role(&token(&other)).is_err());
    assert!(house.access.refresh(&refresh_token(&other)).await.is_err());
    assert!(house.role(&token(&own)).is_ok());
    assert!(house.access.sign_in(attempt("ann", PASSWORD)).await.is_err());
    assert!(house.access.sign_in(attempt("ann", new)).await.is_ok());
}

#[tokio::test]
async fn twenty_wrong_passwords_wait_and_the_right_one_works_after_that() {
    let house = house().await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        match house.access.sign_in(attempt("ann", "correct horse battery staple 8")).await {
            Err(Error::TooManyTries { seconds }) => waits.push(seconds),
            Err(Error::WrongPassword) => {}
            other => panic!("{:?}", other.err()),
        }
    }

    assert_eq!(waits, [30; 10]);
    assert!(matches!(
        house.access.sign_in(attempt("ANN", PASSWORD)).await,
        Err(Error::TooManyTries { .. })
    ));
    house.clock.advance(Duration::from_secs(30));
    house.sign_in().await;
}

#[tokio::test]
async fn a_long_line_before_the_hash_is_sent_away() {
    let settings = Settings { hashes_at_once: 1, hashes_waiting: 2, ..Settings::default() };
    let house = house_with(settings).await;

    let all = (0..10).map(|n| house.access.sign_in(attempt(&format!("u{n}"), PASSWORD)));
    let all = futures_util::future::join_all(all).await;

    let busy = all.iter().filter(|it| matches!(it, Err(Error::Busy))).count();
    assert_eq!(busy, 7);
}

#[tokio::test]
async fn one_more_sign_in_ends_the_oldest() {
    let mut settings = Settings::default();
    settings.sign_in.max_per_user = 2;
    let house = house_with(settings).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        house.clock.advance(Duration::from_secs(1));
        all.push(token(&house.sign_in().await));
    }

    let open: Vec<bool> = all.iter().map(|it| house.role(it).is_ok()).collect();

    assert_eq!(open, [false, true, true]);
}

#[tokio::test]
async fn a_full_house_takes_nobody_else_in() {
    let mut settings = Settings::default();
    settings.sign_in.max_logins = 1;
    let house = house_with(settings).await;
    house.sign_in().await;

    let second = house.access.sign_in(attempt("ann", PASSWORD)).await;
    assert!(matches!(second, Err(Error::TooManyLogins(1))));
    house.clock.advance(DAY * 7);
    house.sign_in().await;
}

/// What a page with this cookie shows.
fn page(verb: &Method, cookie: &Secret, more: &[(&'static str, &str)]) -> Credential {
    let mut headers = HeaderMap::new();
    let cookie = format!("tollhouse-1={}", cookie.expose());
    for (name, value) in [("host", "localhost:1"), ("cookie", &*cookie)].iter().chain(more) {
        headers.append(*name, value.parse().expect("a header value"));
    }
    Credential::of_request(verb, &headers).expect("readable")
}

#[tokio::test]
async fn a_page_asks_with_its_cookie_and_changes_with_a_proof() {
    let house = house().await;
    let login = Attempt { kind: LoginKind::Page, ..attempt("ann", PASSWORD) };
    let signed_in = house.access.sign_in(login).await.expect("signed in");
    let Pass::Page { cookie, csrf } = signed_in.pass else { panic!("a cookie") };
    let here = ("sec-fetch-site", "same-origin");
    let proof = ("x-csrf-token", csrf.expose());

    assert!(house.role(&page(&Method::GET, &cookie, &[])).is_ok());
    assert!(house.role(&page(&Method::POST, &cookie, &[here, proof])).is_ok());
    for more in [&[][..], &[here], &[proof], &[("sec-fetch-site", "same-site"), proof]] {
        let told = house.role(&page(&Method::POST, &cookie, more));
        assert!(matches!(told, Err(Error::ForeignPage)), "{more:?}");
    }
    let text = cookie.expose();
    let other = Secret::new(format!("{}x", &text[..text.len() - 1]));
    assert!(house.role(&page(&Method::GET, &other, &[])).is_err());
    assert!(house.access.refresh(&cookie).await.is_err());
    house.clock.advance(Duration::from_mins(29));
    assert!(house.role(&page(&Method::GET, &cookie, &[])).is_ok());
    house.clock.advance(Duration::from_mins(30));
    assert!(house.role(&page(&Method::GET, &cookie, &[])).is_err());
}

#[tokio::test]
async fn a_page_is_signed_out_after_half_a_day_however_busy() {
    let house = house().await;
    let login = Attempt { kind: LoginKind::Page, ..attempt("ann", PASSWORD) };
    let Pass::Page { cookie, .. } = house.access.sign_in(login).await.expect("signed in").pass
    else {
        panic!("a cookie")
    };
    let shown = page(&Method::GET, &cookie, &[]);

    let minutes = (0..).take_while(|_| {
        house.clock.advance(Duration::from_mins(1));
        house.role(&shown).is_ok()
    });

    assert_eq!(minutes.count(), 12 * 60 - 1);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_each_code_is_good_once() {
    let house = house().await;
    let own = token(&house.sign_in().await);
    let caller = house.access.authenticate(&own).expect("known");
    let enrolled = house.access.enrol(&caller, Secret::new(PASSWORD), None).await.expect("begun");
    house.sign_in().await;
    let code = |clock: &FixedClock| totp::code(&enrolled.secret, clock.now());
    let wrong = house.access.confirm(&caller, &Secret::new("000000x")).await;
    assert!(matches!(wrong, Err(Error::WrongCode)));
    let recovery = house.access.confirm(&caller, &code(&house.clock)).await.expect("confirmed");
    let with = |second: Option<&Secret>| {
        let second = second.cloned();
        house.access.sign_in(Attempt { second, ..attempt("ann", PASSWORD) })
    };

    assert!(matches!(with(None).await, Err(Error::SecondFactorNeeded)));
    assert!(matches!(with(Some(&code(&house.clock))).await, Err(Error::WrongCode)), "it was used");
    house.clock.advance(Duration::from_mins(1));
    assert!(with(Some(&code(&house.clock))).await.is_ok());
    assert_eq!(recovery.len(), 10);
    let typed = Secret::new(recovery[3].expose().to_lowercase().replace('-', " "));
    assert!(with(Some(&typed)).await.is_ok());
    assert!(matches!(with(Some(&recovery[3])).await, Err(Error::WrongCode)));
    house.clock.advance(Duration::from_mins(1));
    let proof = (Secret::new(PASSWORD), Some(code(&house.clock)));
    house.access.drop_second_factor(&caller, proof, None).await.expect("dropped");
    assert!(with(None).await.is_ok());
}

fn basic(name: &str, password: &str) -> Credential {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut headers = HeaderMap::new();
    let text = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
    headers.insert("authorization", text.parse().expect("a header value"));
    Credential::of(&headers).expect("readable")
}

#[tokio::test]
async fn basic_is_off_and_where_it_is_on_hashes_once() {
    let off = house().await;
    let shown = basic("ann", PASSWORD);
    assert!(matches!(off.prepare(&shown).await, Err(Error::UnknownKey)));
    assert!(off.role(&shown).is_err());

    let house = house_with(Settings { basic: true, ..Settings::default() }).await;
    let wrong = basic("ann", "wrong wrong wrong");
    assert!(matches!(house.prepare(&wrong).await, Err(Error::WrongPassword)));
    assert!(house.role(&wrong).is_err());
    assert!(house.role(&shown).is_err(), "nothing is let in before it is prepared");
    house.prepare(&shown).await.expect("right");
    assert!(house.prepare(&shown).now_or_never().is_some(), "it is remembered");
    assert!(house.role(&shown).is_ok());
    house.put(User { password_hash: "another".into(), ..house.user() }).await;
    assert!(house.role(&shown).is_err());
}

#[tokio::test]
async fn what_stands_open_ends_with_its_credential() {
    let house = house().await;
    let (one, other) = (token(&house.sign_in().await), token(&house.sign_in().await));
    let stream = house.access.leash(&one, Reach::Credential);
    let session = house.access.leash(&one, Reach::Owner);
    let others = house.access.leash(&other, Reach::Credential);
    let is_over = |leash: &Leash| leash.over().now_or_never().is_some();
    assert!(!is_over(&stream) && !is_over(&session));

    house.access.sign_out(&one).await.expect("signed out");

    assert!(is_over(&stream) && is_over(&session) && !is_over(&others));
    assert!(is_over(&house.access.leash(&one, Reach::Credential)), "it is too late to hold on");
    let key = house.access.leash(&Credential::key(Secret::new("thk_x")), Reach::Owner);
    assert!(is_over(&key));
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_session_does_not() {
    let house = house().await;
    let own = token(&house.sign_in().await);
    let stream = house.access.leash(&own, Reach::Credential);
    let session = house.access.leash(&own, Reach::Owner);
    let is_over = |leash: &Leash| leash.over().now_or_never().is_some();

    house.clock.advance(Duration::from_mins(11));
    house.access.check_leashes();

    assert!(is_over(&stream) && !is_over(&session));
    house.put(User { is_active: false, ..house.user() }).await;
    assert!(is_over(&session));
    drop((stream, session));
    house.access.check_leashes();
    assert_eq!(house.access.0.leashes.count(), 0);
}
