//! A syslog: on this machine (the form that `/dev/log` reads), or over the network (RFC 5424, by
//! UDP as RFC 5426 has it, by TCP with counted octets as RFC 6587 has it).

use std::{
    io::{ErrorKind::WouldBlock, Write as _},
    net::{TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::Duration,
};

use super::{Failure, Line, Sink};

/// Of daemons (RFC 5424, 6.2.1).
const FACILITY: u8 = 3;
/// The longest message: what fits into a datagram of loopback and into rsyslog's usual limit.
const MESSAGE: usize = 8_000;
/// How long the other side has for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A syslog, and the way there once it was found.
pub(super) struct Syslog {
    place: Place,
    way: Option<Way>,
    host: String,
}

enum Place {
    Unix(PathBuf),
    Udp(String),
    Tcp(String),
}

enum Way {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Way {
    /// Whether the other side has hung up.
    fn is_closed(&self) -> bool {
        let Self::Tcp(stream) = self else { return false };
        if stream.set_nonblocking(true).is_err() {
            return true;
        }
        let seen = stream.peek(&mut [0]);
        let is_open = seen.map_or_else(|error| error.kind() == WouldBlock, |bytes| bytes > 0);
        stream.set_nonblocking(false).is_err() || !is_open
    }
}

impl Syslog {
    /// The one at this address.
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let place = match address.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Place::Unix(path.into()),
            Some(("udp", host)) => Place::Udp(host.trim_start_matches('/').to_owned()),
            Some(("tcp", host)) => Place::Tcp(host.trim_start_matches('/').to_owned()),
            _ => {
                return Err(format!(
                    "{address:?} is no address of a syslog; write unix:/dev/log, udp://host:514 or \
                     tcp://host:601"
                ));
            }
        };
        if let Place::Udp(host) | Place::Tcp(host) = &place
            && host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())
        {
            return Err(format!("{address:?} names no port, such as {address}:514"));
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { place, way: None, host })
    }

    fn open(&self) -> std::io::Result<Way> {
        Ok(match &self.place {
            Place::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Way::Unix(socket)
            }
            Place::Udp(host) => {
                let address = host.to_socket_addrs()?.next();
                let address = address.ok_or(std::io::ErrorKind::NotFound)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Way::Udp(socket)
            }
            Place::Tcp(host) => {
                let address = host.to_socket_addrs()?.next();
                let address = address.ok_or(std::io::ErrorKind::NotFound)?;
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Way::Tcp(stream)
            }
        })
    }

    /// A line as a message.
    fn message(&self, line: &Line) -> String {
        let priority = FACILITY * 8 + line.gravity.severity();
        let (pid, json) = (std::process::id(), cut(&line.json));
        match self.place {
            Place::Unix(_) => format!("<{priority}>tollhouse[{pid}]: {json}"),
            _ => format!("<{priority}>1 {} {} tollhouse {pid} - - {json}", line.at, self.host),
        }
    }

    fn write(&mut self, lines: &[Line]) -> std::io::Result<()> {
        // By TCP nobody says that a message has come. Who hung up can at least be known before.
        if self.way.as_ref().is_none_or(Way::is_closed) {
            self.way = Some(self.open()?);
        }
        let messages = lines.iter().map(|line| self.message(line)).collect::<Vec<_>>();
        match self.way.as_mut().expect("it was opened just now") {
            Way::Unix(socket) => {
                messages.iter().try_for_each(|it| socket.send(it.as_bytes()).map(drop))
            }
            Way::Udp(socket) => {
                messages.iter().try_for_each(|it| socket.send(it.as_bytes()).map(drop))
            }
            Way::Tcp(stream) => {
                let frames = messages.iter().map(|it| format!("{} {it}", it.len()));
                stream.write_all(frames.collect::<String>().as_bytes())
            }
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE)]
}

impl Sink for Syslog {
    fn send(&mut self, lines: &[Line]) -> Result<(), Failure> {
        let written = self.write(lines);
        if written.is_err() {
            self.way = None;
        }
        Ok(written?)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpListener};

    use super::*;
    use crate::{domain::Timestamp, observe::sink::Gravity};

    fn line(json: &str, gravity: Gravity) -> Line {
        Line { at: Timestamp::from_ms(1_795_000_000_123), gravity, json: json.into() }
    }

    #[test]
    fn messages_are_framed_as_each_way_wants_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let here = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::new(&format!("unix:{}", path.display())).expect("an address");
        assert_eq!(syslog.send(&[line("{}", Gravity::Error)]), Ok(()));
        let mut bytes = [0; 100];
        let size = here.recv(&mut bytes).expect("it came");
        let pid = std::process::id();
        assert_eq!(&bytes[..size], format!("<27>tollhouse[{pid}]: {{}}").as_bytes());

        let server = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = server.local_addr().expect("an address");
        let mut syslog = Syslog::new(&format!("tcp://{address}")).expect("an address");
        let both = [line("{}", Gravity::Info), line("{\"a\":1}", Gravity::Warning)];
        assert_eq!(syslog.send(&both), Ok(()));
        drop(syslog);
        let mut text = String::new();
        server.accept().expect("it called").0.read_to_string(&mut text).expect("text");
        let (first, rest) = text.split_once(' ').expect("a count");
        let (first, second) = rest.split_at(first.parse().expect("a number"));
        let start = "<30>1 2026-11-18T11:06:40.123Z ";
        assert!(first.starts_with(start) && first.ends_with(&format!(" tollhouse {pid} - - {{}}")));
        assert!(second.contains("<28>1 ") && second.ends_with("{\"a\":1}"), "{second}");
    }

    #[test]
    fn whoever_hung_up_is_called_again() {
        let server = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = server.local_addr().expect("an address");
        let mut syslog = Syslog::new(&format!("tcp://{address}")).expect("an address");
        for round in 0..3 {
            assert_eq!(syslog.send(&[line("{}", Gravity::Info)]), Ok(()));
            let mut caller = server.accept().expect("it called").0;
            let mut bytes = [0; 20];
            caller.read_exact(&mut bytes).expect("it came");
            assert!(bytes.windows(6).any(|part| part == b"<30>1 "), "{round}");
            caller.shutdown(std::net::Shutdown::Both).expect("closed");
        }
    }

    #[test]
    fn an_address_says_how_and_where() {
        for good in ["unix:/dev/log", "udp://h:514", "tcp://[::1]:601", "udp:h:514"] {
            assert!(Syslog::new(good).is_ok(), "{good}");
        }
        for bad in ["", "h:514", "unix:log", "tcp://h", "http://h:1"] {
            assert!(Syslog::new(bad).is_err(), "{bad}");
        }
    }
}
