//! Threads that stand behind calls: what they do may take as long as it likes.

/// How far behind: where both want a processor, such a thread gets a tenth of it.
const NICE: i32 = 10;

/// Lets calls go before what this thread does.
pub(crate) fn stand_behind() {
    // Only on Linux is this about the one thread. Where it is refused, all goes as it went.
    if cfg!(target_os = "linux") {
        let me = Some(rustix::thread::gettid());
        // Who stands behind already is not moved forward.
        if rustix::process::getpriority_process(me).is_ok_and(|nice| nice < NICE) {
            let _ = rustix::process::setpriority_process(me, NICE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_lets_others_go_first_and_only_that_one_does() {
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid()));
        let before = nice().expect("a priority");

        let behind = std::thread::spawn(move || {
            stand_behind();
            nice().expect("a priority")
        });

        assert_eq!(behind.join().expect("no panic"), before.max(NICE));
        assert_eq!(nice().expect("a priority"), before);
    }
}
