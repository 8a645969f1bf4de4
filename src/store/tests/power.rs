//! Power cuts: what was acknowledged is there, whatever the disk kept of the rest.

use super::{
    disk::{Op, apply},
    *,
};

const IMAGES: usize = 300;
const SECTOR: usize = 512;

/// A small generator (xorshift), so that every run cuts the same way.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }
}

/// What is certain of one server while the disk's log has a length in this range.
struct Certain {
    from: usize,
    until: usize,
    id: ServerId,
    is_there: bool,
}

/// Rounds of concurrent writes: each puts three servers and removes one of an earlier round.
async fn work(disk: &MemoryDisk) -> Vec<Certain> {
    let store = open_disk(disk).expect("opens");
    let mut certain: Vec<Certain> = Vec::new();
    let mut oldest = None;
    for round in 0..12 {
        let new = ["a", "b", "c"].map(|name| server(&format!("{name}{round}")));
        let puts = futures_util::future::join_all(new.iter().map(|new| put(&store, new)));
        for result in puts.await {
            result.expect("written");
        }
        let from = disk.log_length();
        let there = |new: &Server| Certain { from, until: usize::MAX, id: new.id, is_there: true };
        certain.extend(new.iter().map(there));
        if let Some(id) = oldest.replace(new[0].id) {
            let known = certain.iter_mut().find(|known| known.id == id);
            known.expect("put in the round before").until = from;
            remove(&store, id).await.expect("written");
            let from = disk.log_length();
            certain.push(Certain { from, until: usize::MAX, id, is_there: false });
        }
    }
    store.close().await;
    certain
}

/// The disk when the power goes after so many operations: everything synced, and of the rest any
/// sectors.
fn image(start: &[u8], log: &[Op], chance: &mut Chance) -> Vec<u8> {
    let synced = log.iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
    let mut bytes = start.to_vec();
    for op in &log[..synced] {
        apply(&mut bytes, op);
    }
    for op in &log[synced..] {
        match op {
            Op::Write(at, data) => {
                for (index, sector) in data.chunks(SECTOR).enumerate() {
                    let at = at + index * SECTOR;
                    if chance.below(2) == 0 && at + sector.len() <= bytes.len() {
                        apply(&mut bytes, &Op::Write(at, sector.to_vec()));
                    }
                }
            }
            Op::Len(_) if chance.below(2) == 0 => apply(&mut bytes, op),
            Op::Len(_) | Op::Sync => {}
        }
    }
    bytes
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let disk = new_disk();
    let start = disk.kept();
    disk.keep_log();
    let certain = work(&disk).await;
    let log = disk.log();
    let mut chance = Chance(0x70_11_40_05_E5);

    for _ in 0..IMAGES {
        let cut = chance.below(log.len() + 1);
        let left = MemoryDisk::holding(image(&start, &log[..cut], &mut chance));

        let store = open_disk(&left).expect("opens after any power cut");

        let snapshot = store.read().expect("readable");
        assert_book_agrees(&snapshot);
        let there: Vec<_> = snapshot.servers().expect("readable").iter().map(|s| s.id).collect();
        for known in certain.iter().filter(|it| (it.from..it.until).contains(&cut)) {
            assert_eq!(there.contains(&known.id), known.is_there, "cut after {cut} operations");
        }
    }
}
