//! The preferences themselves, by SCPreferences(3): taken under their lock, written only when they differ, applied.
//!
//! No decision is made here: the dictionary is turned into what [`merge`] understands, and back.

use std::ffi::CStr;
use std::time::Duration;

use log::{debug, info};
use objc2_core_foundation::{CFBoolean, CFDictionary, CFNumber, CFRetained, CFString, CFType, Type as _};
use objc2_system_configuration::{SCError, SCErrorString, SCPreferences, kSCStatusPrefsBusy, kSCStatusStale};

use super::{Change, DICTIONARY, Dictionary, FILE, IGNORE_CLIENT_ID, LEASE_TIME, TuneError, Value, merge};
use crate::host::Wait;

/// How often the lock is tried, and with what pause. Whoever holds it writes one small file.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Has bootpd hand out leases of `seconds`, one a MAC. Setup phase: needs root. Returns once it is written and applied.
///
/// # Errors
/// What failed and how to do it by hand; or that `wait` was interrupted.
pub fn tune(seconds: u32, wait: &mut Wait<'_>) -> Result<(), TuneError> {
    let failed = |step| TuneError::Step { step, reason: last_error(), seconds };
    let name = CFString::from_static_str("softnet");
    let file = CFString::from_static_str(FILE);
    let preferences = SCPreferences::new(None, &name, Some(&file)).ok_or_else(|| failed("opening"))?;
    let _lock = lock(&preferences, wait)?.ok_or_else(|| failed("locking"))?;

    let key = CFString::from_static_str(DICTIONARY);
    let current = preferences.value(&key).and_then(|value| read(&value));
    let Change::Write(wanted) = merge(current.as_ref(), seconds) else {
        debug!("bootpd: leases of {seconds} seconds are set already");
        return Ok(());
    };
    let wanted = write(&wanted);
    // SAFETY: a dictionary of texts, numbers, Booleans and what came from the same preferences is a property list.
    if !unsafe { preferences.set_value(&key, wanted.as_opaque()) } {
        return Err(failed("changing"));
    }
    if !preferences.commit_changes() {
        return Err(failed("writing"));
    }
    if !preferences.apply_changes() {
        return Err(failed("applying"));
    }
    info!("bootpd: leases of {seconds} seconds from now on, one for each MAC address");
    Ok(())
}

/// What bootpd is told at this moment, as far as it matters; none where nothing is. Takes no lock, and anybody may.
#[must_use]
pub fn current() -> Option<Dictionary<()>> {
    let name = CFString::from_static_str("softnet");
    let file = CFString::from_static_str(FILE);
    let preferences = SCPreferences::new(None, &name, Some(&file))?;
    let dictionary = read(&*preferences.value(&CFString::from_static_str(DICTIONARY))?)?;
    let bare = |value| match value {
        Value::Integer(number) => Value::Integer(number),
        Value::Boolean(boolean) => Value::Boolean(boolean),
        Value::Other(_) => Value::Other(()),
    };
    Some(dictionary.into_iter().map(|(key, value)| (key, bare(value))).collect())
}

/// The lock, until it is dropped.
struct Lock<'a>(&'a SCPreferences);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Fails only when the lock is not held.
        self.0.unlock();
    }
}

/// Takes the lock; None if it cannot be had, for the reason in SCError(3). Does not block in the system, where nothing
/// could interrupt it.
fn lock<'a>(preferences: &'a SCPreferences, wait: &mut Wait<'_>) -> Result<Option<Lock<'a>>, TuneError> {
    for _ in 0..TRIES {
        if preferences.lock(false) {
            return Ok(Some(Lock(preferences)));
        }
        match u32::try_from(SCError()) {
            // Another process writes, another softnet for instance.
            Ok(status) if status == kSCStatusPrefsBusy => wait(PAUSE)?,
            // Another process has written since we looked.
            Ok(status) if status == kSCStatusStale => preferences.synchronize(),
            _ => break,
        }
    }
    Ok(None)
}

/// The dictionary, unless the value is none: bootpd finds nothing in anything else, and it is replaced.
fn read(value: &CFType) -> Option<Dictionary<CFRetained<CFType>>> {
    let dictionary = value.downcast_ref::<CFDictionary>()?;
    // SAFETY: keys and values of a dictionary in a property list are CoreFoundation objects.
    let dictionary = unsafe { dictionary.cast_unchecked::<CFType, CFType>() };
    let (keys, values) = dictionary.to_vecs();
    let entries = keys.into_iter().zip(values).filter_map(|(key, value)| {
        // The keys in a property list are texts.
        let key = key.downcast_ref::<CFString>()?.to_string();
        let value =
            if [LEASE_TIME, IGNORE_CLIENT_ID].contains(&key.as_str()) { interpret(value) } else { Value::Other(value) };
        Some((key, value))
    });
    Some(entries.collect())
}

/// One of our values, as bootpd sees it.
fn interpret(value: CFRetained<CFType>) -> Value<CFRetained<CFType>> {
    if let Some(boolean) = value.downcast_ref::<CFBoolean>() {
        return Value::Boolean(boolean.as_bool());
    }
    let number = value.downcast_ref::<CFNumber>().filter(|number| !number.is_float_type());
    match number.and_then(CFNumber::as_i64) {
        Some(number) => Value::Integer(number),
        None => Value::Other(value),
    }
}

fn write(dictionary: &Dictionary<CFRetained<CFType>>) -> CFRetained<CFDictionary<CFString, CFType>> {
    let (mut keys, mut values): (Vec<CFRetained<CFString>>, Vec<CFRetained<CFType>>) = Default::default();
    for (key, value) in dictionary {
        keys.push(CFString::from_str(key));
        values.push(match value {
            Value::Integer(number) => CFNumber::new_i64(*number).into(),
            Value::Boolean(boolean) => CFBoolean::new(*boolean).retain().into(),
            Value::Other(value) => value.clone(),
        });
    }
    let keys: Vec<&CFString> = keys.iter().map(|key| &**key).collect();
    let values: Vec<&CFType> = values.iter().map(|value| &**value).collect();
    CFDictionary::from_slices(&keys, &values)
}

/// What the system says of the last failed step (SCError(3)).
fn last_error() -> String {
    let text = SCErrorString(SCError());
    // SAFETY: SCErrorString returns a static C string for any number.
    unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned()
}
