use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::*;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client, and our end of its connection.
fn pair() -> (DuplexStream, Strict<DuplexStream>, Busy) {
    let (client, socket) = duplex(64);
    let busy = Busy::default();
    let strict = Strict::new(socket, Arc::new(Settings::default()), busy.clone());
    (client, strict, busy)
}

/// Sends the bytes in small pieces, so much time apart.
fn trickle(mut client: DuplexStream, bytes: Vec<u8>, piece: usize, apart_ms: u64) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for piece in bytes.chunks(piece) {
            sleep(Duration::from_millis(apart_ms)).await;
            if client.write_all(piece).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    });
    tasks
}

/// Reads until there is no more. Says how it ended, and after how many seconds.
async fn read_out(strict: &mut Strict<DuplexStream>) -> (io::Result<usize>, u64) {
    let start = Instant::now();
    let outcome = strict.read_to_end(&mut Vec::new()).await;
    (outcome, start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_ten_seconds() -> io::Result<()> {
    let (_client, mut strict, _) = pair();

    let (outcome, seconds) = read_out(&mut strict).await;

    assert_eq!((outcome?, seconds), (0, 10));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_trickling_head_is_given_ten_seconds_as_a_whole() {
    let (client, mut strict, _) = pair();
    let _client = trickle(client, HEAD.to_vec(), 1, 2_000);

    let (outcome, seconds) = read_out(&mut strict).await;

    assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert_eq!(seconds, 2 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_given_thirty_seconds() -> io::Result<()> {
    let (mut client, mut strict, _busy) = pair();
    client.write_all(HEAD).await?;

    let (outcome, seconds) = read_out(&mut strict).await;

    assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert_eq!(seconds, 30);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_is_no_progress() -> io::Result<()> {
    let (mut client, mut strict, _) = pair();
    client.write_all(HEAD).await?;
    let _client = trickle(client, vec![0; 1_000], 1, 1_000);

    let (outcome, seconds) = read_out(&mut strict).await;

    assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert_eq!(seconds, 30);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_that_makes_progress_may_take_minutes() -> io::Result<()> {
    let (mut client, mut strict, busy) = pair();
    let _answering = busy.begin();
    client.write_all(HEAD).await?;
    let mut head = [0; HEAD.len()];
    strict.read_exact(&mut head).await?;
    // 1,100 bytes a second are a little more than the 30 KiB in 30 seconds asked for.
    let _client = trickle(client, vec![0; 99_000], 11, 10);
    let start = Instant::now();

    let mut body = vec![0; 99_000];
    strict.read_exact(&mut body).await?;

    assert_eq!(start.elapsed().as_secs(), 90);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn nobody_is_hurried_while_waiting_for_an_answer() -> io::Result<()> {
    let (mut client, mut strict, busy) = pair();
    client.write_all(GET).await?;
    strict.read_exact(&mut [0; GET.len()]).await?;
    let answering = busy.begin();
    let (mut reader, mut writer) = tokio::io::split(strict);
    let start = Instant::now();

    let mut rest = Vec::new();
    let (read, ()) = tokio::join!(reader.read_to_end(&mut rest), async {
        sleep(Duration::from_hours(1)).await;
        drop(answering);
        writer.flush().await.expect("room in the pipe");
    });

    assert_eq!(read?, 0);
    assert_eq!(start.elapsed().as_secs(), 3_600 + 75);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_is_not_idle() -> io::Result<()> {
    let (mut client, mut strict, _) = pair();
    client.write_all(GET).await?;
    strict.read_exact(&mut [0; GET.len()]).await?;
    let (mut reader, mut writer) = tokio::io::split(strict);
    let start = Instant::now();

    let mut rest = Vec::new();
    let (read, ()) = tokio::join!(reader.read_to_end(&mut rest), async {
        sleep(Duration::from_mins(1)).await;
        writer.write_all(b"more").await.expect("room in the pipe");
        writer.flush().await.expect("room in the pipe");
    });

    assert_eq!(read?, 0);
    assert_eq!(start.elapsed().as_secs(), 60 + 75);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_thirty_seconds() {
    let (_client, mut strict, _) = pair();
    let start = Instant::now();

    let outcome = strict.write_all(&[0; 1_000]).await;

    assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_cut_short_may_still_read_the_answer() -> io::Result<()> {
    let (mut client, mut strict, _) = pair();
    client.write_all(HEAD).await?;
    strict.read_exact(&mut [0; HEAD.len()]).await?;
    strict.write_all(b"no").await?;

    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        client.write_all(&[0; 10_000]).await.expect("still read");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("closed in order");
        assert_eq!(answer, b"no");
    });
    strict.shutdown().await?;

    tasks.join_next().await.expect("one task").expect("the client read the answer");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_cut_short_does_not_hold_us_for_long() -> io::Result<()> {
    let (mut client, mut strict, _) = pair();
    client.write_all(HEAD).await?;
    strict.read_exact(&mut [0; HEAD.len()]).await?;
    let start = Instant::now();

    strict.shutdown().await?;

    assert_eq!(start.elapsed().as_millis(), u128::from(LINGER_MS));
    Ok(())
}

#[tokio::test]
async fn what_follows_a_fault_is_withheld() -> io::Result<()> {
    let (mut client, mut strict, _) = pair();
    client.write_all(&[GET, b"GET / HTTP/1.1\r\nHost: a\nX:"].concat()).await?;

    let mut seen = Vec::with_capacity(1_000);
    for _ in 0..2 {
        strict.read_buf(&mut seen).await?;
    }

    assert_eq!(seen, [GET, b"GET / HTTP/1.1\r\n", SPOILT_HEAD].concat());
    Ok(())
}
