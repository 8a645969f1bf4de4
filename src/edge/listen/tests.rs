use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;

use super::{
    trial::{BIG, Client, GOOD, Trial},
    *,
};

/// No more file descriptors, as Linux and macOS number it.
const EMFILE: i32 = 24;

const HELD: &str = "GET /held HTTP/1.1\r\nHost: a\r\n\r\n";

/// Until so many requests have come in.
async fn asked(trial: &Trial, requests: usize) {
    while trial.rooms.asked.load(Ordering::SeqCst) < requests {
        tokio::task::yield_now().await;
    }
}

/// A client whose request is being answered.
async fn waiting(trial: &Trial) -> Client {
    let mut client = trial.connect().await;
    let before = trial.rooms.asked.load(Ordering::SeqCst);
    client.write(HELD).await;
    asked(trial, before + 1).await;
    client
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let trial = Trial::open(Settings::default()).await;
    let mut client = trial.connect().await;

    for _ in 0..3 {
        client.write(GOOD).await;
        assert!(client.read_until("hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn small_answers_do_not_wait_for_each_other() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let door = Door::Tcp(listener);

    let (guest, client) = tokio::join!(door.accept(), TcpStream::connect(address));

    let Guest::Tcp(stream, peer) = guest? else { panic!("came in by another door") };
    assert!(stream.nodelay()?);
    assert_eq!(peer, Peer { address: Some(client?.local_addr()?), uid: None });
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn without_a_free_descriptor_the_door_rests() {
    let start = tokio::time::Instant::now();

    rest_after(&io::ErrorKind::ConnectionAborted.into(), &mut false).await;
    assert_eq!(start.elapsed().as_millis(), 0);

    rest_after(&io::Error::from_raw_os_error(EMFILE), &mut false).await;
    assert_eq!(start.elapsed().as_millis(), u128::from(PAUSE_MS));
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_turn() {
    let trial = Trial::open(Settings::default()).await;
    let request = |text| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{text}\r\n0\r\n\r\n"
        )
    };
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    let answers = trial.send([request("one"), request("two"), last.to_owned()].concat()).await;

    let bodies: Vec<_> = answers.split("\r\n\r\n").map(|part| &part[..part.len().min(3)]).collect();
    assert_eq!(bodies, ["HTT", "one", "two", ""]);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_says_that_it_is_the_last() {
    let trial = Trial::open(Settings::default()).await;
    let mut client = trial.connect().await;
    let whole = "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let (part, end) = whole.split_at(whole.len() - 1);

    for _ in 0..2 {
        client.write(whole).await;
        let answer = client.read_until("\r\n\r\n").await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    client.write(part).await;
    let answer = client.read_until("\r\n\r\n").await;
    client.write(end).await;

    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_large_body_comes_through() {
    let trial = Trial::open(Settings::default()).await;
    let mut client = trial.connect().await;
    let body = "x".repeat(3 * 1024 * 1024);

    client
        .write(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;

    assert!(client.rest().await.ends_with(&body));
}

#[tokio::test]
async fn a_silentclient_is_closed() {
    let trial = Trial::open(Settings { first_byte_ms: 50, ..Settings::default() }).await;

    let mut client = trial.connect().await;

    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn aclient_that_stops_in_a_head_is_closed() {
    let trial = Trial::open(Settings { header_ms: 50, ..Settings::default() }).await;

    assert_eq!(trial.send("GET / HTTP/1.1\r\nHo").await, "");
}

#[tokio::test]
async fn aclient_that_stops_in_a_body_is_refused() {
    let trial = Trial::open(Settings { body_ms: 50, ..Settings::default() }).await;

    let answer = trial.send(&GOOD[..GOOD.len() - 1]).await;

    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn aclient_that_asks_no_more_is_closed() {
    let trial = Trial::open(Settings { idle_ms: 50, ..Settings::default() }).await;

    let answer = trial.send(GOOD).await;

    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn aclient_that_does_not_read_is_closed() {
    let trial = Trial::open(Settings { write_ms: 50, ..Settings::default() }).await;
    let mut client = trial.connect().await;
    client.write("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    asked(&trial, 1).await;

    // Drained, the door waits for everyone: here until the client has kept it waiting too long.
    trial.stop.drain();
    trial.closed().await;

    let mut answer = Vec::new();
    // Cut off, not ended: this may be an error or not.
    let _ = client.0.read_to_end(&mut answer).await;
    assert!(answer.len() < BIG);
}

#[tokio::test]
async fn an_answer_may_take_longer_than_any_deadline() {
    let every = 20;
    let trial = Trial::open(Settings {
        first_byte_ms: every,
        header_ms: every,
        body_ms: every,
        write_ms: every,
        idle_ms: every,
        ..Settings::default()
    })
    .await;
    let mut held = waiting(&trial).await;

    // The silent one is closed in the meantime.
    assert_eq!(trial.connect().await.rest().await, "");
    trial.rooms.held.add_permits(1);

    let answer = held.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let trial = Trial::open(Settings::default()).await;

    assert_eq!(trial.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await, "");

    let mut client = trial.connect().await;
    client.write(GOOD).await;
    client.read_until("hello").await;
}

#[tokio::test]
async fn aclient_too_many_is_told_so() {
    let trial = Trial::open(Settings { max_connections: 2, ..Settings::default() }).await;
    let first = waiting(&trial).await;
    let mut second = waiting(&trial).await;

    assert!(trial.connect().await.rest().await.starts_with("HTTP/1.1 503 "));

    // A place is free again once a client has left.
    drop(first);
    trial.rooms.held.add_permits(2);
    second.read_until("\r\n\r\n").await;
    drop(second);
    while trial.connect().await.first_word_of(GOOD).await != "HTTP/1.1 200" {}
}

impl Client {
    async fn first_word_of(mut self, request: &str) -> String {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut self.0, request.as_bytes()).await;
        let mut word = [0; 12];
        self.0.read_exact(&mut word).await.expect("an answer");
        String::from_utf8_lossy(&word).into_owned()
    }
}

#[tokio::test]
async fn a_thousandclients_of_this_machine_find_a_place() {
    let trial = Trial::open(Settings::default()).await;
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        clients.push(trial.connect().await);
    }

    for client in &mut clients {
        client.write(GOOD).await;
    }

    for client in &mut clients {
        client.read_until("hello").await;
    }
}

#[tokio::test]
async fn draining_lets_running_requests_finish() {
    let trial = Trial::open(Settings::default()).await;
    let mut held = waiting(&trial).await;

    trial.stop.drain();
    while TcpStream::connect(trial.address).await.is_ok() {}
    trial.rooms.held.add_permits(1);

    let answer = held.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    trial.closed().await;
}

#[tokio::test]
async fn draining_closes_idle_and_silent_connections() {
    let trial = Trial::open(Settings::default()).await;
    let mut silent = trial.connect().await;
    let mut idle = trial.connect().await;
    idle.write(GOOD).await;
    idle.read_until("hello").await;

    trial.stop.drain();

    assert_eq!(idle.rest().await, "");
    assert_eq!(silent.rest().await, "");
    let address = trial.address;
    trial.closed().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn cutting_ends_what_draining_leaves() {
    let trial = Trial::open(Settings::default()).await;
    let mut held = waiting(&trial).await;
    trial.stop.drain();

    trial.stop.cut();

    assert_eq!(held.rest().await, "");
    trial.closed().await;
}

#[tokio::test]
async fn aclient_on_a_unix_socket_is_known_by_its_user() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("door");
    let door = Door::Unix(UnixListener::bind(&path)?);
    let stop = Stop::default();
    let handler = |peer: Peer, _| {
        let text = format!("{:?}", (peer.address, peer.uid));
        ready(Response::new(http_body_util::Full::from(text)))
    };
    let mut serving = JoinSet::new();
    let word = stop.clone();
    serving.spawn(async move { serve(door, &Settings::default(), handler, word).await });

    let mut client = UnixStream::connect(&path).await?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;

    let uid = rustix::process::getuid().as_raw();
    assert!(answer.ends_with(&format!("(None, Some({uid}))")), "{answer}");
    Ok(())
}
