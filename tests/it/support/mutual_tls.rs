//! A door that asks everybody for a certificate, before a server that speaks plainly.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslStream, SslVerifyMode};
use tempfile::TempDir;

pub(crate) struct MutualTls {
    pub(crate) address: String,
}

impl MutualTls {
    /// Opens the door, with `server.pem`, `server.key` and `ca.pem` of this folder.
    pub(crate) fn before(behind: &str, papers: &TempDir) -> Self {
        let file = |name: &str| papers.path().join(name);
        let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("TLS");
        tls.set_certificate_chain_file(file("server.pem")).expect("a certificate");
        tls.set_private_key_file(file("server.key"), SslFiletype::PEM).expect("a key");
        tls.set_ca_file(file("ca.pem")).expect("an authority");
        tls.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let tls = Arc::new(tls.build());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let behind = behind.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, behind) = (Arc::clone(&tls), behind.clone());
                std::thread::spawn(move || {
                    if let Ok(outside) = tls.accept(stream) {
                        let inside = TcpStream::connect(behind).expect("the server listens");
                        pass_on(outside, inside);
                    }
                });
            }
        });
        Self { address }
    }
}

/// Carries bytes both ways until either side closes.
fn pass_on(mut outside: SslStream<TcpStream>, mut inside: TcpStream) {
    let moment = Some(Duration::from_millis(5));
    outside.get_ref().set_read_timeout(moment).expect("a socket");
    inside.set_read_timeout(moment).expect("a socket");
    let mut bytes = [0; 16_384];
    loop {
        for is_inward in [true, false] {
            let read = if is_inward { outside.read(&mut bytes) } else { inside.read(&mut bytes) };
            let written = match read {
                Ok(0) => return,
                Ok(count) if is_inward => inside.write_all(&bytes[..count]),
                Ok(count) => outside.write_all(&bytes[..count]),
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    Ok(())
                }
                Err(_) => return,
            };
            if written.is_err() {
                return;
            }
        }
    }
}
