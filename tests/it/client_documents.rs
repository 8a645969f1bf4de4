//! Clients that are known by a document at a URL, and what the gateway fetches for them.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::PKey,
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod},
    x509::{X509, X509Builder, X509Name, extension::SubjectAlternativeName},
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{App, Browser, Gateway, access, field, opens};

const CALLBACK: &str = "https://app.test/callback";

/// A site with documents of clients, over https and on this machine alone.
struct Site {
    host: String,
    /// What it proves itself with.
    certificate: String,
    /// Connections that came.
    came: Arc<AtomicUsize>,
    _folder: TempDir,
}

impl Site {
    fn open() -> Self {
        let (acceptor, certificate) = identity();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("site.pem");
        std::fs::write(&file, certificate.to_pem().expect("PEM")).expect("writable");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = format!("localhost:{}", listener.local_addr().expect("an address").port());
        let came = Arc::new(AtomicUsize::new(0));
        let (count, name) = (came.clone(), host.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                // Whoever hangs up in the middle is none of the site's affair.
                let _answered = serve(&acceptor, stream, &name);
            }
        });
        Self { host, certificate: file.display().to_string(), came, _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.host)
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// A gateway that trusts the site's certificate, with these settings about documents.
    fn gateway(&self, documents: &str) -> Gateway {
        let config = format!("access:\n  oauth:\n    documents: {{{documents}}}\n");
        Gateway::start_with(&[("SSL_CERT_FILE", &self.certificate)], &config)
    }
}

fn identity() -> (SslAcceptor, X509) {
    let key = PKey::from_rsa(Rsa::generate(2_048).expect("a key")).expect("a key");
    let mut name = X509Name::builder().expect("a name");
    name.append_entry_by_text("CN", "localhost").expect("a name");
    let name = name.build();
    let mut made = X509Builder::new().expect("a certificate");
    made.set_version(2).expect("a version");
    made.set_subject_name(&name).expect("a name");
    made.set_issuer_name(&name).expect("a name");
    made.set_not_before(&Asn1Time::days_from_now(0).expect("a day")).expect("a day");
    made.set_not_after(&Asn1Time::days_from_now(1).expect("a day")).expect("a day");
    made.set_pubkey(&key).expect("a key");
    let mut names = SubjectAlternativeName::new();
    let names = names.dns("localhost").build(&made.x509v3_context(None, None)).expect("names");
    made.append_extension(names).expect("names");
    made.sign(&key, MessageDigest::sha256()).expect("signed");
    let made = made.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).expect("TLS");
    acceptor.set_private_key(&key).expect("a key");
    acceptor.set_certificate(&made).expect("a certificate");
    (acceptor.build(), made)
}

fn serve(acceptor: &SslAcceptor, stream: TcpStream, host: &str) -> Option<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).ok()?);
    let mut first = String::new();
    stream.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?;
    let document = |path: &str| {
        let id = format!("https://{host}{path}");
        json!({"client_id": id, "client_name": "Documented", "redirect_uris": [CALLBACK]})
    };
    let (head, body) = match path {
        "/moved.json" => ("302 Found\r\nLocation: /client.json", String::new()),
        "/page.json" => ("200 OK\r\nContent-Type: text/html", document(path).to_string()),
        "/other.json" => {
            ("200 OK\r\nContent-Type: application/json", document("/client.json").to_string())
        }
        "/long.json" => {
            let mut long = document(path);
            long["padding"] = "x".repeat(20_000).into();
            ("200 OK\r\nContent-Type: application/json", long.to_string())
        }
        _ => ("200 OK\r\nContent-Type: application/json", document(path).to_string()),
    };
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).ok()?;
    }
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.get_mut().write_all(answer.as_bytes()).ok()
}

#[test]
fn no_document_is_fetched_from_this_machine_or_a_private_network() {
    let site = Site::open();
    let gateway = site.gateway("");
    let mut browser = Browser::signed_in(&gateway, "admin");
    let port = site.host.rsplit(':').next().expect("a port").to_owned();

    for host in ["localhost", "127.0.0.1", "[::1]", "[::ffff:7f00:1]", "127.1", "2130706433"] {
        let id = format!("https://{host}:{port}/client.json");
        let said = browser.get(&App::known(&gateway, &id, CALLBACK).path(&[]));
        assert_eq!((said.status, said.headers.get("location")), (400, None), "{host}");
    }
    for host in ["10.0.0.1", "192.168.0.1", "169.254.169.254", "[fd00::1]"] {
        let id = format!("https://{host}/client.json");
        let said = browser.get(&App::known(&gateway, &id, CALLBACK).path(&[]));
        assert_eq!(said.status, 400, "{host}");
        assert!(said.text().contains("document of the client cannot be read"), "{}", said.text());
    }

    assert_eq!(site.came(), 0);
}

#[test]
fn a_client_is_what_its_document_says_once_a_person_is_there() {
    let site = Site::open();
    let gateway = site.gateway("private: true");
    let app = App::known(&gateway, &site.url("/client.json"), CALLBACK);
    let path = app.path(&[]);

    let stranger = Browser::new(&gateway).get(&path);
    assert_eq!((stranger.status, site.came()), (200, 0), "nothing is fetched for strangers");
    let mut browser = Browser::signed_in(&gateway, "admin");
    let page = browser.get(&path);
    let told = format!("It is described at <code>{}</code>", app.id);
    assert!(page.text().contains(&told), "{}", page.text());
    assert!(page.text().contains("<h1>Documented wants to act for you</h1>"));
    let tokens = app.tokens(&mut browser, &[]);
    assert_eq!(opens(&gateway, access(&tokens)), 200);
    assert_eq!(site.came(), 1, "it is remembered");

    // What was given to a client whose address nobody else has is not asked again.
    let again = browser.get(&path);
    assert_eq!(again.status, 303);
    assert!(field(&again.headers["location"], "code").is_some());
    let elsewhere = app.path(&[("redirect_uri", "https://evil.test/callback")]);
    assert_eq!(browser.get(&elsewhere).status, 400);
    let wider = app.path(&[("resource", &format!("{}/default", app.resource))]);
    assert_eq!(browser.get(&wider).status, 200);
}

#[test]
fn a_document_that_is_none_makes_no_client() {
    let site = Site::open();
    let gateway = site.gateway("private: true");
    let mut browser = Browser::signed_in(&gateway, "admin");

    for path in ["/moved.json", "/page.json", "/other.json", "/long.json"] {
        let app = App::known(&gateway, &site.url(path), CALLBACK);
        let said = browser.get(&app.path(&[]));
        assert_eq!((said.status, said.headers.get("location")), (400, None), "{path}");
    }

    assert_eq!(site.came(), 4);
    let none = site.gateway("enabled: false");
    let app = App::known(&none, &site.url("/client.json"), CALLBACK);
    assert_eq!(Browser::signed_in(&none, "admin").get(&app.path(&[])).status, 400);
    assert_eq!(site.came(), 4);
}
