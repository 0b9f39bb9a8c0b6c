//! Panics of readers as values. A panic says what happened through a hook that the whole process shares, by default on standard error and
//! in the middle of whatever a person sees there. The hook set here keeps what the calls guarded in this room say, on the thread that
//! says it; panics of everybody else go to the hook that was there before.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many guarded calls the thread is in: a visitor of one may ask again.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    /// What the last panic in one of them said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs a call; gives what it says in a panic, with its place in the source, as an error.
pub(super) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| match GUARDED.get() {
            0 => before(info),
            _ => SAID.set(Some(told(info))),
        }));
    });
    GUARDED.set(GUARDED.get().saturating_add(1));
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(GUARDED.get().saturating_sub(1));
    // Another program's hook may have taken the place of ours: then nothing is kept.
    result.map_err(|_| SAID.take().unwrap_or_else(|| "no more is known".to_owned()))
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let said = info.payload_as_str().unwrap_or("a value that is no text");
    match info.location() {
        Some(place) => format!("{said}, {}:{}", place.file(), place.line()),
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_is_a_value_that_says_where_it_was() {
        assert_eq!(caught(|| 7), Ok(7));
        let said = caught(|| -> u8 { panic!("number {}", 7) }).expect_err("a panic");
        assert!(said.starts_with("number 7, src/guestfs/panics.rs:"), "{said}");
        // One call within another, as visitors make them; what the outer one says is its own.
        let outer = caught(|| -> u8 {
            let inner = caught(|| -> u8 { panic!("inner") }).expect_err("a panic");
            panic!("outer after {}", inner.starts_with("inner, "));
        });
        assert!(outer.expect_err("a panic").starts_with("outer after true, "));
    }

    /// Names the part of the test below that runs in a process of its own.
    const CHILD: &str = "CAIRN_TEST_PANICS";

    /// In a process of its own, whose standard error can be looked at.
    #[test]
    fn only_panics_outside_of_guarded_calls_are_printed() {
        if std::env::var_os(CHILD).is_some() {
            let _ = caught(|| -> u8 { panic!("this is kept") });
            let beside = std::thread::spawn(|| panic!("this is told"));
            // While another thread panics unguarded, one in a guarded call stays silent.
            let _ = caught(|| beside.join().expect_err("it panicked"));
            let _ = caught(|| -> u8 { panic!("this is kept too") });
            return;
        }
        let name = "guestfs::panics::tests::only_panics_outside_of_guarded_calls_are_printed";
        let program = std::env::current_exe().expect("the tests");
        let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("a child");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.contains("this is told"), "{errors}");
        assert!(!errors.contains("this is kept"), "{errors}");
    }
}
