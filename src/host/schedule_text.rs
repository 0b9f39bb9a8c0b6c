//! Schedules as their texts in files that people write.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::policy::Schedule;

pub(super) fn serialize<S: Serializer>(schedule: &Option<Schedule>, serializer: S) -> Result<S::Ok, S::Error> {
    match schedule {
        Some(schedule) => serializer.serialize_str(&schedule.to_string()),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Schedule>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}
